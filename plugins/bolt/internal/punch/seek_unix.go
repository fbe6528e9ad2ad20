//go:build linux || darwin || freebsd

package punch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// extents hands the parts of a file below size that hold data to take, in
// order. Where the file system does not tell, that is all of it. It moves the
// offset of f, which nobody who reads and writes at positions sees.
func extents(f *os.File, size int64, take func(span)) error {
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if at == 0 && errors.Is(err, unix.EINVAL) {
			take(span{0, size})
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "seek data in", Path: f.Name(), Err: err}
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) {
			return nil // the file became shorter
		}
		if err != nil {
			return &os.PathError{Op: "seek hole in", Path: f.Name(), Err: err}
		}
		if from < size {
			take(span{from, min(to, size)})
		}
		at = max(to, from+1)
	}
	return nil
}
