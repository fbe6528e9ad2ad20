// Package swap puts a new directory in the place of a store's. A crash at any moment
// leaves the old one or the new one at the path, whole, and who waits for the lock
// of the store never gets that of a directory which is the store no more.
package swap

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// ErrUnfit says that a directory cannot be replaced where it lies.
var ErrUnfit = errors.New("the directory cannot be replaced")

// ErrChanged says that another directory lies at the path now.
var ErrChanged = errors.New("was replaced by somebody else")

func unfit(cause error, why string) error { return fmt.Errorf("%w: %s: %w", ErrUnfit, why, cause) }

// Marker is a file in a directory that is to replace a store's. It stays there until
// that is sure to last.
const Marker = ".wring.temp"

// lockFile is what whoever opens a store locks. The lock is one on its inode, and the
// process that closes any descriptor of that loses it: nothing here opens the file.
const lockFile = "LOCK"

// Hook is called before each change, for tests that let it fail or crash there. It is
// nil in production.
type Hook func(operation, path string) error

func (h Hook) do(operation, path string, change func() error) error {
	if h != nil {
		if err := h(operation, path); err != nil {
			return err
		}
	}
	return change()
}

// Temp is a new directory beside that of a store. It has the store's LOCK as well, the
// very same file: so the lock that its maker holds is on both directories, before they
// are exchanged and afterwards. That file also tells whose temp a directory is.
type Temp struct {
	Path  string
	store string
	old   fs.FileInfo // the store's directory
	hook  Hook
	// gone is set once the directory has taken the store's place, or is removed.
	gone bool
}

// New makes the directory for the store at a path without symbolic links, which is
// locked, and finds out whether the two can be exchanged, and whether what is new can
// have the owner and attributes of the old directory and of a file in it. Nobody but
// its maker may read it.
func New(store, like string, hook Hook) (*Temp, error) {
	old, err := os.Lstat(store)
	if err != nil {
		return nil, err
	}
	if err := Fits(store); err != nil {
		return nil, err
	}
	name := tempName(store)
	t := &Temp{Path: name, store: store, old: old, hook: hook}
	err = hook.do("mkdir", name, func() error { return os.Mkdir(name, 0o700) })
	if errors.Is(err, syscall.ENAMETOOLONG) {
		return nil, unfit(err, "its name leaves no room for one beside it")
	}
	if err != nil {
		return nil, err
	}
	if err := t.furnish(like); err != nil {
		return nil, errors.Join(err, t.Discard())
	}
	return t, nil
}

// furnish gives the directory what tells it from others.
func (t *Temp) furnish(like string) error {
	// Whoever has made the store's LOCK may have been killed before that was sure to last.
	if err := t.hook.syncDirectory(t.store); err != nil {
		return err
	}
	if err := t.hook.do("link", t.in(lockFile), func() error {
		return os.Link(filepath.Join(t.store, lockFile), t.in(lockFile))
	}); err != nil {
		switch {
		case errors.Is(err, syscall.EXDEV): // links do not lead out of a mount
			return unfit(err, "it is a mount point of its own")
		case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EMLINK):
			return unfit(err, "its lock file cannot have a second name")
		}
		return err
	}
	// A power cut must not leave anything there without that name: it would stay for ever.
	if err := t.hook.syncDirectory(t.Path); err != nil {
		return err
	}
	if err := t.hook.do("create", t.in(Marker), func() error {
		return os.WriteFile(t.in(Marker), fmt.Appendf(nil, markerText, filepath.Base(t.store)), 0o600)
	}); err != nil {
		return err
	}
	if err := t.settleLike(t.in(Marker), like); err != nil {
		return err
	}
	return t.try()
}

// settleLike gives something new the owner and attributes of what is at a path.
func (t *Temp) settleLike(path, like string) error {
	model, err := Like(like, t.hook)
	if err != nil {
		return err
	}
	defer model.Close()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return model.Give(path, f.Fd())
}

// markerText is for people who find the directory.
const markerText = `wring makes this directory to replace the store %q beside it, and removes it when it
compacts the store again.
`

// try exchanges two empty directories, one of them like the store's.
func (t *Temp) try() error {
	a, b := t.in("exchange.1"), t.in("exchange.2")
	err := errors.Join(os.Mkdir(a, 0o700), os.Mkdir(b, 0o700))
	if err == nil {
		err = t.settleLike(a, t.store)
	}
	if err == nil {
		err = exchange(a, b)
	}
	for _, dir := range []string{a, b} {
		if rerr := os.Remove(dir); err == nil {
			err = rerr
		}
	}
	return err
}

