package pebble

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestHostLock has wring's lock file in the store's directory: nothing depends on
// it, and nothing takes it away.
func TestHostLock(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	without := map[sdk.Depth]sdk.Fragmentation{}
	depths := []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact}
	for _, depth := range depths {
		without[depth] = measure(t, path, depth)
	}
	lock := filepath.Join(path, ".wring.lock")
	content := bytes.Repeat([]byte("x"), 1<<20) // large enough to show in any sum
	if err := os.WriteFile(lock, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, depth := range depths {
		got, want := measure(t, path, depth), without[depth]
		if got.TotalBytes != want.TotalBytes || got.AllocatedBytes != want.AllocatedBytes ||
			got.ReclaimableBytes != want.ReclaimableBytes || !maps.Equal(got.Metrics, want.Metrics) {
			t.Errorf("%s with the lock file: %+v, without %+v", depth, got, want)
		}
	}
	result := compact(t, path)
	want := without[sdk.DepthExact]
	if result.Before != (sdk.Size{TotalBytes: want.TotalBytes, AllocatedBytes: want.AllocatedBytes}) {
		t.Errorf("size before %+v, measured without the lock file %+v", result.Before, want)
	}
	if got, err := os.ReadFile(lock); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the lock file was changed: %v", err)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	after := measure(t, path, sdk.DepthExact)
	if result.After != (sdk.Size{TotalBytes: after.TotalBytes, AllocatedBytes: after.AllocatedBytes}) {
		t.Errorf("size after %+v, measured without the lock file %+v", result.After, after)
	}
}

// TestHostLockAlone has the lock file in a directory that is no store.
func TestHostLockAlone(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, ".wring.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDirectory(path); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("error %v, want %v", err, sdk.ErrNotFound)
	}
}
