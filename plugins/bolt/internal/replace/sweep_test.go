package replace_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// state reads stores that are as "version 7".
func state(f *os.File) (replace.State, error) {
	b := make([]byte, 9)
	if _, err := f.ReadAt(b, 0); err != nil {
		return replace.State{}, fmt.Errorf("%w: %w", replace.ErrInvalid, err)
	}
	if !strings.HasPrefix(string(b), "version ") {
		return replace.State{}, replace.ErrInvalid
	}
	return replace.State{Version: uint64(b[8] - '0'), Poison: []replace.Span{{Length: 7}}}, nil
}

func TestNewTempNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "x")
	old := open(t, path)
	id := bytes.Repeat([]byte{0xAB}, 8)
	temp, err := replace.NewTemp(path, old, 255, bytes.NewReader(id), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	provisional := fmt.Sprintf(".a.db.wring-abababababababab-%x-ff", inodeOf(t, path))
	want := fmt.Sprintf("%s-%x.tmp", provisional, inodeOf(t, temp.Path))
	if got := filepath.Base(temp.Path); got != want {
		t.Errorf("named %s, want %s", got, want)
	}
	// One that is there is not used again.
	write(t, filepath.Join(filepath.Dir(path), provisional+".tmp"), "")
	if _, err := replace.NewTemp(path, old, 255, bytes.NewReader(id), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same name again: error %v, want that it exists", err)
	}
	if _, err := replace.NewTemp(path, old, 255, bytes.NewReader(nil), nil); err == nil {
		t.Error("no randomness: no error")
	}
}

func inodeOfFile(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	ours := []string{".a.db.wring-0123456789abcdef-1-2.tmp", ".a.db.wring-ffffffffffffffff-ffffffffffffffff-0.tmp"}
	others := []string{
		"a.db", ".a.db.wring.lock", ".b.db.wring-0123456789abcdef-1-2.tmp",
		".a.db.wring-x.wring-0123456789abcdef-1-2.tmp", // of a store named a.db.wring-x
		".a.db.wring-0123456789abcde-1-2.tmp", ".a.db.wring-0123456789ABCDEF-1-2.tmp",
		".a.db.wring-0123456789abcdef-1-2.tmp.bak", "a.db.wring-0123456789abcdef-1-2.tmp", ".a.db.wring-.tmp",
		".a.db.wring-0123456789abcdef.tmp", ".a.db.wring-0123456789abcdef-1.tmp", ".a.db.wring-0123456789abcdef-1-02.tmp",
		".a.db.wring-0123456789abcdef-1-2-3-4.tmp", ".a.db.wring-0123456789abcdef-1-fffffffffffffffff.tmp",
	}
	for _, name := range others {
		write(t, filepath.Join(dir, name), "version 7")
	}
	for _, name := range ours {
		write(t, filepath.Join(dir, name), "")
	}
	if err := os.Mkdir(filepath.Join(dir, ".a.db.wring-1111111111111111-1-2.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	removed, err := replace.Sweep(path, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, ours[0]), filepath.Join(dir, ours[1])}
	if !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
	left := entries(t, dir)
	if len(left) != len(others)+1 {
		t.Errorf("left are %q, want %q and the directory", left, others)
	}
}

// A file that is neither the old one nor the temp was put there by somebody
// who replaced the store at the same time.
func TestSweepKeepsAForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "version 7")
	foreign := filepath.Join(filepath.Dir(path), ".a.db.wring-0123456789abcdef-1-2-3.tmp")
	write(t, foreign, "restored")
	if removed, err := replace.Sweep(path, state, nil); !errors.Is(err, replace.ErrForeign) || len(removed) != 0 {
		t.Errorf("removed %q, error %v, want ErrForeign", removed, err)
	}
	if content, err := os.ReadFile(foreign); err != nil || string(content) != "restored" {
		t.Errorf("it holds %q, %v", content, err)
	}
}

