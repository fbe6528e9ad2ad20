package swap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Model is a file of a store whose owner, mode and extended attributes new files get.
// It keeps them when its name is gone.
type Model struct {
	file *os.File
	hook Hook
}

// Like takes a file for a model. It must not be the store's LOCK.
func Like(path string, hook Hook) (*Model, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Model{file: file, hook: hook}, nil
}

// Close gives the model back.
func (m *Model) Close() error { return m.file.Close() }

// Give makes an open file like the model. It goes by the descriptor: the store's owner
// may put another file at the path, and that must not become his.
func (m *Model) Give(path string, descriptor uintptr) error {
	err := m.hook.do("attributes", path, func() error {
		own, err := unix.FcntlInt(descriptor, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(own), path)
		return errors.Join(copyAttributes(f, m.file), f.Close())
	})
	if err != nil {
		return fmt.Errorf("give %s the owner and attributes of %s: %w", path, m.file.Name(), err)
	}
	return nil
}

// Try finds out whether a file in the model's directory can be made like it.
func (m *Model) Try() error { return m.try(func(string) error { return nil }) }

// MakeLock makes the store's LOCK, where there is none: whoever makes it while locking
// it may keep the store's owner out. Where that cannot be done it does nothing.
func (m *Model) MakeLock() error {
	lock := filepath.Join(filepath.Dir(m.file.Name()), lockFile)
	if _, err := os.Lstat(lock); !errors.Is(err, fs.ErrNotExist) {
		return nil // or who locks it comes across the error too
	}
	err := m.try(func(name string) error {
		// Only a whole one may be found there, and once it is, somebody may have locked it.
		return m.hook.do("link", lock, func() error {
			if err := os.Link(name, lock); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
				return err
			}
			return nil
		})
	})
	if errors.Is(err, fs.ErrExist) { // another process is at it
		return nil
	}
	return err
}

// try makes a file like the model for a moment. Where a kill leaves it, Sweep removes it.
func (m *Model) try(use func(name string) error) error {
	dir := filepath.Dir(m.file.Name())
	name := filepath.Join(dir, Marker)
	var f *os.File
	err := m.hook.do("create", name, func() (err error) {
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = m.Give(name, f.Fd())
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = use(name)
	}
	if rerr := m.hook.removeMarker(dir); err == nil {
		err = rerr
	}
	return err
}

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
