//go:build linux || darwin

package swap

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// systemMark is set by macOS itself, and cannot be taken off.
const systemMark = "com.apple.provenance"

// copyXattrs makes the extended attributes the same: access lists, the SELinux label,
// the users' own. What the new file has inherited from its directory goes first, lest
// its access list hold once the mode is set.
func copyXattrs(to, from *os.File) error {
	names, err := xattrNames(from)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	inherited, err := xattrNames(to)
	if err != nil {
		return err
	}
	for _, name := range inherited {
		if name == systemMark || slices.Contains(names, name) {
			continue
		}
		if err := unix.Fremovexattr(int(to.Fd()), name); err != nil {
			return fmt.Errorf("remove extended attribute %s: %w", name, err)
		}
	}
	for _, name := range names {
		want, err := xattr(from, name)
		if err != nil {
			return fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		// It may be there already, and not be for us to set.
		if have, err := xattr(to, name); err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, want, 0); err != nil {
			return fmt.Errorf("set extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func xattrNames(f *os.File) ([]string, error) {
	list, err := whole(func(b []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), b) })
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00"), nil
}

func xattr(f *os.File, name string) ([]byte, error) {
	return whole(func(b []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), name, b) })
}

// whole calls get with a buffer that is large enough.
func whole(get func([]byte) (int, error)) ([]byte, error) {
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
