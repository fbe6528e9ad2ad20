package page

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Flags that tell the kind of a page; exactly one is set.
const (
	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
)

// flagBucket marks a leaf's entry whose value is a bucket.
const flagBucket = 0x01

// wholeLimit is the size up to which a node is read in one piece, in bytes. Of
// a larger one only the table of entries is: its values are not needed.
const wholeLimit = 1 << 20

// File reads the pages that one meta leads to.
type File struct {
	R io.ReaderAt
	// Data is the file mapped into memory, or nil. Nodes are not copied from
	// there, so their bytes are valid as long as the mapping is.
	Data []byte
	Meta Meta
}

// Node is a branch or leaf page with its overflow pages, as it lies in the
// file. Its bytes are valid until the Buffer it was read into is used again.
type Node struct {
	ID    ID
	Leaf  bool
	Count int
	// Pages is 1 + overflow; 0 for the inline page of a bucket.
	Pages int

	size int64  // of all pages, in bytes
	data []byte // the first part, at least the table of entries
	r    io.ReaderAt
	at   int64 // offset of the node in r
}

// Buffer is memory that nodes are read into, to be reused.
type Buffer []byte

func (b *Buffer) grow(n int) []byte {
	if cap(*b) < n {
		*b = append((*b)[:cap(*b)], make([]byte, n-cap(*b))...)
	}
	*b = (*b)[:n]
	return *b
}

type header struct {
	id       ID
	flags    uint16
	count    uint16
	overflow uint32
}

func parseHeader(b []byte) header {
	return header{
		id:       ID(binary.NativeEndian.Uint64(b)),
		flags:    binary.NativeEndian.Uint16(b[8:]),
		count:    binary.NativeEndian.Uint16(b[10:]),
		overflow: binary.NativeEndian.Uint32(b[12:]),
	}
}

// Node reads the branch or leaf at id. With keys the node is made ready for
// many calls of Key; without, only the table of entries is sure to be read.
func (f *File) Node(id ID, keys bool, buf *Buffer) (Node, error) {
	if id < 2 || id >= f.Meta.HighWater {
		return Node{}, problem(id, "is referenced but lies outside of 2 to %d", f.Meta.HighWater-1)
	}
	at := f.Meta.Offset(id)
	first, err := f.page(id, at, buf)
	if err != nil {
		return Node{}, err
	}
	h := parseHeader(first)
	if h.id != id {
		return Node{}, problem(id, "says that it is page %d", h.id)
	}
	if h.flags != flagBranch && h.flags != flagLeaf {
		return Node{}, problem(id, "is neither branch nor leaf (flags 0x%x)", h.flags)
	}
	if ID(h.overflow) >= f.Meta.HighWater-id {
		return Node{}, problem(id, "has %d overflow pages, beyond the high-water mark %d", h.overflow, f.Meta.HighWater)
	}
	n := Node{
		ID: id, Leaf: h.flags == flagLeaf, Count: int(h.count), Pages: int(h.overflow) + 1,
		size: (int64(h.overflow) + 1) * int64(f.Meta.PageSize), data: first, r: f.R, at: at,
	}
	want := int64(HeaderSize + n.Count*ElementSize)
	if want > n.size {
		return Node{}, problem(id, "has %d entries, more than its %d bytes hold", n.Count, n.size)
	}
	if f.Data != nil {
		if at+n.size > int64(len(f.Data)) {
			return Node{}, beyondEnd(id)
		}
		n.data = f.Data[at : at+n.size : at+n.size]
		return n, n.check()
	}
	if keys && n.size <= wholeLimit {
		want = n.size
	}
	if have := int64(len(first)); want > have {
		n.data = buf.grow(int(want))
		if err := f.read(id, n.data[have:], at+have); err != nil {
			return Node{}, err
		}
	}
	return n, n.check()
}

// Pages is how many pages the node at id has, by its header alone.
func (f *File) Pages(id ID) (int, error) {
	var head [HeaderSize]byte
	if f.Data != nil {
		first, err := f.page(id, f.Meta.Offset(id), nil)
		if err != nil {
			return 0, err
		}
		copy(head[:], first)
	} else if err := f.read(id, head[:], f.Meta.Offset(id)); err != nil {
		return 0, err
	}
	return int(parseHeader(head[:]).overflow) + 1, nil
}

// page returns the first page of a node.
func (f *File) page(id ID, at int64, buf *Buffer) ([]byte, error) {
	size := int64(f.Meta.PageSize)
	if f.Data == nil {
		first := buf.grow(int(size))
		return first, f.read(id, first, at)
	}
	if at+size > int64(len(f.Data)) {
		return nil, beyondEnd(id)
	}
	return f.Data[at : at+size], nil
}

// check bounds every entry of a node.
func (n *Node) check() error {
	if !n.Leaf && n.Count == 0 {
		return problem(n.ID, "is a branch without children")
	}
	table := n.data[HeaderSize:][:n.Count*ElementSize]
	used := int64(HeaderSize + n.Count*ElementSize)
	for i := range n.Count {
		e := (*[ElementSize]byte)(table[i*ElementSize:])
		var pos, key, value int64
		if n.Leaf {
			pos, key, value = int64(u32(e[4:])), int64(u32(e[8:])), int64(u32(e[12:]))
			if flags := u32(e[0:]); flags > flagBucket {
				return problem(n.ID, "has an entry (%d of %d) of an unknown kind (flags 0x%x)", i+1, n.Count, flags)
			}
		} else {
			pos, key = int64(u32(e[0:])), int64(u32(e[4:]))
		}
		if pos < int64((n.Count-i)*ElementSize) {
			return problem(n.ID, "has an entry (%d of %d) that lies within the table of entries", i+1, n.Count)
		}
		if int64(HeaderSize+i*ElementSize)+pos+key+value > n.size {
			return problem(n.ID, "has an entry (%d of %d) that reaches beyond its end", i+1, n.Count)
		}
		if key == 0 {
			return problem(n.ID, "has an empty key (entry %d of %d)", i+1, n.Count)
		}
		// No two entries can share bytes, or a copy would be larger than the file.
		if used += key + value; used > n.size {
			return problem(n.ID, "has entries that overlap (up to %d of %d)", i+1, n.Count)
		}
	}
	return nil
}

