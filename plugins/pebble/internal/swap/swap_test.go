package swap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	oldFiles = map[string]string{"LOCK": "", "OPTIONS-000003": "options", "000004.sst": "old", ".wring.lock": "host"}
	newFiles = map[string]string{"LOCK": "", "OPTIONS-000007": "options", "000008.sst": "new", ".wring.lock": "host"}
)

// makeStore makes a directory alone in another one.
func makeStore(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, text := range oldFiles {
		write(t, filepath.Join(store, name), text)
	}
	return store
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// content is what is in a directory, marker and all.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(text)
	}
	return files
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func wantContent(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if got := content(t, dir); !maps.Equal(got, want) {
		t.Errorf("%s has %v, want %v", filepath.Base(dir), got, want)
	}
}

func wantAlone(t *testing.T, store string) {
	t.Helper()
	if got := names(t, filepath.Dir(store)); !slices.Equal(got, []string{"store"}) {
		t.Errorf("beside the store there are %q", got)
	}
}

// renew replaces the store as the plugin does.
func renew(store string, hook Hook) (replaced bool, err error) {
	temp, err := New(store, filepath.Join(store, "OPTIONS-000003"), hook)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, temp.Discard()) }()
	for name, text := range newFiles {
		if name == "LOCK" || name == ".wring.lock" {
			continue
		}
		if err := os.WriteFile(temp.in(name), []byte(text), 0o600); err != nil {
			return false, err
		}
	}
	if err := temp.Seal(context.Background(), filepath.Join(store, "OPTIONS-000003"), func(fs.FileInfo) {}); err != nil {
		return false, err
	}
	if replaced, err = temp.Replace(); err != nil {
		return replaced, err
	}
	return true, temp.Finish()
}

