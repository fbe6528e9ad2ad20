package page

import (
	"encoding/binary"
	"hash/fnv"
)

// Entry of a node that is being written.
type Entry struct {
	Key, Value []byte
	// Child is the page that a branch's entry leads to.
	Child ID
	// Bucket is set where a leaf's value is a bucket.
	Bucket bool
}

// PutTable writes the header of a node and its table of entries to the start
// of b. The keys and values have to follow, each key before its value.
func PutTable(b []byte, id ID, leaf bool, overflow int, entries []Entry) {
	flags := uint16(flagBranch)
	if leaf {
		flags = flagLeaf
	}
	putHeader(b, header{id: id, flags: flags, count: uint16(len(entries)), overflow: uint32(overflow)})
	put32, put64 := binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	pos := len(entries) * ElementSize
	for i := range entries {
		e, at := &entries[i], b[HeaderSize+i*ElementSize:][:ElementSize]
		if !leaf {
			put32(at[0:], uint32(pos))
			put32(at[4:], uint32(len(e.Key)))
			put64(at[8:], uint64(e.Child))
			pos += len(e.Key) - ElementSize
			continue
		}
		kind := uint32(0)
		if e.Bucket {
			kind = flagBucket
		}
		put32(at[0:], kind)
		put32(at[4:], uint32(pos))
		put32(at[8:], uint32(len(e.Key)))
		put32(at[12:], uint32(len(e.Value)))
		pos += len(e.Key) + len(e.Value) - ElementSize
	}
}

// PutFreelist writes an empty freelist.
func PutFreelist(b []byte, id ID) { putHeader(b, header{id: id, flags: flagFreelist}) }

// PutBucket writes the header of a bucket, root 0 for an inline one.
func PutBucket(b []byte, root ID, sequence uint64) {
	binary.NativeEndian.PutUint64(b, uint64(root))
	binary.NativeEndian.PutUint64(b[8:], sequence)
}

// PutMeta writes a meta page.
func PutMeta(b []byte, m Meta) {
	putHeader(b, header{id: m.Page, flags: flagMeta})
	b = b[HeaderSize:][:MetaSize]
	put32, put64 := binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	put32(b[0:], Magic)
	put32(b[4:], version)
	put32(b[8:], uint32(m.PageSize))
	put64(b[16:], uint64(m.Root))
	put64(b[24:], m.Sequence)
	put64(b[32:], uint64(m.Freelist))
	put64(b[40:], uint64(m.HighWater))
	put64(b[48:], m.TxID)
	sum := fnv.New64a()
	_, _ = sum.Write(b[:MetaSize-8])
	put64(b[56:], sum.Sum64())
}

func putHeader(b []byte, h header) {
	binary.NativeEndian.PutUint64(b, uint64(h.id))
	binary.NativeEndian.PutUint16(b[8:], h.flags)
	binary.NativeEndian.PutUint16(b[10:], h.count)
	binary.NativeEndian.PutUint32(b[12:], h.overflow)
}