func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

func (n *Node) entry(i int) []byte { return n.data[HeaderSize+i*ElementSize:][:ElementSize] }

// span is where the key and value of an entry lie: from the entry's own
// start, in bytes.
func (n *Node) span(i int) (pos, size int64) {
	e := n.entry(i)
	if n.Leaf {
		return int64(u32(e[4:])), int64(u32(e[8:])) + int64(u32(e[12:]))
	}
	return int64(u32(e)), int64(u32(e[4:]))
}

// KeySize of an entry, in bytes.
func (n *Node) KeySize(i int) int {
	if n.Leaf {
		return int(u32(n.entry(i)[8:]))
	}
	return int(u32(n.entry(i)[4:]))
}

// ValueSize of a leaf's entry, in bytes.
func (n *Node) ValueSize(i int) int { return int(u32(n.entry(i)[12:])) }

// IsBucket says whether a leaf's entry is a bucket.
func (n *Node) IsBucket(i int) bool {
	return n.Leaf && u32(n.entry(i))&flagBucket != 0
}

// Child is the page that a branch's entry points to.
func (n *Node) Child(i int) ID { return ID(binary.NativeEndian.Uint64(n.entry(i)[8:])) }

// Key of an entry.
func (n *Node) Key(i int) ([]byte, error) { return n.bytes(i, 0, n.KeySize(i)) }

// Item is the key and the value of a leaf's entry; the value of a bucket is its
// header, with its page behind that if it is inline. Both are part of the
// node's memory where that has been read whole, as it has from a mapped file.
func (n *Node) Item(i int) (key, value []byte, err error) {
	size := n.KeySize(i)
	all, err := n.bytes(i, 0, size+n.ValueSize(i))
	if err != nil {
		return nil, nil, err
	}
	return all[:size:size], all[size:], nil
}

// Used is how many bytes of the node its header, entries, keys and values take.
func (n *Node) Used() int64 {
	used := int64(HeaderSize)
	for i := range n.Count {
		_, size := n.span(i)
		used += ElementSize + size
	}
	return used
}

// bytes returns n bytes of an entry's key and value, from its key's start plus
// skip; they are read now where that has not been done.
func (n *Node) bytes(i, skip, size int) ([]byte, error) {
	pos, _ := n.span(i)
	from := int64(HeaderSize+i*ElementSize) + pos + int64(skip)
	if from+int64(size) <= int64(len(n.data)) {
		return n.data[from:][:size:size], nil
	}
	b := make([]byte, size)
	if _, err := n.r.ReadAt(b, n.at+from); err != nil {
		return nil, readError(n.ID, err)
	}
	return b, nil
}

// Bucket is the value of a leaf's entry that is a bucket.
type Bucket struct {
	Sequence uint64
	// Root is the page of its tree; 0 for a bucket whose only leaf is Inline.
	Root   ID
	Inline Node
}

// Bucket reads the value of an entry that IsBucket.
func (n *Node) Bucket(i int) (Bucket, error) {
	size := n.ValueSize(i)
	if size < BucketHeaderSize {
		return Bucket{}, problem(n.ID, "has a bucket header of %d bytes (entry %d of %d)", size, i+1, n.Count)
	}
	head, err := n.bytes(i, n.KeySize(i), BucketHeaderSize)
	if err != nil {
		return Bucket{}, err
	}
	b := Bucket{Root: ID(binary.NativeEndian.Uint64(head)), Sequence: binary.NativeEndian.Uint64(head[8:])}
	if b.Root != 0 {
		return b, nil
	}
	if size < BucketHeaderSize+HeaderSize || size > MaxPageSize {
		return Bucket{}, problem(n.ID, "has an inline bucket of %d bytes (entry %d of %d)", size, i+1, n.Count)
	}
	value, err := n.bytes(i, n.KeySize(i)+BucketHeaderSize, size-BucketHeaderSize)
	if err != nil {
		return Bucket{}, err
	}
	h := parseHeader(value)
	in := Node{ID: n.ID, Leaf: true, Count: int(h.count), size: int64(len(value)), data: value}
	if h.flags != flagLeaf || HeaderSize+in.Count*ElementSize > len(value) {
		return Bucket{}, problem(n.ID, "has a damaged inline bucket (entry %d of %d)", i+1, n.Count)
	}
	for j := range in.Count {
		if in.IsBucket(j) {
			return Bucket{}, problem(n.ID, "has a bucket within an inline bucket (entry %d of %d)", i+1, n.Count)
		}
	}
	b.Inline = in
	return b, in.check()
}

func (f *File) read(id ID, b []byte, at int64) error {
	if _, err := f.R.ReadAt(b, at); err != nil {
		return readError(id, err)
	}
	return nil
}

func readError(id ID, err error) error {
	if errors.Is(err, io.EOF) {
		return beyondEnd(id)
	}
	return fmt.Errorf("read page %d: %w", id, err)
}

func beyondEnd(id ID) error { return problem(id, "lies beyond the end of the file") }

// Bytes is the size of the node's pages.
func (n *Node) Bytes() int64 { return n.size }
