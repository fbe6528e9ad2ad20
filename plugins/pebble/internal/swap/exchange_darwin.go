package swap

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// exchange swaps the directories at two paths in one step. The error is of kind
// ErrUnfit where the file system cannot.
func exchange(a, b string) error {
	err := unix.RenamexNp(a, b, unix.RENAME_SWAP)
	if err == nil {
		return nil
	}
	err = &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	for _, unable := range []error{unix.EINVAL, unix.ENOTSUP, unix.EXDEV, unix.EBUSY} {
		if errors.Is(err, unable) {
			return unfit(err, "the file system cannot exchange two directories")
		}
	}
	return err
}
