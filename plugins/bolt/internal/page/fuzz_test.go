package page_test

import (
	"bytes"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// FuzzReadMeta reads metas of files of any bytes.
func FuzzReadMeta(f *testing.F) {
	for _, size := range []int{page.MinPageSize, 4 << 10} {
		whole := make([]byte, 2*size)
		for at := range 2 {
			page.PutMeta(whole[at*size:], page.Meta{PageSize: size, Root: 3, Freelist: 2, HighWater: 4, TxID: uint64(at), Page: page.ID(at)})
		}
		f.Add(whole)
		f.Add(whole[size:])
		f.Add(append(make([]byte, size), whole[size:]...)) // the first is broken
	}
	f.Fuzz(func(t *testing.T, whole []byte) {
		meta, err := page.ReadMeta(bytes.NewReader(whole))
		if err != nil {
			return
		}
		b := make([]byte, meta.PageSize)
		page.PutMeta(b, meta)
		again, err := page.ReadMeta(bytes.NewReader(b))
		if meta.Page = 0; err != nil || again != meta {
			t.Fatalf("read %+v; written and read: %+v, %v", meta, again, err)
		}
	})
}

// FuzzNode reads one node of any bytes, and the buckets in it, mapped and not.
func FuzzNode(f *testing.F) {
	leaf := make([]byte, page.MinPageSize)
	inline := make([]byte, page.BucketHeaderSize+page.HeaderSize)
	page.PutBucket(inline, 0, 7)
	page.PutTable(inline[page.BucketHeaderSize:], 0, true, 0, nil)
	entries := []page.Entry{{Key: []byte("a"), Value: []byte("b")}, {Key: []byte("c"), Value: inline, Bucket: true}}
	page.PutTable(leaf, 2, true, 0, entries)
	copy(leaf[page.HeaderSize+2*page.ElementSize:], "abc"+string(inline))
	branch := make([]byte, 2*page.MinPageSize)
	page.PutTable(branch, 2, false, 1, []page.Entry{{Key: []byte("a"), Child: 3}, {Key: []byte("b"), Child: 4}})
	f.Add(leaf)
	f.Add(branch)
	f.Fuzz(func(t *testing.T, node []byte) {
		whole := append(make([]byte, 2*page.MinPageSize), node...)
		meta := page.Meta{PageSize: page.MinPageSize, HighWater: page.ID(len(whole) / page.MinPageSize)}
		read := &page.File{R: bytes.NewReader(whole), Meta: meta}
		mapped := &page.File{R: read.R, Data: whole, Meta: meta}
		one, err := read.Node(2, true, new(page.Buffer))
		other, mappedErr := mapped.Node(2, true, nil)
		if (err == nil) != (mappedErr == nil) {
			t.Fatalf("read: %v; mapped: %v", err, mappedErr)
		}
		if err != nil {
			return
		}
		if one.Used() != other.Used() || one.Bytes() != other.Bytes() {
			t.Fatalf("read: %d of %d bytes; mapped: %d of %d", one.Used(), one.Bytes(), other.Used(), other.Bytes())
		}
		for i := range one.Count {
			if !one.Leaf {
				_ = one.Child(i)
				continue
			}
			key, value, err := one.Item(i)
			mappedKey, mappedValue, mappedErr := other.Item(i)
			if err != nil || mappedErr != nil || !bytes.Equal(key, mappedKey) || !bytes.Equal(value, mappedValue) {
				t.Fatalf("entry %d: %q %q %v; mapped: %q %q %v", i, key, value, err, mappedKey, mappedValue, mappedErr)
			}
			if one.IsBucket(i) {
				b, err := one.Bucket(i)
				if err == nil && b.Root == 0 && b.Inline.Used() > b.Inline.Bytes()+int64(b.Inline.Count)*int64(len(value)) {
					t.Fatalf("entry %d: an inline bucket of %d bytes uses %d", i, b.Inline.Bytes(), b.Inline.Used())
				}
			}
		}
	})
}
