package swap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMounted has a store that is mounted by itself: as a mount point it cannot be
// exchanged, and by its own name it must not be.
func TestMounted(t *testing.T) {
	store := makeStore(t)
	parent, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(parent, "mount point")
	mkdir(t, point)
	if at := mountedAt(store); at != "" {
		t.Fatalf("it is mounted at %s", at)
	}
	if err := syscall.Mount(store, point, "", syscall.MS_BIND, ""); err != nil {
		if os.Getenv("CI") == "true" { // where nobody reads of what was skipped
			t.Fatalf("bind mount refused: %v", err)
		}
		t.Skipf("bind mount refused: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(point, 0); err != nil {
			t.Error(err)
		}
	}()
	for _, path := range []string{store, point} {
		_, err := New(path, filepath.Join(path, "OPTIONS-000003"), nil)
		if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), point) {
			t.Errorf("%s: error %v, want %v that names %s", path, err, ErrUnfit, point)
		}
	}
	wantAlone(t, store)
	// Without the list of mounts, links tell.
	temp := &Temp{Path: filepath.Join(parent, "temp"), store: point}
	mkdir(t, temp.Path)
	if err := temp.furnish(filepath.Join(point, "OPTIONS-000003")); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "mount point of its own") {
		t.Errorf("error %v, want %v", err, ErrUnfit)
	}
}
