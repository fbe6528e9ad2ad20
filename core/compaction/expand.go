package compaction

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wringdb/wring/core/config"
)

// errNoFiles: a pattern matches nothing.
var errNoFiles = errors.New("no file matches")

// Expand returns the stores that a configured store stands for now: itself, or
// for a pattern each regular file that matches, sorted by path. Such a store is
// called by the name of the pattern and the file's path below the last
// directory that the pattern spells out: logs/a.db. Symbolic links, which may
// lead to a file that matches too, and what compactions leave beside a store
// are left out.
func Expand(store config.Store) ([]config.Store, error) {
	if store.Glob == "" {
		return []config.Store{store}, nil
	}
	matches, err := filepath.Glob(store.Glob)
	if err != nil {
		return nil, fmt.Errorf("find files for store %s by %q: %w", store.Name, store.Glob, err)
	}
	slices.Sort(matches)
	base := fixedDir(store.Glob)
	stores := make([]config.Store, 0, len(matches))
	for _, path := range matches {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || isOurs(path) {
			continue // gone again, or no store
		}
		name, err := filepath.Rel(base, path)
		if err != nil {
			return nil, fmt.Errorf("name file %s of store %s: %w", path, store.Name, err)
		}
		file := store
		file.Name = store.Name + "/" + filepath.ToSlash(name)
		file.Path, file.Glob = path, ""
		stores = append(stores, file)
	}
	return stores, nil
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

// isOurs recognises the temporary and lock files beside a store:
// .NAME.wring-RANDOM.tmp and .NAME.wring.lock.
func isOurs(path string) bool {
	name := filepath.Base(path)
	if !strings.HasPrefix(name, ".") {
		return false
	}
	return strings.HasSuffix(name, ".wring.lock") || strings.Contains(name, ".wring-") && strings.HasSuffix(name, ".tmp")
}
