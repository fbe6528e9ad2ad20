package swap

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// exchange swaps the directories at two paths in one step. The error is of kind
// ErrUnfit where the kernel or the file system cannot.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	err = &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	// EPERM is what filters of system calls say in containers, EXDEV what an
	// overlay says of a directory that lies below it.
	for _, unable := range []error{unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.EPERM, unix.EXDEV, unix.EBUSY} {
		if errors.Is(err, unable) {
			return unfit(err, "the file system cannot exchange two directories")
		}
	}
	return err
}
