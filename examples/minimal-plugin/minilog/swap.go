package minilog

import (
	"errors"
	"os"
	"path/filepath"
)

// CreateTemp makes a file for a new log beside an old one, closed to others as
// the old one is.
func CreateTemp(old *os.File) (*os.File, error) {
	info, err := old.Stat()
	if err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp(filepath.Dir(old.Name()), tempPrefix(old.Name())+"*")
	if err != nil {
		return nil, err
	}
	if err := temp.Chmod(info.Mode().Perm()); err != nil {
		return nil, errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	return temp, nil
}

// Swap puts a new log into the place of the old one, which is locked, for good.
func Swap(old, temp *os.File) error {
	if err := os.Rename(temp.Name(), old.Name()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(old.Name()))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// RemoveTemps removes what CreateTemp has made for a log and nobody has swapped
// or removed.
func RemoveTemps(path string) ([]string, error) {
	path = resolve(path)
	temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), tempPrefix(path)+"*"))
	for _, temp := range temps {
		err = errors.Join(err, os.Remove(temp))
	}
	return temps, err
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + ".compact-" }

// resolve follows a symbolic link, which a rename would replace.
func resolve(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}
