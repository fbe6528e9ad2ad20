//go:build linux || darwin

package replace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// copyXattrs copies all extended attributes: access lists, the SELinux label,
// the users' own.
func copyXattrs(to, from *os.File) error {
	names, err := xattr(func(b []byte) (int, error) { return unix.Flistxattr(int(from.Fd()), b) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		want, err := xattr(func(b []byte) (int, error) { return unix.Fgetxattr(int(from.Fd()), name, b) })
		if err != nil {
			return fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		// The new file may have it already, where it may not be set.
		have, err := xattr(func(b []byte) (int, error) { return unix.Fgetxattr(int(to.Fd()), name, b) })
		if err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, want, 0); err != nil {
			return fmt.Errorf("set extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// xattr calls get with a buffer that is large enough.
func xattr(get func([]byte) (int, error)) ([]byte, error) {
	for {
		size, err := get(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		b := make([]byte, size)
		n, err := get(b)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
}
