package swap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrWritten says that a directory was the store for a time, until a power cut took
// that back, and that somebody wrote to it then.
var ErrWritten = errors.New("was written to as the store before a power cut")

// errForeign says that a directory is no temp of the store, whatever its name.
var errForeign = errors.New("does not share the store's LOCK")

// Leftovers says whether there is anything that Sweep may have to remove.
func Leftovers(store string) (bool, error) {
	if _, err := os.Lstat(filepath.Join(store, Marker)); err == nil {
		return true, nil
	}
	temps, err := temps(store)
	return len(temps) > 0, err
}

// temps lists the directories beside a store that have the name of its temps.
func temps(store string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(store))
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		if entry.IsDir() && isTempName(store, entry.Name()) {
			paths = append(paths, filepath.Join(filepath.Dir(store), entry.Name()))
		}
	}
	return paths, nil
}

// Sweep removes what processes have left that were killed while they replaced the
// store: new directories that never took its place, old ones that lost it, and a
// marker in the store itself. It returns the paths removed. The store must be locked,
// and what is at its path must have been opened: it may be the only copy.
func Sweep(store string, hook Hook) (removed []string, err error) {
	marker := filepath.Join(store, Marker)
	_, unmarked := os.Lstat(marker)
	leftovers, err := temps(store)
	if err != nil || len(leftovers) == 0 && unmarked != nil {
		return nil, err
	}
	// The old directory is all that a power cut might leave until then.
	if err := hook.syncParent(store); err != nil {
		return nil, err
	}
	var failed []error
	for _, path := range leftovers {
		err := recognise(store, path)
		if err == nil {
			err = hook.removeDirectory(path)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("keep %s: %w", path, err))
			continue
		}
		removed = append(removed, path)
	}
	if unmarked == nil {
		if err := hook.removeMarker(store); err != nil {
			failed = append(failed, err)
		} else {
			removed = append(removed, marker)
		}
	}
	return removed, errors.Join(failed...)
}

// recognise returns nil for a directory that may be removed.
func recognise(store, path string) error {
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) == 0 { // killed before it had LOCK, or after
		return err
	}
	ours, err := os.Lstat(filepath.Join(store, lockFile))
	if err != nil {
		return err
	}
	theirs, err := os.Lstat(filepath.Join(path, lockFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(ours, theirs) {
		return errForeign
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(path, Marker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was the store
	}
	if err != nil {
		return err
	}
	_, seal, ok := strings.Cut(string(text), "\n"+sealed)
	if !ok {
		return nil // it was never complete
	}
	names, err := digestNames(path)
	if err != nil {
		return err
	}
	if seal != names+"\n" {
		return ErrWritten
	}
	return nil
}