// TestReplace looks at all that comes along.
func TestReplace(t *testing.T) {
	store := makeStore(t)
	model := filepath.Join(store, "OPTIONS-000003")
	xattrs := true
	for _, path := range []string{store, model} {
		if err := unix.Setxattr(path, "user.color", []byte("green"), 0); errors.Is(err, unix.ENOTSUP) {
			xattrs = false
			t.Log("not checked: this file system has no extended attributes")
		} else if err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if err := os.Chown(path, 65534, 65533); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(model, 0o604); err != nil {
		t.Fatal(err)
	}
	lock, dir := stat(t, filepath.Join(store, "LOCK")), stat(t, store)
	wanted := map[string]fs.FileInfo{"": dir, "OPTIONS-000007": stat(t, model), "000008.sst": stat(t, model)}
	private := 0
	replaced, err := renew(store, func(operation, path string) error {
		if operation != "attributes" {
			return nil
		}
		temp := filepath.Dir(path)
		if strings.HasSuffix(path, ".tmp") {
			temp = path
		}
		if stat(t, temp).Mode().Perm() == 0o700 {
			private++
		}
		return nil
	})
	if err != nil || !replaced {
		t.Fatalf("replaced %v, error %v", replaced, err)
	}
	wantContent(t, store, newFiles)
	wantAlone(t, store)
	const tries = 2
	if private != len(wanted)+tries {
		t.Errorf("the new directory was nobody's business %d times of %d", private, len(wanted)+tries)
	}
	if os.SameFile(dir, stat(t, store)) {
		t.Error("the directory is still the old one")
	}
	if now := stat(t, filepath.Join(store, "LOCK")); !os.SameFile(lock, now) || links(t, now) != 1 {
		t.Errorf("LOCK is another file, or has %d names", links(t, now))
	}
	for name, want := range wanted {
		path := filepath.Join(store, name)
		now := stat(t, path)
		if now.Mode() != want.Mode() || owner(t, now) != owner(t, want) {
			t.Errorf("%q has mode %v and owner %s, want %v and %s", name, now.Mode(), owner(t, now), want.Mode(), owner(t, want))
		}
		if !xattrs {
			continue
		}
		color := make([]byte, 16)
		if n, err := unix.Getxattr(path, "user.color", color); err != nil || string(color[:n]) != "green" {
			t.Errorf("%q has the attribute %q, %v", name, color[:max(n, 0)], err)
		}
	}
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func owner(t *testing.T, info fs.FileInfo) string {
	t.Helper()
	s := system(t, info)
	return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
}

func links(t *testing.T, info fs.FileInfo) uint64 {
	t.Helper()
	return uint64(system(t, info).Nlink) //nolint:unconvert // the type differs between systems
}

func system(t *testing.T, info fs.FileInfo) *syscall.Stat_t {
	t.Helper()
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("the system tells nothing of a file")
	}
	return s
}

// errCrash comes from every change once the process is taken for dead.
var errCrash = errors.New("crashed")

// TestCrash ends the work before each of its changes: the store is the old one or the
// new one, and a sweep, which may crash itself at each of its own, removes the rest.
func TestCrash(t *testing.T) {
	for at := 0; ; at++ {
		store := makeStore(t)
		operation, replaced := crashAt(store, at)
		if operation == "" {
			if at < 15 {
				t.Fatalf("it takes only %d changes", at)
			}
			return
		}
		t.Run(fmt.Sprintf("%d, %s", at, operation), func(t *testing.T) {
			check := func() {
				t.Helper()
				now := content(t, store)
				delete(now, Marker)
				want := oldFiles
				if replaced {
					want = newFiles
				}
				if _, ok := now[".wring.lock"]; !ok { // hosts make a new one
					want = maps.Clone(want)
					delete(want, ".wring.lock")
				}
				if !maps.Equal(now, want) {
					t.Errorf("the store has %v, want %v", now, want)
				}
			}
			check()
			for crash := range 30 {
				done := 0
				_, err := Sweep(store, func(string, string) error {
					if done++; done > crash {
						return errCrash
					}
					return nil
				})
				check()
				if err == nil {
					break
				}
				if !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
			}
			wantAlone(t, store)
			if left, err := Leftovers(store); left || err != nil {
				t.Errorf("leftovers: %v, %v", left, err)
			}
			if removed, err := Sweep(store, nil); len(removed) > 0 || err != nil {
				t.Errorf("a second sweep removed %q, error %v", removed, err)
			}
		})
	}
}

// crashAt renews the store until a change, and says which it was; "" if there are not
// so many.
func crashAt(store string, at int) (operation string, replaced bool) {
	done := 0
	replaced, _ = renew(store, func(op, _ string) error {
		if done++; done <= at {
			return nil
		}
		if operation == "" {
			operation = op
		}
		return errCrash
	})
	return operation, replaced
}

// TestSweepKeeps has directories that look like temps of the store.
func TestSweepKeeps(t *testing.T) {
	const name = ".store.wring-0123456789abcdef.tmp"
	cases := []struct {
		name string
		make func(t *testing.T, store, temp string)
		want error // from Sweep
	}{
		{"of another store", func(t *testing.T, _, temp string) {
			mkdir(t, temp)
			write(t, filepath.Join(temp, "LOCK"), "")
		}, errForeign},
		{"of no store", func(t *testing.T, _, temp string) {
			mkdir(t, temp)
			write(t, filepath.Join(temp, "notes.txt"), "mine")
		}, errForeign},
		{"that was the store until a power cut", func(t *testing.T, store, temp string) {
			// The exchange is undone after the process was killed behind it, and
			// somebody has opened the store meanwhile.
			crash := func(operation, _ string) error {
				if operation == "exchange" {
					return errCrash
				}
				return nil
			}
			made := leave(t, store, crash)
			if err := os.Rename(made, temp); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(temp, "000009.log"), "acknowledged")
		}, ErrWritten},
		{"by name alone", func(t *testing.T, _, temp string) { write(t, temp, "a file") }, nil},
		{"by a link", func(t *testing.T, store, temp string) {
			if err := os.Symlink(store, temp); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"with another number", func(t *testing.T, store, temp string) {
			other := strings.Replace(temp, "0123456789abcdef", "0123456789ABCDEF", 1)
			mkdir(t, other)
			if err := os.Link(filepath.Join(store, "LOCK"), filepath.Join(other, "LOCK")); err != nil {
				t.Fatal(err)
			}
		}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := makeStore(t)
			c.make(t, store, filepath.Join(filepath.Dir(store), name))
			before := names(t, filepath.Dir(store))
			removed, err := Sweep(store, nil)
			if !errors.Is(err, c.want) || len(removed) > 0 {
				t.Errorf("removed %q, error %v, want %v", removed, err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("error %q does not name the directory", err)
			}
			if after := names(t, filepath.Dir(store)); !slices.Equal(before, after) {
				t.Errorf("%q are left of %q", after, before)
			}
			left := content(t, store)
			left[".wring.lock"] = oldFiles[".wring.lock"] // which has moved with the power cut
			if !maps.Equal(left, oldFiles) {
				t.Errorf("the store has %v, want %v", left, oldFiles)
			}
		})
	}
}

// leave renews a store with a hook that fails for good, and returns what is left.
func leave(t *testing.T, store string, hook Hook) string {
	t.Helper()
	dead := false
	_, err := renew(store, func(operation, path string) error {
		if err := hook(operation, path); err != nil || dead {
			dead = true
			return errCrash
		}
		return nil
	})
	if !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	temps, err := temps(store)
	if err != nil || len(temps) != 1 {
		t.Fatalf("left are %q, %v", temps, err)
	}
	return temps[0]
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestChanged has somebody who puts another directory in the store's place, before
// anything is exchanged and at the last moment.
func TestChanged(t *testing.T) {
	for _, moment := range []string{"sync", "exchange"} {
		t.Run(moment, func(t *testing.T) {
			store := makeStore(t)
			aside := store + ".aside"
			moved := false
			replaced, err := renew(store, func(operation, _ string) error {
				if operation != moment || moved {
					return nil
				}
				moved = true
				if err := os.Rename(store, aside); err != nil {
					return err
				}
				return os.CopyFS(store, os.DirFS(aside))
			})
			if !errors.Is(err, ErrChanged) || replaced {
				t.Errorf("replaced %v, error %v, want %v", replaced, err, ErrChanged)
			}
			wantContent(t, store, oldFiles)
			if got := names(t, filepath.Dir(store)); !slices.Equal(got, []string{"store", "store.aside"}) {
				t.Errorf("there are %q", got)
			}
		})
	}
}

// TestUnfit has stores that cannot have a directory beside them.
func TestUnfit(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("s", 240))
	mkdir(t, long)
	write(t, filepath.Join(long, "LOCK"), "")
	if _, err := New(long, filepath.Join(long, "OPTIONS-000003"), nil); !errors.Is(err, ErrUnfit) {
		t.Errorf("a name of 240 letters: %v, want %v", err, ErrUnfit)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("there are %q", got)
	}
}
