package compaction

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/discovery"
	"github.com/wringdb/wring/sdk"
)

// errNoFiles: a pattern matches nothing.
var errNoFiles = errors.New("no file matches")

// Expand returns the stores that a configured store stands for now: itself, or
// for a pattern each regular file and each directory that matches, sorted by
// path. Such a store is called by the name of the pattern and its path below
// the last directory that the pattern spells out: logs/a.db. Symbolic links,
// which may lead to what matches too, and what compactions leave beside a store
// are left out. It is an error when that last directory cannot be read.
//
// One that stands for the owners in a directory has no stores here: who makes a
// request names those that were discovered, each FoundBy it, or when there are
// none the one that stands for them. It is an error when the directory is refused.
func Expand(store config.Store) ([]config.Store, error) {
	if store.OwnerDir != "" {
		if err := discovery.CheckDir(store.OwnerDir); err != nil {
			return nil, fmt.Errorf("find owners for store %s: %w", store.Name, err)
		}
		return nil, nil
	}
	if store.Glob == "" {
		return []config.Store{store}, nil
	}
	base := fixedDir(store.Glob)
	// What cannot be read looks like an empty directory to filepath.Glob.
	if err := checkReadable(base); err != nil {
		return nil, unreadable(store, err)
	}
	matches, err := filepath.Glob(store.Glob)
	if err != nil {
		return nil, fmt.Errorf("find files for store %s by %q: %w", store.Name, store.Glob, err)
	}
	slices.Sort(matches)
	stores := make([]config.Store, 0, len(matches))
	for _, path := range matches {
		name, err := filepath.Rel(base, path)
		if err != nil {
			return nil, fmt.Errorf("name file %s of store %s: %w", path, store.Name, err)
		}
		name = filepath.ToSlash(name)
		if slices.ContainsFunc(strings.Split(name, "/"), isOurs) || !mayBeStore(path) {
			continue
		}
		file := store
		file.Name = store.Name + "/" + name
		file.Path, file.Glob = path, ""
		stores = append(stores, file)
	}
	return stores, nil
}

// mayBeStore says whether a path that a pattern matches is taken for a store.
// One that cannot be looked at is: its backend says what is wrong.
func mayBeStore(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // gone again
	}
	return info.Mode().IsRegular() || info.IsDir()
}

func checkReadable(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.Readdirnames(1); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// unreadable is the error of a pattern in whose directory nobody can look.
func unreadable(store config.Store, err error) error {
	err = fmt.Errorf("find files for store %s: %w", store.Name, err)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return sdk.Errorf(sdk.ErrNotFound, "%w", err).WithHint("make the directory, or correct the glob %s", store.Glob)
	case errors.Is(err, fs.ErrPermission):
		return sdk.Errorf(sdk.ErrPermission, "%w", err).
			WithHint("user %d must be able to read the directory: look at owner and mode of it and of those above", os.Geteuid())
	}
	return err
}

// Resolve finds what a name stands for among configured stores: the store of
// that name, or one file of a pattern by the name that its results carry
// (logs/a.db). Such a file is a store to run, plan or inspect by itself, with
// the settings of its pattern; its history is the one it has as the pattern's.
func Resolve(stores []config.Store, name string) (config.Store, bool) {
	named := func(s config.Store) bool { return s.Name == name }
	if i := slices.IndexFunc(stores, named); i >= 0 {
		return stores[i], true
	}
	for _, pattern := range stores {
		if pattern.Glob == "" || !strings.HasPrefix(name, pattern.Name+"/") {
			continue
		}
		files, err := Expand(pattern)
		if err != nil {
			continue // so none of them is known
		}
		if i := slices.IndexFunc(files, named); i >= 0 {
			return files[i], true
		}
	}
	return config.Store{}, false
}

// fixedDir is the part of a pattern before the first element with a wildcard.
func fixedDir(pattern string) string {
	dir := filepath.Dir(pattern)
	for strings.ContainsAny(dir, `*?[\`) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// isOurs recognises the names of what compactions leave beside a store or in
// it: .NAME.wring-RANDOM.tmp, .NAME.wring.lock and .wring.lock.
func isOurs(name string) bool {
	if !strings.HasPrefix(name, ".") {
		return false
	}
	return strings.HasSuffix(name, ".wring.lock") || strings.Contains(name, ".wring-") && strings.HasSuffix(name, ".tmp")
}
