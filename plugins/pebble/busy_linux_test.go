package pebble

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestLockedByOtherMount compacts a store by a second name that is no symbolic
// link: the kernel gives one process the lock twice.
func TestLockedByOtherMount(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	other := t.TempDir()
	if err := syscall.Mount(path, other, "", syscall.MS_BIND, ""); err != nil {
		if os.Getenv("CI") == "true" { // where nobody reads of what was skipped
			t.Fatalf("bind mount refused: %v", err)
		}
		t.Skipf("bind mount refused: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(other, 0); err != nil {
			t.Error(err)
		}
	})
	b := newBackend(Config{})
	var once sync.Once
	var second error
	b.fs = &hookFS{FS: vfs.Default, hook: func(string, string) error {
		once.Do(func() {
			_, second = b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: other}}, func(sdk.Progress) {})
			if owner := lockOwner(filepath.Join(path, "LOCK")); owner != os.Getpid() {
				t.Errorf("the lock belongs to process %d, want %d", owner, os.Getpid())
			}
		})
		return nil
	}}
	if _, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(second, sdk.ErrBusy) {
		t.Errorf("second compaction: %v, want %v", second, sdk.ErrBusy)
	}
}
