package replace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// The hook hears of everything, in order, with what it needs to do it again.
func TestHookHearsOfEachOperation(t *testing.T) {
	if !canExchange(t) {
		bolttest.Skip(t, "files cannot be exchanged here")
	}
	var got []string
	r := hookedSwap(t, func(op replace.Op) error {
		line := fmt.Sprintf("%s %s", op.Kind, nameIn(op.Path))
		if op.To != "" {
			line += " to " + nameIn(op.To)
		}
		if op.Data != nil {
			line += fmt.Sprintf(" %q at %d", bytes.ReplaceAll(op.Data, []byte("\xff"), []byte("~")), op.Offset)
		}
		got = append(got, line)
		return nil
	})
	if err := r.Temp.Truncate(3); err != nil {
		t.Fatal(err)
	}
	if replaced, err := r.Run(context.Background()); !replaced || err != nil {
		t.Fatalf("replaced: %v, error %v", replaced, err)
	}
	want := []string{
		"create unsigned", "rename unsigned to temp", "attributes temp",
		`write temp "new" at 0`, "truncate temp", "sync temp", "syncdir a.db",
		"exchange temp to a.db", "syncdir a.db", `poison a.db "~~~" at 0`, `poison a.db "~~~" at 4`,
		"unlink temp", "release a.db",
	}
	if !slices.Equal(got, want) {
		t.Errorf("operations:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func nameIn(path string) string {
	name := filepath.Base(path)
	switch strings.Count(name, "-") {
	case 3: // with the one after "wring"
		return "unsigned"
	case 4:
		return "temp"
	}
	return name
}

// Whatever the hook refuses is not done, and is an error.
func TestHookTakesTheOperationsPlace(t *testing.T) {
	if !canExchange(t) {
		bolttest.Skip(t, "files cannot be exchanged here")
	}
	refused := errors.New("refused")
	for _, test := range []struct {
		kind     replace.OpKind
		replaced bool
		store    string
		left     int // files in the directory
	}{
		{replace.OpSync, false, "old old old", 1},
		{replace.OpSyncDir, false, "old old old", 1},
		{replace.OpExchange, false, "old old old", 1},
		{replace.OpPoison, true, "new", 2},
		{replace.OpUnlink, true, "new", 2},
		{replace.OpRelease, true, "new", 1},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			r := hookedSwap(t, func(op replace.Op) error {
				if op.Kind == test.kind {
					return refused
				}
				return nil
			})
			released := false
			r.Release = func() error { released = true; return nil }
			replaced, err := r.Run(context.Background())
			if replaced != test.replaced || !errors.Is(err, refused) {
				t.Errorf("replaced: %v, error %v", replaced, err)
			}
			if want := replaced && test.kind != replace.OpRelease; released != want {
				t.Errorf("the lock was given back: %v, want %v", released, want)
			}
			r.Temp.Discard()
			if b, err := os.ReadFile(r.Path); err != nil || string(b) != test.store {
				t.Errorf("the store has %q, error %v, want %q", b, err, test.store)
			}
			if left := entries(t, filepath.Dir(r.Path)); len(left) != test.left {
				t.Errorf("the directory has %q, want %d files", left, test.left)
			}
		})
	}
}

// A temp that cannot be made whole is not left behind.
func TestNewTempWhenRefused(t *testing.T) {
	refused := errors.New("refused")
	for _, kind := range []replace.OpKind{replace.OpCreate, replace.OpRename, replace.OpAttributes} {
		path := filepath.Join(t.TempDir(), "a.db")
		write(t, path, "x")
		random := bytes.NewReader(make([]byte, 8))
		_, err := replace.NewTemp(path, open(t, path), 7, random, func(op replace.Op) error {
			if op.Kind == kind {
				return refused
			}
			return nil
		})
		if !errors.Is(err, refused) {
			t.Errorf("%s: error %v", kind, err)
		}
		if left := entries(t, filepath.Dir(path)); !slices.Equal(left, []string{"a.db"}) {
			t.Errorf("%s: the directory has %q", kind, left)
		}
	}
}
