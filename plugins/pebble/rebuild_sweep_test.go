package pebble

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// leftover rewrites a store as far as a kind of change, from which on everything fails,
// and returns what that leaves beside the store.
func leftover(t *testing.T, request sdk.CompactRequest, operation string) string {
	t.Helper()
	path := request.Store.Path
	b := newBackend(Config{})
	dead := errors.New("dead")
	reached := false
	b.hook = func(op, _ string) error {
		if reached = reached || op == operation; reached {
			return dead
		}
		return nil
	}
	_, err := b.Compact(t.Context(), request, func(sdk.Progress) {})
	if !errors.Is(err, dead) || !strings.Contains(err.Error(), "is left until the next compaction") {
		t.Fatalf("error %v, want one that says what is left", err)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".store.wring-*.tmp"))
	if err != nil || len(names) != 1 {
		t.Fatalf("left are %q, %v", names, err)
	}
	return names[0]
}

// TestSweep removes what a dead rewrite has left, and only when it is sure.
func TestSweep(t *testing.T) {
	sweep := func(path string) ([]string, error) {
		return sdk.Guard(New(Config{})).(sdk.Sweeper).Sweep(t.Context(), sdk.Store{Path: path}) //nolint:errcheck // it is
	}
	t.Run("by itself", func(t *testing.T) {
		path := generate(t, pebbletest.Spec{})
		before := files(t, path)
		left := leftover(t, rewriteOf(path), "write")
		removed, err := sweep(path)
		if err != nil || !slices.Equal(removed, []string{left}) {
			t.Errorf("removed %q, error %v, want %s", removed, err, left)
		}
		wantAlone(t, path)
		sameFiles(t, before, files(t, path))
	})
	t.Run("by a compaction that has nothing else to do", func(t *testing.T) {
		path := generate(t, pebbletest.Spec{})
		compact(t, path)
		recompress := rewriteOf(path)
		recompress.Options = sdk.Options{optionRecompress: "none"}
		leftover(t, recompress, "exchange")
		if result := compact(t, path); !result.NoOp {
			t.Errorf("%+v", result)
		}
		wantAlone(t, path)
	})
	t.Run("not while the store is open", func(t *testing.T) {
		path := generate(t, pebbletest.Spec{})
		left := leftover(t, rewriteOf(path), "exchange")
		holder := start(t, roleHold, path)
		if removed, err := sweep(path); err != nil || len(removed) > 0 {
			t.Errorf("removed %q, error %v", removed, err)
		}
		if _, err := os.Stat(left); err != nil {
			t.Error(err)
		}
		holder.release(t)
		if removed, err := sweep(path); err != nil || len(removed) != 1 {
			t.Errorf("once it is free: removed %q, error %v", removed, err)
		}
	})
	t.Run("not where the store cannot be opened", func(t *testing.T) {
		path := generate(t, pebbletest.Spec{})
		left := leftover(t, rewriteOf(path), "exchange")
		tables, err := filepath.Glob(filepath.Join(path, "*.sst"))
		if err != nil || len(tables) == 0 {
			t.Fatalf("%q, %v", tables, err)
		}
		if err := os.Remove(tables[0]); err != nil {
			t.Fatal(err)
		}
		removed, err := sweep(path)
		if !errors.Is(err, sdk.ErrCorrupt) || len(removed) > 0 {
			t.Errorf("removed %q, error %v, want %v", removed, err, sdk.ErrCorrupt)
		}
		_, err = New(Config{}).Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
		if !errors.Is(err, sdk.ErrCorrupt) {
			t.Errorf("error %v, want %v", err, sdk.ErrCorrupt)
		}
		if _, err := os.Stat(left); err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing that is somebody else's", func(t *testing.T) {
		path := generate(t, pebbletest.Spec{})
		other := filepath.Join(filepath.Dir(path), ".store.wring-0123456789abcdef.tmp")
		if err := os.CopyFS(other, os.DirFS(path)); err != nil {
			t.Fatal(err)
		}
		before := files(t, other)
		if _, err := sweep(path); err == nil || !strings.Contains(err.Error(), other) {
			t.Errorf("error %v, want one that names %s", err, other)
		}
		for _, result := range []sdk.CompactResult{rewrite(t, path), compact(t, path)} {
			if !result.NoOp && !strings.Contains(result.Note, other) {
				t.Errorf("note %q does not name %s", result.Note, other)
			}
		}
		sameFiles(t, before, files(t, other))
	})
}