func (t *Temp) in(name string) string { return filepath.Join(t.Path, name) }

// Seal gives the directory and the files in it the owner, mode and extended attributes
// that the store has: the files those of the store's file like. Then it makes all of
// it last. It tells of each file that it is through with.
func (t *Temp) Seal(ctx context.Context, like string, report func(file fs.FileInfo)) error {
	entries, err := os.ReadDir(t.Path)
	if err != nil {
		return err
	}
	model, err := os.Open(like)
	if err != nil {
		return err
	}
	defer model.Close()
	for _, entry := range entries {
		if entry.Name() == lockFile || entry.Name() == Marker {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.settle(t.in(entry.Name()), model); err != nil {
			return err
		}
		if info, err := entry.Info(); err == nil {
			report(info)
		}
	}
	if err := t.seal(); err != nil {
		return err
	}
	old, err := os.Open(t.store)
	if err != nil {
		return err
	}
	defer old.Close()
	return t.settle(t.Path, old)
}

// settle makes a file or directory like another one, and makes it last.
func (t *Temp) settle(path string, like *os.File) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = t.hook.do("attributes", path, func() error { return copyAttributes(f, like) })
	if err != nil {
		err = fmt.Errorf("give %s the owner and attributes of %s: %w", path, like.Name(), err)
	} else {
		err = t.hook.do("sync", path, f.Sync)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

const sealed = "sealed "

// seal writes down which files the directory has: by that a sweep sees whether anybody
// has opened it as a store since. A power cut must not make them others.
func (t *Temp) seal() error {
	if err := t.hook.syncDirectory(t.Path); err != nil {
		return err
	}
	names, err := digestNames(t.Path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(t.in(Marker), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = t.hook.do("write", t.in(Marker), func() error {
		_, err := fmt.Fprintf(f, "%s%s\n", sealed, names)
		return err
	})
	if err == nil {
		err = t.hook.do("sync", t.in(Marker), f.Sync)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// digestNames sums up which files a directory has, beside wring's own. Who opens it as
// a store for writing adds some.
func digestNames(dir string) (string, error) {
	entries, err := os.ReadDir(dir) // in their order
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, entry := range entries {
		if name := entry.Name(); name != Marker && name != engine.HostLock {
			fmt.Fprintf(sum, "%s\n", name)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Discard removes the directory, unless it has taken the store's place.
func (t *Temp) Discard() error {
	if t.gone {
		return nil
	}
	t.gone = true
	return t.hook.removeDirectory(t.Path)
}

// removeDirectory removes a directory with all that is in it. A kill or a power cut in the
// middle must leave what Sweep recognises: the marker goes first, which says what else is
// there, and LOCK goes last.
func (h Hook) removeDirectory(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		return rank(a.Name()) - rank(b.Name())
	})
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		if entry.Name() == lockFile { // others may have been removed before a kill
			if err := h.syncDirectory(dir); err != nil {
				return err
			}
		}
		if err := h.do("remove", name, func() error { return os.RemoveAll(name) }); err != nil {
			return err
		}
		if entry.Name() == Marker { // with it, and without others, it would stay
			if err := h.syncDirectory(dir); err != nil {
				return err
			}
		}
	}
	return h.do("rmdir", dir, func() error { return os.Remove(dir) })
}

func rank(name string) int {
	switch name {
	case Marker:
		return 0
	case lockFile:
		return 2
	}
	return 1
}

// affixes are what the names of the temps of a store have around their random part.
func affixes(store string) (prefix, suffix string) {
	return "." + filepath.Base(store) + ".wring-", ".tmp"
}

const randomBytes = 8

func tempName(store string) string {
	random := make([]byte, randomBytes)
	_, _ = rand.Read(random) // never fails
	prefix, suffix := affixes(store)
	return filepath.Join(filepath.Dir(store), prefix+hex.EncodeToString(random)+suffix)
}

// isTempName says whether a name is one of tempName.
func isTempName(store, name string) bool {
	prefix, suffix := affixes(store)
	rest, ours := strings.CutPrefix(name, prefix)
	rest, temp := strings.CutSuffix(rest, suffix)
	random, err := hex.DecodeString(rest)
	return ours && temp && err == nil && len(random) == randomBytes && rest == strings.ToLower(rest)
}