// A power cut may give a temp its first name back, under which nothing is
// exchanged.
func TestSweepOfATempWithItsFirstName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "version 7")
	temp := filepath.Join(filepath.Dir(path), ".a.db.wring-0123456789abcdef-1-7.tmp")
	write(t, temp, "version 8")
	if removed, err := replace.Sweep(path, state, nil); err != nil || !slices.Equal(removed, []string{temp}) {
		t.Errorf("removed %q, error %v, want %q", removed, err, temp)
	}
}

// The new file must keep its name before the old one goes, be it spoilt or not:
// after a power cut the temp's name may else be missed.
func TestSweepSyncsTheDirectoryFirst(t *testing.T) {
	for _, content := range []string{"version 7", "~~~~~~~ 7"} {
		path := filepath.Join(t.TempDir(), "a.db")
		write(t, path, "version 7")
		temp, err := replace.NewTemp(path, open(t, path), 7, rand.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer temp.Discard()
		write(t, path, content)
		if err := os.Rename(path, temp.Path); err != nil {
			t.Fatal(err)
		}
		write(t, path, "version 1")
		broken := errors.New("broken disk")
		var kinds []replace.OpKind
		removed, err := replace.Sweep(path, state, func(op replace.Op) error {
			kinds = append(kinds, op.Kind)
			return broken
		})
		if len(removed) != 0 || !errors.Is(err, broken) || !slices.Equal(kinds, []replace.OpKind{replace.OpSyncDir}) {
			t.Errorf("%s: removed %q, error %v, operations %q", content, removed, err, kinds)
		}
		if b, err := os.ReadFile(temp.Path); err != nil || string(b) != content {
			t.Errorf("the old file has %q, error %v, want %q", b, err, content)
		}
	}
}

// A new file that was never put in place goes, however much is in it.
func TestSweepOfANewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "version 7")
	temp, err := replace.NewTemp(path, open(t, path), 7, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	if _, err := temp.File.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	if err := temp.File.Close(); err != nil { // as a kill does
		t.Fatal(err)
	}
	if removed, err := replace.Sweep(path, state, nil); err != nil || !slices.Equal(removed, []string{temp.Path}) {
		t.Errorf("removed %q, error %v, want %q", removed, err, temp.Path)
	}
}

// What lies under a temp's name decides what becomes of it.
func TestSweepOfAnOldFile(t *testing.T) {
	for _, test := range []struct {
		name       string
		store, old string // contents
		locked     bool
		want       error
		left       string // in the old file
	}{
		{"as it was", "version 1", "version 7", false, nil, "~~~~~~~ 7"},
		{"written to since", "version 1", "version 8", false, replace.ErrWritten, "version 8"},
		{"spoilt in part, by a power cut", "version 1", "version 6", false, nil, "~~~~~~~ 6"},
		{"in use", "version 1", "version 7", true, replace.ErrHeld, "version 7"},
		{"in use and written to", "version 1", "version 8", true, replace.ErrHeld, "version 8"},
		{"spoilt", "version 1", "~~~~~~~ 7", false, nil, "~~~~~~~ 7"},
		{"spoilt and in use", "version 1", "~~~~~~~ 7", true, nil, "~~~~~~~ 7"},
		{"beside a spoilt store", "~~~~~~~ 1", "version 7", false, replace.ErrInvalid, "version 7"},
		{"beside an empty store", "", "version 7", false, replace.ErrInvalid, "version 7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			write(t, path, "version 7")
			old := open(t, path)
			temp, err := replace.NewTemp(path, old, 7, rand.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer temp.Discard()
			if err := os.Rename(path, temp.Path); err != nil {
				t.Fatal(err)
			}
			write(t, path, test.store)
			if _, err := old.WriteAt([]byte(test.old), 0); err != nil {
				t.Fatal(err)
			}
			if test.locked {
				if err := unix.Flock(int(old.Fd()), unix.LOCK_SH); err != nil {
					t.Fatal(err)
				}
			}
			removed, err := replace.Sweep(path, state, nil)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			want, left := []string{temp.Path}, []string{"a.db"}
			if test.want != nil {
				want, left = nil, []string{filepath.Base(temp.Path), "a.db"}
				if !strings.Contains(err.Error(), temp.Path) {
					t.Errorf("error %q does not name the file", err)
				}
			}
			if now := entries(t, filepath.Dir(path)); !slices.Equal(removed, want) || !slices.Equal(now, left) {
				t.Errorf("removed %q, left %q; want %q, %q", removed, now, want, left)
			}
			b := make([]byte, 9)
			if _, err := old.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(string(b), "\xff", "~"); got != test.left {
				t.Errorf("the old file has %q, want %q", got, test.left)
			}
		})
	}
}

