package punch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// hole gives a part of the file back to the file system, which wants whole
// blocks.
//
// The structure that F_PUNCHHOLE takes (flags and a reserved field of 32 bits,
// offset, length) is the beginning of that of F_PREALLOCATE, for which there is
// a call without unsafe pointers.
func hole(f *os.File, part span) error {
	err := unix.FcntlFstore(f.Fd(), unix.F_PUNCHHOLE, &unix.Fstore_t{Offset: part.from, Length: part.length()})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return errors.Join(ErrUnsupported, err)
	}
	return err
}

// SupportedIn says nothing: only trying tells.
func SupportedIn(string) error { return nil }
