package discovery

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wringdb/wring/sdk"
)

// identity tells a socket from the one that was at its path before.
type identity struct {
	inode uint64
	made  time.Time
}

// candidate is a socket that was found.
type candidate struct {
	id      identity
	refused error // why it is not asked
}

// scan reads a directory. One that is not there has no sockets; the error of one
// that nobody may trust, or read, is why it is refused. Links are left alone, as
// is what is hidden.
func scan(dir string) (map[string]candidate, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, sdk.Errorf(sdk.ErrPermission, "look for owners: %w", err).
			WithHint("run wring as the user whose applications put their sockets there; this is user %d", os.Geteuid())
	case errors.Is(err, syscall.ENOTDIR):
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "look for owners: %s is no directory", dir).
			WithHint("set owner_dir to the directory of the sockets; for a single one write owner")
	case err != nil:
		return nil, fmt.Errorf("look for owners: %w", err)
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	found := make(map[string]candidate)
	for _, entry := range entries {
		if entry.Type() != fs.ModeSocket || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if len(found) == maxOwners {
			return found, sdk.Errorf(sdk.ErrInvalidOption, "%s has more than %d sockets: the rest is left alone", dir, maxOwners).
				WithHint("give the owners several directories, and each a store with its owner_dir")
		}
		info, err := entry.Info()
		if err != nil {
			continue // gone again
		}
		path := filepath.Join(dir, entry.Name())
		c := candidate{id: identity{inode: inodeOf(info), made: info.ModTime()}, refused: checkSocket(path, info)}
		twin := slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
			return e.Name() == entry.Name()+".sock" && e.Type() == fs.ModeSocket
		})
		if twin && c.refused == nil {
			c.refused = sdk.Errorf(sdk.ErrInvalidOption, "the socket %s is called as %s.sock is", path, path).
				WithHint("rename one of the two: they are told apart by what is before .sock")
		}
		found[path] = c
	}
	return found, nil
}

// scanNamed looks at sockets that somebody has named.
func scanNamed(paths []string) map[string]candidate {
	found := make(map[string]candidate)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
			found[path] = candidate{id: identity{inode: inodeOf(info), made: info.ModTime()}}
		}
	}
	return found
}

// CheckDir makes sure that nobody but this user and root can put a socket into
// dir, or another directory in its place. It says nothing against a directory
// that is not there.
func CheckDir(dir string) error {
	err := checkDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) && sdk.HintOf(err) == "" {
		return sdk.Errorf(sdk.ErrPermission, "%w", err).
			WithHint("user %d must be able to read the directory: look at owner and mode of it and of those above", os.Geteuid())
	}
	return err
}

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look for owners: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return sdk.Errorf(sdk.ErrPermission, "others may write to %s (mode %#o), so no owner in it is believed", dir, mode).
			WithHint("chmod go-w %s", dir)
	}
	if uid, ok := userOf(info); ok && !isTrusted(uid) {
		return sdk.Errorf(sdk.ErrPermission, "%s belongs to user %d, not to user %d, so no owner in it is believed", dir, uid, os.Geteuid()).
			WithHint("run wring as user %d, or name the sockets one by one with owner", uid)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("look for owners: %w", err)
	}
	for child := real; filepath.Dir(child) != child; child = filepath.Dir(child) {
		above, err := os.Stat(filepath.Dir(child))
		if err != nil {
			return fmt.Errorf("look for owners: %w", err)
		}
		if above.Mode().Perm()&0o022 != 0 && above.Mode()&fs.ModeSticky == 0 {
			return sdk.Errorf(sdk.ErrPermission, "others may replace %s, because %s has mode %#o, so no owner in it is believed", child, filepath.Dir(child), above.Mode().Perm()).
				WithHint("chmod go-w %s", filepath.Dir(child))
		}
		if uid, ok := userOf(above); ok && !isTrusted(uid) {
			return sdk.Errorf(sdk.ErrPermission, "user %d may replace %s, as %s belongs to them, so no owner in it is believed", uid, child, filepath.Dir(child)).
				WithHint("use a directory below ones of user %d or root", os.Geteuid())
		}
	}
	return nil
}

// checkSocket refuses what others have made, and what cannot be named.
func checkSocket(path string, info fs.FileInfo) error {
	if uid, ok := userOf(info); ok && !isTrusted(uid) {
		return sdk.Errorf(sdk.ErrPermission, "the socket %s belongs to user %d, not to user %d", path, uid, os.Geteuid()).
			WithHint("run wring as user %d, or name the socket with owner if it is to be believed", uid)
	}
	if !isName(nameOf(path)) {
		return sdk.Errorf(sdk.ErrInvalidOption, "the socket %q has a name that no store can have", path).
			WithHint("give it a name of letters, digits, '-', '_' and '.'")
	}
	return nil
}

func isTrusted(uid int) bool { return uid == os.Geteuid() || uid == 0 }

func userOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

func inodeOf(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Ino
}

// maxName is the longest name of an owner or of a store, in bytes.
const maxName = 200

// isName says whether a name can be shown, typed and kept.
func isName(name string) bool {
	return name != "" && len(name) <= maxName && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) })
}

// names are what an owner calls its stores, and, quoted, what of them is left
// alone.
func names(stores []sdk.Store) (usable, left []string) {
	for _, s := range stores {
		if isName(s.Name) && !slices.Contains(usable, s.Name) && len(usable) < maxStores {
			usable = append(usable, s.Name)
			continue
		}
		left = append(left, fmt.Sprintf("%.100q", s.Name))
	}
	slices.Sort(usable)
	return usable, left
}
