package replace_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("file"), "x")
	write(t, in("linked"), "x")
	for _, err := range []error{
		os.Symlink("file", in("symlink")),
		os.Symlink("symlink", in("symlink-to-symlink")),
		os.Symlink("nothing", in("dangling")),
		os.Link(in("linked"), in("other-name")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		path, want string
		err        error
	}{
		{in("file"), in("file"), nil},
		{in("symlink"), in("file"), nil},
		{in("symlink-to-symlink"), in("file"), nil},
		{in("linked"), in("linked"), nil},
		{dir, "", replace.ErrUnfit},
		{"/dev/null", "", replace.ErrUnfit},
		{in("dangling"), "", fs.ErrNotExist},
		{in("missing"), "", fs.ErrNotExist},
	} {
		got, err := replace.Resolve(test.path)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, error %v; want %q, %v", test.path, got, err, test.want, test.err)
		}
	}
	if err := replace.Fit(in("file")); err != nil {
		t.Errorf("a file with one name: %v", err)
	}
	if err := replace.Fit(in("linked")); !errors.Is(err, replace.ErrUnfit) {
		t.Errorf("a file with two names: error %v, want ErrUnfit", err)
	}
}

// swap prepares a replacement of "old old old" by "new" in a directory of its own.
func swap(t *testing.T) *replace.Replacement {
	t.Helper()
	return hookedSwap(t, nil)
}

// hookedSwap also calls a hook.
func hookedSwap(t *testing.T, hook replace.Hook) *replace.Replacement {
	t.Helper()
	return hookedSwapAt(t, filepath.Join(t.TempDir(), "a.db"), "old old old", "new", hook)
}

func hookedSwapAt(t *testing.T, path, before, after string, hook replace.Hook) *replace.Replacement {
	t.Helper()
	write(t, path, before)
	old := open(t, path)
	temp, err := replace.NewTemp(path, old, 7, rand.Reader, hook)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(temp.Discard)
	if _, err := temp.WriteAt([]byte(after), 0); err != nil {
		t.Fatal(err)
	}
	return &replace.Replacement{
		Path: path, Old: old, Temp: temp, Hook: hook,
		Verify:  func(context.Context) error { return nil },
		Poison:  []replace.Span{{Offset: 0, Length: 3}, {Offset: 4, Length: 3}},
		Release: func() error { return nil },
	}
}

// Each line is an operation and the files as they are when it is about to begin.
func TestRunInOrder(t *testing.T) {
	before := []string{
		"sync: old old old, old old old",
		"verify: old old old, old old old",
		"syncdir: old old old, old old old",
		"exchange: old old old, old old old",
	}
	t.Run("exchange", func(t *testing.T) {
		if !canExchange(t) {
			bolttest.Skip(t, "files cannot be exchanged here")
		}
		runInOrder(t, nil, append(slices.Clone(before),
			"syncdir: new, old old old, temp old old old",
			"poison: new, old old old, temp old old old",
			"poison: new, ~~~ old old, temp ~~~ old old",
			"unlink: new, ~~~ ~~~ old, temp ~~~ ~~~ old",
			"release: new, ~~~ ~~~ old",
			"released: new, ~~~ ~~~ old",
		))
	})
	t.Run("rename", func(t *testing.T) {
		unsupported := func(string, string) error { return errors.ErrUnsupported }
		runInOrder(t, unsupported, append(slices.Clone(before),
			"rename: old old old, old old old",
			"syncdir: new, old old old",
			"poison: new, old old old",
			"poison: new, ~~~ old old",
			"release: new, ~~~ ~~~ old",
			"released: new, ~~~ ~~~ old",
		))
	})
}

