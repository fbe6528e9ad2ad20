package page

import (
	"encoding/binary"
	"slices"
)

// Freelist is what the file says of its free pages. Those that only wait for
// the end of a read transaction are among them: the file does not tell.
type Freelist struct {
	// Count of free pages, and Pages that the list itself takes.
	Count int64
	Pages int
	// IDs are the free pages, ascending; nil unless they were asked for.
	IDs []ID

	start int64 // of the ids, from the start of the page
}

// countInList stands in a header whose count does not fit: the first id is
// the count then.
const countInList = 0xFFFF

// Freelist reads the list of free pages, or with ids false only its length: 24
// bytes. It must not be called on a file without one (NoFreelist).
func (f *File) Freelist(ids bool) (Freelist, error) {
	id := f.Meta.Freelist
	var head [HeaderSize + 8]byte
	if err := f.read(id, head[:], f.Meta.Offset(id)); err != nil {
		return Freelist{}, err
	}
	h := parseHeader(head[:])
	if h.id != id || h.flags != flagFreelist {
		return Freelist{}, problem(id, "is not the freelist that the meta says it is (page %d, flags 0x%x)", h.id, h.flags)
	}
	if ID(h.overflow) >= f.Meta.HighWater-id {
		return Freelist{}, problem(id, "is a freelist that reaches beyond the high-water mark %d", f.Meta.HighWater)
	}
	list := Freelist{Count: int64(h.count), Pages: int(h.overflow) + 1, start: HeaderSize}
	if h.count == countInList {
		n := binary.NativeEndian.Uint64(head[HeaderSize:])
		if n > uint64(f.Meta.HighWater) {
			return Freelist{}, problem(id, "lists %d free pages of %d", n, f.Meta.HighWater)
		}
		list.Count, list.start = int64(n), list.start+8
	}
	if list.start+8*list.Count > int64(list.Pages)*int64(f.Meta.PageSize) || list.Count > int64(f.Meta.HighWater)-2 {
		return Freelist{}, problem(id, "lists %d free pages of %d in %d pages", list.Count, f.Meta.HighWater, list.Pages)
	}
	if !ids {
		return list, nil
	}
	raw := make([]byte, 8*list.Count)
	if err := f.read(id, raw, f.Meta.Offset(id)+list.start); err != nil {
		return Freelist{}, err
	}
	list.IDs = make([]ID, list.Count)
	for i := range list.IDs {
		list.IDs[i] = ID(binary.NativeEndian.Uint64(raw[8*i:]))
	}
	slices.Sort(list.IDs)
	last := ID(1)
	for _, free := range list.IDs {
		if free <= last || free >= f.Meta.HighWater {
			return Freelist{}, problem(id, "lists page %d as free, after page %d and of %d pages", free, last, f.Meta.HighWater)
		}
		last = free
	}
	return list, nil
}

// freeAtOnce is how many ids are read at a time.
const freeAtOnce = 8 << 10

// EachFree calls f with every page that the freelist names, in the order of the
// file, without taking memory for all of them. It must not be called on a file
// without a freelist.
func (f *File) EachFree(call func(ID) error) error {
	list, err := f.Freelist(false)
	if err != nil {
		return err
	}
	at := f.Meta.Offset(f.Meta.Freelist) + list.start
	buf := make([]byte, 8*min(list.Count, freeAtOnce))
	for left := list.Count; left > 0; {
		part := buf[:8*min(left, freeAtOnce)]
		if err := f.read(f.Meta.Freelist, part, at); err != nil {
			return err
		}
		for ; len(part) > 0; part = part[8:] {
			id := ID(binary.NativeEndian.Uint64(part))
			if id < 2 || id >= f.Meta.HighWater {
				return problem(f.Meta.Freelist, "lists page %d as free, outside of 2 to %d", id, f.Meta.HighWater-1)
			}
			if err := call(id); err != nil {
				return err
			}
			left--
		}
		at += int64(len(buf))
	}
	return nil
}
