package pebble

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// mount mounts something until the test ends, unless that is refused here.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		if os.Getenv("CI") == "true" { // where nobody reads of what was skipped
			t.Fatalf("mounting is refused: %v", err)
		}
		t.Skipf("mounting is refused: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
}

// roomyFS does not know how little is free.
type roomyFS struct{ vfs.FS }

func (roomyFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

// TestRewriteOnFullDisk has a real file system, small and full of other things but for
// a part of what the copy takes.
func TestRewriteOnFullDisk(t *testing.T) {
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=8m")
	path := filepath.Join(disk, "store")
	if err := pebbletest.Generate(path, pebbletest.Spec{Adjust: smallTables}); err != nil {
		t.Fatal(err)
	}
	before := files(t, path)
	filler := filepath.Join(disk, "filler")
	for _, free := range []int{0, 100 << 10, 400 << 10} {
		fill(t, filler, free)
		b := newBackend(Config{})
		if _, err := b.Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {}); !errors.Is(err, sdk.ErrNoSpace) || !strings.Contains(err.Error(), "beside it") {
			t.Errorf("%d bytes free: error %v, want %v from the start", free, err, sdk.ErrNoSpace)
		}
		b.fs = roomyFS{b.fs}
		if _, err := b.Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {}); !errors.Is(err, sdk.ErrNoSpace) || !sdk.Retryable(err) {
			t.Errorf("%d bytes free: error %v, want a retryable %v", free, err, sdk.ErrNoSpace)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		wantAlone(t, path)
		sameFiles(t, before, files(t, path))
	}
	if result := rewrite(t, path); result.ReclaimedBytes <= 0 {
		t.Errorf("with space: %+v", result)
	}
}

// fill makes a file that leaves so much free.
func fill(t *testing.T, name string, free int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for block := make([]byte, 64<<10); err == nil; {
		var n int
		n, err = f.Write(block)
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size-int64(free)), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestRewriteMounted has a store that is a mount point, as a container's volume is: it
// is compacted in place, by either name.
func TestRewriteMounted(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	before := files(t, path)
	volume := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, path, volume, "", syscall.MS_BIND, "")
	for _, name := range []string{path, volume} {
		_, err := New(Config{}).Compact(t.Context(), rewriteOf(name), func(sdk.Progress) {})
		if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), "mount") || !strings.Contains(sdk.HintOf(err), "mode ranges") {
			t.Errorf("error %v (hint %q), want %v", err, sdk.HintOf(err), sdk.ErrUnsupported)
		}
		if f := measureForRewrite(t, name, sdk.DepthQuick, nil); f.Obstacle == nil || f.Obstacle.Error() != err.Error() {
			t.Errorf("a measurement announces %v, want %v", f.Obstacle, err)
		}
		wantAlone(t, name)
	}
	sameFiles(t, before, files(t, path))
	if result := compact(t, volume); result.ReclaimedBytes <= 0 {
		t.Errorf("in place: %+v", result)
	}
}

// TestReadOnlyDisk has a file system that cannot be written to: it can be measured.
func TestReadOnlyDisk(t *testing.T) {
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=16m")
	path := filepath.Join(disk, "store")
	if err := pebbletest.Generate(path, pebbletest.Spec{}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{modeRanges, modeRewrite} {
		_, err := sdk.Guard(New(Config{})).Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: mode}, func(sdk.Progress) {})
		if !errors.Is(err, sdk.ErrPermission) || !strings.Contains(sdk.HintOf(err), "mount it so that it can") {
			t.Errorf("mode %s: error %v with hint %q, want %v", mode, err, sdk.HintOf(err), sdk.ErrPermission)
		}
	}
	if f := measureForRewrite(t, path, sdk.DepthQuick, nil); f.Obstacle == nil || !errors.Is(f.Obstacle, sdk.ErrPermission) {
		t.Errorf("a measurement announces %v", f.Obstacle)
	}
	if f := measure(t, path, sdk.DepthSampled); f.ReclaimableBytes <= 0 {
		t.Errorf("measured %+v", f)
	}
}
