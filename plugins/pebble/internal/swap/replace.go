package swap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// Fits says why no directory can be put in the place of a store's, as far as can be told
// without trying, or nil.
func Fits(store string) error {
	if other := mountedAt(store); other != "" {
		return unfit(fmt.Errorf("it is mounted at %s", other), "a mount of it would go on showing the old one")
	}
	parent := filepath.Dir(store)
	if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "make a directory in", Path: parent, Err: err}
	}
	return nil
}

// Replace exchanges the two directories and makes that last. It must be sealed. When
// the error comes with replaced, the new directory is the store, but may not be after
// a power cut; otherwise the store is as it was.
func (t *Temp) Replace() (replaced bool, err error) {
	if err := t.same(t.store); err != nil {
		return false, err
	}
	// The hosts' lock moves along. In the moment in which a second host may take a
	// new one, as in any other, it still has to take the store's own.
	back, err := t.takeHostLock()
	if err != nil {
		return false, err
	}
	if err := t.exchange(); err != nil {
		return false, errors.Join(err, back())
	}
	if err := t.same(t.Path); err != nil {
		// Somebody put another directory there at the last moment: it is theirs.
		return false, errors.Join(err, t.exchange(), back())
	}
	t.gone = true
	return true, t.hook.syncParent(t.store)
}

func (t *Temp) exchange() error {
	return t.hook.do("exchange", t.Path, func() error { return exchange(t.Path, t.store) })
}

// same makes sure that the store's old directory is at a path.
func (t *Temp) same(path string) error {
	now, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(now, t.old) {
		return fmt.Errorf("%s %w", t.store, ErrChanged)
	}
	return nil
}

// takeHostLock moves wring's lock file from the store into the temp; back undoes it.
func (t *Temp) takeHostLock() (back func() error, err error) {
	from, to := filepath.Join(t.store, engine.HostLock), t.in(engine.HostLock)
	move := func(from, to string) error {
		err := t.hook.do("rename", to, func() error { return os.Rename(from, to) })
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no host is at work
		}
		return err
	}
	return func() error { return move(to, from) }, move(from, to)
}

// Finish removes the old directory, once Replace has succeeded.
func (t *Temp) Finish() error {
	return errors.Join(t.hook.removeMarker(t.store), t.hook.removeDirectory(t.Path))
}

func (h Hook) removeMarker(dir string) error {
	name := filepath.Join(dir, Marker)
	return h.do("remove", name, func() error { return os.Remove(name) })
}

// syncParent makes the names beside a store last.
func (h Hook) syncParent(store string) error { return h.syncDirectory(filepath.Dir(store)) }

// syncDirectory makes the names in a directory last.
func (h Hook) syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = h.do("sync", path, dir.Sync)
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	return err
}
