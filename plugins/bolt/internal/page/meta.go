// Package page reads bbolt's file format page by page, with positioned reads
// and a bound on every offset and count, so that a file which is damaged, cut
// short or being written to gives an error and never a fault.
//
// The format is the memory of bbolt's own structs in the machine's byte order:
// see internal/common in go.etcd.io/bbolt.
package page

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
)

// ID is the number of a page; its offset is ID × page size.
type ID uint64

// NoFreelist stands in a meta for a freelist that is not kept in the file.
const NoFreelist = ^ID(0)

// Sizes of the fixed parts, in bytes.
const (
	HeaderSize       = 16 // of a page
	ElementSize      = 16 // of a leaf's or a branch's entry
	BucketHeaderSize = 16 // before the inline page of a bucket's value
	MetaSize         = 64 // after the header of a meta page
)

// Bounds of the page size, in bytes.
const (
	MinPageSize = 1 << 10
	MaxPageSize = 16 << 20
)

// Magic marks a meta page, at byte 16 of page 0 and of page 1.
const Magic = 0xED0CDAED

const version = 2

// Error says what is wrong with a file, and where.
type Error struct {
	Page    ID
	Problem string
}

func (e *Error) Error() string { return fmt.Sprintf("page %d %s", e.Page, e.Problem) }

func problem(id ID, format string, args ...any) *Error {
	return &Error{Page: id, Problem: fmt.Sprintf(format, args...)}
}

// ErrNoMeta says that neither meta page is valid: this is no bbolt file, or one
// that cannot be read without repair.
var ErrNoMeta = errors.New("no valid meta page")

// Meta is the root of all data: what one committed transaction left.
type Meta struct {
	PageSize int
	Root     ID
	// Sequence of the root bucket.
	Sequence uint64
	// Freelist is NoFreelist in a file written with NoFreelistSync.
	Freelist ID
	// HighWater is the number of pages ever in use: no page from there on
	// belongs to the data.
	HighWater ID
	TxID      uint64
	// Page is where it was read: 0 or 1.
	Page ID
}

// Bytes is the size of the file up to the high-water mark.
func (m Meta) Bytes() int64 { return int64(m.HighWater) * int64(m.PageSize) }

// Offset of a page in the file.
func (m Meta) Offset(id ID) int64 { return int64(id) * int64(m.PageSize) }

// ReadMeta returns the newest valid meta, by the rule by which bbolt chooses:
// of those whose checksum is right, the one with the higher transaction id.
// The error is an *Error, ErrNoMeta or the reader's.
func ReadMeta(r io.ReaderAt) (Meta, error) {
	first, ok, err := metaAt(r, 0)
	if err != nil {
		return Meta{}, err
	}
	if !ok {
		return secondMeta(r)
	}
	second, ok, err := metaAt(r, int64(first.PageSize))
	if err != nil {
		return Meta{}, err
	}
	newest := first
	if ok && second.TxID > first.TxID {
		newest = second
		newest.Page = 1
	}
	if newest.PageSize != first.PageSize {
		return Meta{}, problem(1, "gives a page size of %d, and page 0 one of %d", second.PageSize, first.PageSize)
	}
	return newest, newest.check()
}

// ReadMetas returns both metas, each as it is on its page. It is an error where
// one of them is not valid.
func ReadMetas(r io.ReaderAt, pageSize int) (metas [2]Meta, err error) {
	for i := range metas {
		m, ok, err := metaAt(r, int64(i)*int64(pageSize))
		if err != nil {
			return metas, err
		}
		if !ok {
			return metas, problem(ID(i), "is no valid meta")
		}
		m.Page = ID(i)
		metas[i] = m
	}
	return metas, nil
}

// MetaAt reads the meta on page id, 0 or 1, of a file with pages of that size; ok
// is false for one that is being written, or is none.
func MetaAt(r io.ReaderAt, id ID, pageSize int) (m Meta, ok bool, err error) {
	m, ok, err = metaAt(r, int64(id)*int64(pageSize))
	if !ok || err != nil {
		return m, false, err
	}
	m.Page = id
	return m, m.PageSize == pageSize, m.check()
}

// secondMeta looks for page 1 where page 0 does not tell the page size.
func secondMeta(r io.ReaderAt) (Meta, error) {
	for size := int64(MinPageSize); size <= MaxPageSize; size <<= 1 {
		m, ok, err := metaAt(r, size)
		if err != nil {
			return Meta{}, err
		}
		if ok && int64(m.PageSize) == size {
			m.Page = 1
			return m, m.check()
		}
	}
	return Meta{}, ErrNoMeta
}

// metaAt reads the meta of the page at an offset; ok is false where there is
// none that is valid.
func metaAt(r io.ReaderAt, offset int64) (m Meta, ok bool, err error) {
	var buf [MetaSize]byte
	if _, err := r.ReadAt(buf[:], offset+HeaderSize); err != nil {
		if errors.Is(err, io.EOF) {
			return Meta{}, false, nil
		}
		return Meta{}, false, fmt.Errorf("read meta at byte %d: %w", offset, err)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(buf[:MetaSize-8])
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	if u32(buf[0:]) != Magic || u32(buf[4:]) != version || u64(buf[56:]) != sum.Sum64() {
		return Meta{}, false, nil
	}
	m = Meta{
		PageSize:  int(u32(buf[8:])),
		Root:      ID(u64(buf[16:])),
		Sequence:  u64(buf[24:]),
		Freelist:  ID(u64(buf[32:])),
		HighWater: ID(u64(buf[40:])),
		TxID:      u64(buf[48:]),
	}
	return m, bits.OnesCount(uint(m.PageSize)) == 1 && m.PageSize >= MinPageSize && m.PageSize <= MaxPageSize, nil
}

// check bounds the fields of a meta whose checksum is right.
func (m Meta) check() error {
	at := m.Page
	switch {
	case m.HighWater < 3 || m.HighWater > ID(1<<62)/ID(m.PageSize):
		return problem(at, "has the impossible high-water mark %d", m.HighWater)
	case m.Root < 2 || m.Root >= m.HighWater:
		return problem(at, "has its root at page %d, outside of 2 to %d", m.Root, m.HighWater-1)
	case m.Freelist != NoFreelist && (m.Freelist < 2 || m.Freelist >= m.HighWater):
		return problem(at, "has its freelist at page %d, outside of 2 to %d", m.Freelist, m.HighWater-1)
	}
	return nil
}
