//go:build linux || darwin || freebsd

package sdk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A lock file that is a symbolic link is somebody's trick.
const openNoFollow = unix.O_NOFOLLOW

// plain says whether an open file is a file by one name only: what is written
// to it then changes nothing else.
func plain(file *os.File) bool {
	var stat unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &stat)
	return err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Nlink == 1
}

// isDead says whether there is no process of that number.
func isDead(pid int) bool { return pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// flock takes the exclusive lock of an open file, or returns errLocked.
func flock(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		case err != nil:
			return &os.PathError{Op: "flock", Path: file.Name(), Err: err}
		}
		return nil
	}
}
