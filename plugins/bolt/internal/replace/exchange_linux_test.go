package replace_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// canExchange asks the system itself.
func canExchange(t *testing.T) bool {
	t.Helper()
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	write(t, a, "a")
	write(t, b, "b")
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil
}

// Another file that was put in place in the last moment is given back.
func TestRunGivesAnotherFileBack(t *testing.T) {
	r := swap(t)
	if !canExchange(t) {
		bolttest.Skip(t, "files cannot be exchanged here")
	}
	r.Exchange = func(a, b string) error {
		if got, err := os.ReadFile(r.Path); err == nil && string(got) == "old old old" {
			write(t, r.Path+".restored", "restored")
			if err := os.Rename(r.Path+".restored", r.Path); err != nil {
				return err
			}
		}
		return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	}
	if replaced, err := r.Run(context.Background()); replaced || !errors.Is(err, replace.ErrChanged) {
		t.Fatalf("replaced: %v, error %v, want ErrChanged", replaced, err)
	}
	r.Temp.Discard()
	if b, err := os.ReadFile(r.Path); err != nil || string(b) != "restored" {
		t.Errorf("the file has %q, error %v", b, err)
	}
	if left := entries(t, filepath.Dir(r.Path)); !slices.Equal(left, []string{"a.db"}) {
		t.Errorf("the directory has %q", left)
	}
}

// A temp's name that somebody has removed is no way back.
func TestRunWhenTheTempIsRemoved(t *testing.T) {
	r := swap(t)
	if !canExchange(t) {
		bolttest.Skip(t, "files cannot be exchanged here")
	}
	r.Exchange = func(a, b string) error {
		return errors.Join(unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE), os.Remove(a))
	}
	if replaced, err := r.Run(context.Background()); !replaced || err != nil {
		t.Fatalf("replaced: %v, error %v", replaced, err)
	}
	b := make([]byte, 3)
	if _, err := r.Old.ReadAt(b, 0); err != nil || string(b) != "\xff\xff\xff" {
		t.Errorf("the old file begins with %q, error %v", b, err)
	}
}
