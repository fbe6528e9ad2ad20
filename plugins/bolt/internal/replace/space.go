package replace

import (
	"os"

	"golang.org/x/sys/unix"
)

// FreeSpace is how many bytes may still be allocated where a file lies.
func FreeSpace(f *os.File) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:unconvert // the types differ between systems
}
