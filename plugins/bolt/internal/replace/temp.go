package replace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Temp is a new file beside the one that it is to replace, as yet empty, with
// the same owner, mode and extended attributes.
type Temp struct {
	File *os.File
	Path string
	// dir is open from the beginning: whoever cannot open it must learn that
	// before the rename, after which there is no way back.
	dir *os.File
}

// randomBytes in the name of a temp, written as hex digits.
const randomBytes = 8

// NewTemp creates the temp for the file at path, which is open as original.
// Its name takes a random part from random.
func NewTemp(path string, original *os.File, random io.Reader) (*Temp, error) {
	var id [randomBytes]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return nil, fmt.Errorf("choose a name: %w", err)
	}
	prefix, suffix := tempName(path)
	name := filepath.Join(filepath.Dir(path), prefix+hex.EncodeToString(id[:])+suffix)
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open directory to sync it: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	t := &Temp{File: f, Path: name, dir: dir}
	if err := copyAttributes(f, original); err != nil {
		t.Discard()
		return nil, fmt.Errorf("give %s the owner and attributes of %s: %w", name, path, err)
	}
	return t, nil
}

// Discard removes the temp if it is still there, and closes it.
func (t *Temp) Discard() {
	if here, err := os.Lstat(t.Path); err == nil {
		if open, err := t.File.Stat(); err == nil && os.SameFile(here, open) {
			_ = os.Remove(t.Path)
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

// longestBase is how many bytes of a file's name a temp's name takes whole.
// Most file systems end at 255, of which a temp adds some to tell it by.
const longestBase = 180

// tempName returns what the names of the temps of a file have around their
// own part.
func tempName(path string) (prefix, suffix string) {
	base := filepath.Base(path)
	if len(base) > longestBase {
		sum := sha256.Sum256([]byte(base))
		end := longestBase - 20
		for end > 0 && !utf8.RuneStart(base[end]) {
			end--
		}
		base = fmt.Sprintf("%s~%x", base[:end], sum[:8])
	}
	return "." + base + ".wring-", ".tmp"
}

// Sweep removes the temps of the file at path, which must be resolved and must
// not be in the middle of a replacement. It returns the paths removed.
func Sweep(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	prefix, suffix := tempName(path)
	var removed []string
	var failed []error
	for _, entry := range entries {
		rest, ok := strings.CutPrefix(entry.Name(), prefix)
		id, isTemp := strings.CutSuffix(rest, suffix)
		if !ok || !isTemp || !isID(id) || !entry.Type().IsRegular() {
			continue
		}
		name := filepath.Join(filepath.Dir(path), entry.Name())
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
			continue
		}
		removed = append(removed, name)
	}
	slices.Sort(removed)
	return removed, errors.Join(failed...)
}

// isID tells the temps of "a.db" from those of a store named "a.db.wring-x".
func isID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == randomBytes && s == strings.ToLower(s)
}