// A second name makes the old file somebody's own.
func TestSweepSparesAFileWithAnotherName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "version 7")
	temp, err := replace.NewTemp(path, open(t, path), 7, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	backup := path + ".backup"
	if err := errors.Join(os.Link(path, backup), os.Rename(path, temp.Path)); err != nil {
		t.Fatal(err)
	}
	write(t, path, "version 1")
	if removed, err := replace.Sweep(path, state, nil); err != nil || !slices.Equal(removed, []string{temp.Path}) {
		t.Errorf("removed %q, error %v", removed, err)
	}
	if b, err := os.ReadFile(backup); err != nil || string(b) != "version 7" {
		t.Errorf("the other name has %q, error %v", b, err)
	}
}

// A temp that is being made is no leftover, and once nobody makes it goes,
// whatever was written to it.
func TestSweepLeavesWhatIsBeingMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	temp, err := replace.NewTemp(path, f, replace.Unfinished, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	admit, err := temp.Hold()
	if err != nil {
		t.Fatal(err)
	}
	state := func(*os.File) (replace.State, error) { return replace.State{Version: 1000}, nil }
	if removed, err := replace.Sweep(path, state, nil); len(removed) > 0 || err != nil {
		t.Errorf("removed %q, error %v", removed, err)
	}
	admit()
	if removed, err := replace.Sweep(path, state, nil); len(removed) != 1 || err != nil {
		t.Errorf("removed %q, error %v", removed, err)
	}
}

// From its first moment on a temp is nobody's leftover.
func TestSweepsAreNotInTheWayOfACompaction(t *testing.T) {
	for _, exchange := range []func(a, b string) error{nil, func(string, string) error { return errors.ErrUnsupported }} {
		var r *replace.Replacement
		path, swept := filepath.Join(t.TempDir(), "a.db"), 0
		r = hookedSwapAt(t, path, "version 7", "version 8", func(op replace.Op) error {
			switch {
			case op.Kind == replace.OpCreate, r != nil && replaced(t, r):
				return nil
			}
			swept++
			if removed, err := replace.Sweep(path, state, nil); len(removed) > 0 || err != nil {
				t.Errorf("before %s: removed %q, error %v", op.Kind, removed, err)
			}
			return nil
		})
		r.Exchange = exchange
		if replaced, err := r.Run(context.Background()); err != nil || !replaced {
			t.Errorf("replaced: %v, error %v", replaced, err)
		}
		if swept < 6 {
			t.Errorf("swept %d times", swept)
		}
	}
}

// replaced says whether the new file is in place.
func replaced(t *testing.T, r *replace.Replacement) bool {
	t.Helper()
	return inodeOf(t, r.Path) == inodeOfFile(t, r.Temp.File)
}

// What cannot be read may be all that there is of what somebody wrote.
func TestSweepKeepsWhatItCannotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "version 7")
	temp, err := replace.NewTemp(path, open(t, path), 7, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	write(t, temp.Path, "version 9")
	if err := temp.File.Close(); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken disk")
	removed, err := replace.Sweep(path, func(f *os.File) (replace.State, error) {
		if f.Name() == path {
			return state(f)
		}
		return replace.State{}, broken
	}, nil)
	if len(removed) > 0 || !errors.Is(err, broken) || !strings.Contains(err.Error(), temp.Path) {
		t.Errorf("removed %q, error %v", removed, err)
	}
	if content, err := os.ReadFile(temp.Path); err != nil || string(content) != "version 9" {
		t.Errorf("it holds %q, %v", content, err)
	}
}
