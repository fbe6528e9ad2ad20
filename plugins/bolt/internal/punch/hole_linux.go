package punch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// hole gives a part of the file back to the file system.
func hole(f *os.File, part span) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, part.from, part.length())
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue // by a signal of Go's own scheduler
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return errors.Join(ErrUnsupported, err)
		}
		return err
	}
}

// SupportedIn asks the file system of a directory, by way of a file that never
// has a name. It says nothing where that cannot be made, as on one that is full:
// then only trying tells. The error is of kind ErrUnsupported.
func SupportedIn(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir, "unnamed"))
	defer f.Close()
	// The file is empty: a hole beyond its end needs no space.
	if err := hole(f, span{0, page.MinPageSize}); errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}