func runInOrder(t *testing.T, exchange func(a, b string) error, want []string) {
	t.Helper()
	var (
		r     *replace.Replacement
		order []string
	)
	content := func() string {
		b, err := os.ReadFile(r.Path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	oldBytes := func() []byte {
		b := make([]byte, 11)
		if _, err := r.Old.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		return b
	}
	note := func(what string) {
		line := what + ": " + content() + ", " + string(oldBytes())
		if b, err := os.ReadFile(r.Temp.Path); err == nil && string(b) != "new" {
			line += ", temp " + string(b)
		}
		order = append(order, strings.ReplaceAll(line, "\xff", "~"))
	}
	r = hookedSwap(t, func(op replace.Op) error {
		if r != nil {
			note(string(op.Kind))
		}
		return nil
	})
	r.Exchange = exchange
	r.Verify = func(context.Context) error { note("verify"); return nil }
	r.Release = func() error { note("released"); return nil }
	replaced, err := r.Run(context.Background())
	if err != nil || !replaced {
		t.Fatalf("replaced: %v, error %v", replaced, err)
	}
	if !slices.Equal(order, want) {
		t.Errorf("operations:\n%s\nwant:\n%s", strings.Join(order, "\n"), strings.Join(want, "\n"))
	}
	if left := entries(t, filepath.Dir(r.Path)); !slices.Equal(left, []string{"a.db"}) {
		t.Errorf("the directory has %q", left)
	}
}

func TestRunLeavesTheOldFile(t *testing.T) {
	stop := errors.New("stop")
	for name, test := range map[string]struct {
		spoil func(*replace.Replacement, context.CancelFunc)
		want  error
	}{
		"sync fails": {func(r *replace.Replacement, _ context.CancelFunc) {
			r.Sync = func(context.Context) error { return stop }
		}, stop},
		"verification fails": {func(r *replace.Replacement, _ context.CancelFunc) {
			r.Verify = func(context.Context) error { return stop }
		}, stop},
		"the directory cannot be synced": {func(r *replace.Replacement, _ context.CancelFunc) {
			r.SyncDir = func(*os.File) error { return stop }
		}, stop},
		"cancelled": {func(r *replace.Replacement, cancel context.CancelFunc) {
			r.Verify = func(context.Context) error { cancel(); return nil }
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			r := swap(t)
			released := false
			r.Release = func() error { released = true; return nil }
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			test.spoil(r, cancel)
			replaced, err := r.Run(ctx)
			if replaced || !errors.Is(err, test.want) {
				t.Fatalf("replaced: %v, error %v, want %v", replaced, err, test.want)
			}
			if released {
				t.Error("the lock was given back: that is the caller's to do")
			}
			r.Temp.Discard()
			if left := entries(t, filepath.Dir(r.Path)); !slices.Equal(left, []string{"a.db"}) {
				t.Errorf("the directory has %q", left)
			}
			if b, err := os.ReadFile(r.Path); err != nil || string(b) != "old old old" {
				t.Errorf("the file has %q, error %v", b, err)
			}
		})
	}
}

// A directory that cannot be synced after the rename is tried twice. Whoever waits for the lock
// must not get the old file as it was, whatever came of that.
func TestRunWhenTheDirectoryCannotBeSynced(t *testing.T) {
	broken := errors.New("broken disk")
	for name, test := range map[string]struct {
		failures int
		want     error
		poisoned []replace.OpKind
	}{
		"once": {1, nil, []replace.OpKind{replace.OpPoison, replace.OpPoison}},
		// The old file may come back: it must not be found with a part of it spoilt
		// by which it is an older one.
		"always": {1000, broken, []replace.OpKind{replace.OpPoison, replace.OpSyncOld, replace.OpPoison}},
	} {
		t.Run(name, func(t *testing.T) {
			r := swap(t)
			var poisoned []replace.OpKind
			r.Hook = func(op replace.Op) error {
				if op.Kind == replace.OpPoison || op.Kind == replace.OpSyncOld {
					poisoned = append(poisoned, op.Kind)
				}
				return nil
			}
			tries := 0
			r.SyncDir = func(dir *os.File) error {
				if info, err := dir.Stat(); err != nil || !info.IsDir() {
					t.Errorf("to be synced is %v, error %v", info, err)
				}
				if tries++; tries > 1 && tries <= 1+test.failures {
					return broken
				}
				return dir.Sync()
			}
			released := ""
			r.Release = func() error {
				b := make([]byte, 11)
				_, err := r.Old.ReadAt(b, 0)
				released = strings.ReplaceAll(string(b), "\xff", "~")
				return err
			}
			replaced, err := r.Run(context.Background())
			if !replaced || !errors.Is(err, test.want) {
				t.Errorf("replaced: %v, error %v, want %v", replaced, err, test.want)
			}
			if tries != 3 {
				t.Errorf("tried %d times, want once before and twice after the rename", tries)
			}
			if !slices.Equal(poisoned, test.poisoned) {
				t.Errorf("spoilt by %q, want %q", poisoned, test.poisoned)
			}
			if released != "~~~ ~~~ old" {
				t.Errorf("the lock was given back with %q in the old file", released)
			}
			if b, err := os.ReadFile(r.Path); err != nil || string(b) != "new" {
				t.Errorf("the file has %q, error %v", b, err)
			}
			// After a crash the temp's name may lead to the new file.
			_, err = os.Lstat(r.Temp.Path)
			if left, want := err == nil, test.want != nil && canExchange(t); left != want {
				t.Errorf("the temp's name is there: %v, want %v", left, want)
			}
		})
	}
}

// Another file that was put in place meanwhile is not overwritten.
func TestRunSeesAnotherFile(t *testing.T) {
	r := swap(t)
	r.Verify = func(context.Context) error {
		write(t, r.Path+".restored", "restored")
		return os.Rename(r.Path+".restored", r.Path)
	}
	if replaced, err := r.Run(context.Background()); replaced || !errors.Is(err, replace.ErrChanged) {
		t.Fatalf("replaced: %v, error %v, want ErrChanged", replaced, err)
	}
	if b, err := os.ReadFile(r.Path); err != nil || string(b) != "restored" {
		t.Errorf("the file has %q, error %v", b, err)
	}
}

// A file that has got another name is somebody's still.
func TestRunSparesAFileWithAnotherName(t *testing.T) {
	r := swap(t)
	r.Verify = func(context.Context) error { return os.Link(r.Path, r.Path+".backup") }
	if replaced, err := r.Run(context.Background()); !replaced || err != nil {
		t.Fatalf("replaced: %v, error %v", replaced, err)
	}
	if b, err := os.ReadFile(r.Path + ".backup"); err != nil || string(b) != "old old old" {
		t.Errorf("the other name has %q, error %v", b, err)
	}
}

// A temp that somebody has removed is not told as a store that is away.
func TestRunWithoutItsTemp(t *testing.T) {
	for name, exchange := range map[string]func(a, b string) error{
		"exchange": nil,
		"rename":   func(string, string) error { return errors.ErrUnsupported },
	} {
		r := swap(t)
		r.Exchange = exchange
		r.Verify = func(context.Context) error { return os.Remove(r.Temp.Path) }
		if replaced, err := r.Run(context.Background()); replaced || !errors.Is(err, replace.ErrGone) {
			t.Errorf("%s: replaced: %v, error %v", name, replaced, err)
		}
		if b, err := os.ReadFile(r.Path); err != nil || string(b) != "old old old" {
			t.Errorf("%s: the store has %q, error %v", name, b, err)
		}
	}
}
