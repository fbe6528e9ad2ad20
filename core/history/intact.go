package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

// errDamaged: the file is no history that this version can read.
var errDamaged = errors.New("the file is damaged")

// What of bbolt's format decides whether mapping a file into memory is safe.
// The fields are in the byte order of the machine.
const (
	pageHeaderSize = 16
	metaSize       = 64
	metaMagic      = 0xED0CDAED
	metaVersion    = 2
	minPageSize    = 1 << 10
	maxPageSize    = 16 << 20
	// firstPages is the least of a database: two metas, freelist, root.
	firstPages = 4
)

// meta is what one meta page says.
type meta struct {
	pageSize, highWater, txid uint64
}

// checkIntact says whether every page of the database is within the file: a
// page behind the end would kill the process as soon as it is touched. An empty
// file is fine, it becomes a database when it is opened.
func checkIntact(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("check history: %w", err)
	}
	if info.Size() == 0 {
		return nil
	}
	newest, err := newestMeta(f)
	if err != nil {
		return err
	}
	// Compared by division: the product may overflow.
	if newest.highWater < firstPages || newest.highWater > uint64(info.Size())/newest.pageSize {
		return fmt.Errorf("%w: it has %d bytes and should have %d pages of %d bytes", errDamaged,
			info.Size(), newest.highWater, newest.pageSize)
	}
	return nil
}

// newestMeta finds the meta page that counts. Where the first is broken the
// second is looked for behind each possible size of the first page.
func newestMeta(f *os.File) (meta, error) {
	first, err := readMeta(f, 0)
	if err == nil {
		second, err := readMeta(f, int64(first.pageSize))
		if err == nil && second.pageSize == first.pageSize && second.txid > first.txid {
			return second, nil
		}
		return first, nil
	}
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		if m, err := readMeta(f, size); err == nil && int64(m.pageSize) == size {
			return m, nil
		}
	}
	return meta{}, err
}

func readMeta(f *os.File, offset int64) (meta, error) {
	var b [metaSize]byte
	if _, err := f.ReadAt(b[:], offset+pageHeaderSize); err != nil {
		return meta{}, fmt.Errorf("%w: read meta page: %w", errDamaged, err)
	}
	sum := fnv.New64a()
	sum.Write(b[:56])
	m := meta{
		pageSize:  uint64(binary.NativeEndian.Uint32(b[8:])),
		highWater: binary.NativeEndian.Uint64(b[40:]),
		txid:      binary.NativeEndian.Uint64(b[48:]),
	}
	switch {
	case binary.NativeEndian.Uint32(b[:]) != metaMagic, binary.NativeEndian.Uint32(b[4:]) != metaVersion:
		return meta{}, fmt.Errorf("%w: it is no bbolt database", errDamaged)
	case binary.NativeEndian.Uint64(b[56:]) != sum.Sum64():
		return meta{}, fmt.Errorf("%w: the checksum of its meta page is wrong", errDamaged)
	case m.pageSize < minPageSize, m.pageSize > maxPageSize, m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("%w: it has pages of %d bytes", errDamaged, m.pageSize)
	}
	return m, nil
}
