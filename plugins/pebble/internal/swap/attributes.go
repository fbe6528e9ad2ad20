package swap

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// copyAttributes sets the owner first: that clears bits of the mode.
func copyAttributes(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	have, err := to.Stat()
	if err != nil {
		return err
	}
	want, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the owner is not known")
	}
	if stat, ok := have.Sys().(*syscall.Stat_t); !ok || stat.Uid != want.Uid || stat.Gid != want.Gid {
		if err := to.Chown(int(want.Uid), int(want.Gid)); err != nil {
			return err
		}
	}
	if err := copyXattrs(to, from); err != nil {
		return err
	}
	return to.Chmod(info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky))
}
