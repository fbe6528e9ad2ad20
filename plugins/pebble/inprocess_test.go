package pebble

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestOpenInThisProcess has the store open where the backend runs, by names that
// Pebble's own list of locks does not take for the same.
func TestOpenInThisProcess(t *testing.T) {
	names := map[string]func(*testing.T, string) string{
		"the same path": func(_ *testing.T, path string) string { return path },
		"a relative path": func(t *testing.T, path string) string {
			t.Chdir(filepath.Dir(path))
			return filepath.Base(path)
		},
		"a symbolic link": func(t *testing.T, path string) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			return link
		},
	}
	for name, spell := range names {
		t.Run(name, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{})
			db, err := pebbledb.Open(spell(t, path), &pebbledb.Options{Logger: &events{}})
			if err != nil {
				t.Fatal(err)
			}
			closed := false
			defer func() {
				if !closed {
					db.Close()
				}
			}()
			for _, backend := range []sdk.Backend{New(Config{}), sdk.Guard(New(Config{}))} {
				_, err := backend.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
				if !errors.Is(err, sdk.ErrBusy) || !strings.Contains(sdk.HintOf(err), "inside the process") {
					t.Fatalf("error %v (hint %q), want %v with a hint", err, sdk.HintOf(err), sdk.ErrBusy)
				}
			}
			if err := holdElsewhere(path); err == nil {
				t.Error("the application's lock is gone: another process opened the store")
			}
			if err := db.Set([]byte("written after"), []byte("x"), pebbledb.Sync); err != nil {
				t.Error(err)
			}
			closed = true
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if result := compact(t, path); result.NoOp {
				t.Error("once the store was closed nothing was compacted")
			}
			if err := holdElsewhere(path); err != nil {
				t.Errorf("after the compaction another process got: %v", err)
			}
		})
	}
}

// holdElsewhere opens and closes the store in another process.
func holdElsewhere(path string) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+roleHold, envStore+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.New(string(out))
	}
	return nil
}
