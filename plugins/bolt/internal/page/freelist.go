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
	list := Freelist{Count: int64(h.count), Pages: int(h.overflow) + 1}
	start := int64(HeaderSize)
	if h.count == countInList {
		n := binary.NativeEndian.Uint64(head[HeaderSize:])
		if n > uint64(f.Meta.HighWater) {
			return Freelist{}, problem(id, "lists %d free pages of %d", n, f.Meta.HighWater)
		}
		list.Count, start = int64(n), start+8
	}
	if start+8*list.Count > int64(list.Pages)*int64(f.Meta.PageSize) || list.Count > int64(f.Meta.HighWater)-2 {
		return Freelist{}, problem(id, "lists %d free pages of %d in %d pages", list.Count, f.Meta.HighWater, list.Pages)
	}
	if !ids {
		return list, nil
	}
	raw := make([]byte, 8*list.Count)
	if err := f.read(id, raw, f.Meta.Offset(id)+start); err != nil {
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
