package page

import (
	"os"

	"golang.org/x/sys/unix"
)

// Mapping is a file in memory, to be read only. Where its bytes cannot be read
// a fault follows, which debug.SetPanicOnFault makes a panic.
type Mapping struct{ Data []byte }

// Map maps the first size bytes of a file. They may lie beyond its end for as
// long as nobody reads them.
func Map(f *os.File, size int64) (*Mapping, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "map", Path: f.Name(), Err: err}
	}
	return &Mapping{data}, nil
}

// Forget takes a part of the file out of the process's memory, so that it does
// not count as being in use. It is read again where it is needed.
func (m *Mapping) Forget(from, to int64) {
	size := int64(os.Getpagesize())
	from, to = (from+size-1)/size*size, min(to, int64(len(m.Data)))/size*size
	if from < to {
		_ = unix.Madvise(m.Data[from:to], unix.MADV_DONTNEED)
	}
}

// Close ends the mapping. A second call does nothing.
func (m *Mapping) Close() error {
	data := m.Data
	m.Data = nil
	if data == nil {
		return nil
	}
	return unix.Munmap(data)
}
