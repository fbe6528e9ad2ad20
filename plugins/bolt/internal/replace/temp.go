package replace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Temp is a new file beside the one that it is to replace, as yet empty, with
// the same owner, mode and extended attributes.
type Temp struct {
	// File is for reading; whatever changes it goes through the Temp.
	File *os.File
	Path string
	// dir is open from the beginning: whoever cannot open it must learn that
	// before the rename, after which there is no way back.
	dir  *os.File
	hook Hook
	mark mark
}

// Unfinished is the version for the temp of a file that changes while the temp is
// made. Whatever is written to such a temp, a sweep removes it. Remark must give
// it the version, before it takes the file's place.
const Unfinished = ^uint64(0) - 1

// ErrGone says that somebody else removed a temp while it was being made.
var ErrGone = errors.New("the new file was removed by somebody else")

// NewTemp creates the temp for the file at path, which is open as original and
// at that version: see State. Its name takes a random part from random. The
// hook, which may be nil, hears of all that is done to the temp. It is locked
// from the beginning, as by Hold, so that no sweep takes it for a leftover.
func NewTemp(path string, original *os.File, version uint64, random io.Reader, hook Hook) (*Temp, error) {
	info, err := original.Stat()
	if err != nil {
		return nil, err
	}
	mark := mark{inode: inode(info), version: version}
	if _, err := io.ReadFull(random, mark.random[:]); err != nil {
		return nil, fmt.Errorf("choose a name: %w", err)
	}
	name := filepath.Join(filepath.Dir(path), mark.name(path))
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open directory to sync it: %w", err)
	}
	t := &Temp{Path: name, dir: dir, hook: hook}
	if err := hook.Do(Op{Kind: OpCreate, Path: name}, func() (err error) {
		t.File, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, 0o600)
		return err
	}); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if _, err := t.Hold(); err != nil {
		t.Discard()
		return nil, err
	}
	if err := t.sign(path, mark); err != nil {
		t.Discard()
		return nil, fmt.Errorf("name %s: %w", name, err)
	}
	if err := hook.Do(Op{Kind: OpAttributes, Path: t.Path}, func() error {
		return copyAttributes(t.File, original)
	}); err != nil {
		t.Discard()
		return nil, fmt.Errorf("give %s the owner and attributes of %s: %w", name, path, err)
	}
	return t, nil
}

// sign puts the temp's own inode into its name.
func (t *Temp) sign(path string, m mark) error {
	info, err := t.File.Stat()
	if err != nil {
		return err
	}
	m.own = inode(info)
	if err := t.rename(path, m); err != nil {
		return err
	}
	// Under another name, so that the file knows itself by that too.
	first := t.File
	if t.File, err = t.Dup(t.Path); err != nil {
		t.File = first
		return err
	}
	return first.Close()
}

// rename gives the temp of the file at path the name of a mark.
func (t *Temp) rename(path string, m mark) error {
	name := filepath.Join(filepath.Dir(path), m.name(path))
	if err := t.hook.Do(Op{Kind: OpRename, Path: t.Path, To: name}, func() error {
		return os.Rename(t.Path, name)
	}); err != nil {
		return t.gone(err)
	}
	t.Path, t.mark = name, m
	return nil
}

// gone tells an error that comes of the temp's name being away from others.
func (t *Temp) gone(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, lost := os.Lstat(t.Path); errors.Is(lost, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// Remark says in the name of the temp of the file at path at which version that
// is now. The version of the temp must be one more.
func (t *Temp) Remark(path string, version uint64) error {
	m := t.mark
	m.version = version
	return t.rename(path, m)
}

// WriteAt implements io.WriterAt.
func (t *Temp) WriteAt(b []byte, offset int64) (n int, err error) {
	err = t.hook.Do(Op{Kind: OpWrite, Path: t.Path, Offset: offset, Data: b}, func() (err error) {
		n, err = t.File.WriteAt(b, offset)
		return err
	})
	return n, err
}

// Truncate makes the temp n bytes long.
func (t *Temp) Truncate(n int64) error {
	return t.hook.Do(Op{Kind: OpTruncate, Path: t.Path, Length: n}, func() error { return t.File.Truncate(n) })
}

// Sync makes the temp's content durable.
func (t *Temp) Sync() error {
	return t.hook.Do(Op{Kind: OpSync, Path: t.Path}, t.File.Sync)
}

// Hold locks the temp, as whoever opens the store does, until admit is called or
// all descriptors of File are closed, those made of it by dup among them. It may
// be called again while the temp is locked.
func (t *Temp) Hold() (admit func(), err error) {
	if err := unix.Flock(int(t.File.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w", t.Path, err)
	}
	return func() { _ = unix.Flock(int(t.File.Fd()), unix.LOCK_UN) }, nil
}

// Dup opens the temp once more under another name, in the way that shares its
// lock: what has one has the other.
func (t *Temp) Dup(name string) (*os.File, error) {
	fd, err := unix.FcntlInt(t.File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s again: %w", t.Path, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Discard removes the temp if it is still there, and closes it.
func (t *Temp) Discard() {
	if here, err := os.Lstat(t.Path); err == nil {
		if open, err := t.File.Stat(); err == nil && os.SameFile(here, open) {
			_ = t.hook.unlink(t.Path)
		}
	}
	_ = t.File.Close()
	_ = t.dir.Close()
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

var _ io.WriterAt = (*Temp)(nil)
