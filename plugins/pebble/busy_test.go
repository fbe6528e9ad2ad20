package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestLocked has another process that holds the store.
func TestLocked(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	holder := start(t, roleHold, path)
	pid := fmt.Sprint(holder.cmd.Process.Pid)
	for _, name := range []string{path, link} {
		started := time.Now()
		_, err := New(Config{}).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: name}}, func(sdk.Progress) {})
		if !errors.Is(err, sdk.ErrBusy) || !sdk.Retryable(err) || sdk.HintOf(err) == "" {
			t.Fatalf("error %v, want a retryable %v with a hint", err, sdk.ErrBusy)
		}
		if runtime.GOOS == "linux" && !strings.Contains(err.Error(), "process "+pid) {
			t.Errorf("error %q does not name process %s", err, pid)
		}
		if took := time.Since(started); took > 3*time.Second {
			t.Errorf("it took %v to find the lock", took)
		}
		if f := measure(t, name, sdk.DepthSampled); f.AllocatedBytes == 0 || f.ReclaimableBytes == 0 {
			t.Errorf("measured %+v while the store is held", f)
		}
	}
	holder.release(t)
	if result := compact(t, path); result.NoOp {
		t.Error("after the release nothing was compacted")
	}
}

// TestLockedInBetween finds the store of another process without its marker, as a look
// may that falls between two changes.
func TestLockedInBetween(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	holder := start(t, roleHold, path)
	markers, err := filepath.Glob(filepath.Join(path, "marker.manifest.*"))
	if err != nil || len(markers) != 1 {
		t.Fatalf("markers %q, %v", markers, err)
	}
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.Rename(markers[0], aside); err != nil {
		t.Fatal(err)
	}
	if err := compactWith(t.Context(), New(Config{}), path); !errors.Is(err, sdk.ErrBusy) {
		t.Errorf("error %v, want %v", err, sdk.ErrBusy)
	}
	holder.kill()
	if err := compactWith(t.Context(), New(Config{}), path); !errors.Is(err, sdk.ErrCorrupt) {
		t.Errorf("with nobody else: error %v, want %v", err, sdk.ErrCorrupt)
	}
	if err := os.Rename(aside, markers[0]); err != nil {
		t.Fatal(err)
	}
	if result := compact(t, path); result.ReclaimedBytes <= 0 {
		t.Errorf("%+v", result)
	}
}

// TestLockedByItself compacts a store by two names at once in one process, where
// the lock alone would not help.
func TestLockedByItself(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	b := newBackend(Config{})
	var once sync.Once
	var second, measured error
	b.fs = &hookFS{FS: vfs.Default, hook: func(string, string) error {
		once.Do(func() {
			_, second = b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: link}}, func(sdk.Progress) {})
			_, measured = b.Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: link}})
			// Neither may have dropped the first call's lock.
			if owner := lockOwner(filepath.Join(path, "LOCK")); runtime.GOOS == "linux" && owner != os.Getpid() {
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
	if measured != nil {
		t.Errorf("measuring meanwhile: %v", measured)
	}
	if len(b.held) != 0 {
		t.Errorf("%d directories are still held", len(b.held))
	}
}

// TestMeasureUnderWriter measures while another process writes as fast as it
// can, so that tables come and go.
func TestMeasureUnderWriter(t *testing.T) {
	path := generate(t, pebbletest.Spec{LiveBytes: 2 << 20})
	writer := start(t, roleWrite, path)
	depths := []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact}
	const times = 30
	answered := 0
	for i := range times {
		f, err := New(Config{}).Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depths[i%len(depths)]})
		switch {
		case err == nil:
			answered++
			if f.AllocatedBytes <= 0 || f.ReclaimableBytes > f.AllocatedBytes || f.LiveBytes < 0 || f.LiveBytes > f.AllocatedBytes {
				t.Errorf("measured %+v", f)
			}
		case !errors.Is(err, sdk.ErrBusy) || !sdk.Retryable(err):
			t.Errorf("error %v, want a measurement or a retryable %v", err, sdk.ErrBusy)
		}
	}
	if answered < times*2/3 {
		t.Errorf("%d of %d measurements succeeded", answered, times)
	}
	writer.kill()
	// The writer never saw us: its store opens and is compacted.
	if result := compact(t, path); result.NoOp || result.Verification.ItemsBefore != result.Verification.ItemsAfter {
		t.Errorf("compacting what the writer left: %+v", result)
	}
}

// TestMeasureChangesNothing looks at every byte and time before and after.
func TestMeasureChangesNothing(t *testing.T) {
	for _, shape := range []pebbletest.Shape{pebbletest.Deletes, pebbletest.Churn, pebbletest.Dense} {
		for _, inLog := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in log %v", shape, inLog), func(t *testing.T) {
				path := generate(t, pebbletest.Spec{Shape: shape, LeaveInLog: inLog})
				sums, times := files(t, path), modified(t, path)
				for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
					measure(t, path, depth)
				}
				sameFiles(t, sums, files(t, path))
				for name, then := range times {
					if now := modified(t, path)[name]; !now.Equal(then) {
						t.Errorf("%s was modified at %v", name, now)
					}
				}
			})
		}
	}
}

// modified gives the times of the directory and of each file in it.
func modified(t *testing.T, path string) map[string]time.Time {
	t.Helper()
	times := map[string]time.Time{}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		times[entry.Name()] = info.ModTime()
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	times["."] = info.ModTime()
	return times
}

// TestReadOnlyFS shows that no way to change something is open.
func TestReadOnlyFS(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "000001.log")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := readOnly(vfs.Default)
	other := filepath.Join(dir, "other")
	_, create := fs.Create(other, vfs.WriteCategoryUnspecified)
	_, readWrite := fs.OpenReadWrite(other, vfs.WriteCategoryUnspecified)
	_, reuse := fs.ReuseForWrite(name, other, vfs.WriteCategoryUnspecified)
	for operation, err := range map[string]error{
		"create": create, "open for writing": readWrite, "reuse": reuse,
		"link": fs.Link(name, other), "remove": fs.Remove(name), "remove all": fs.RemoveAll(dir),
		"rename": fs.Rename(name, other), "make directories": fs.MkdirAll(other, 0o700),
	} {
		if !errors.Is(err, errReadOnlyFS) {
			t.Errorf("%s: %v, want %v", operation, err, errReadOnlyFS)
		}
	}
	if _, err := fs.Lock(filepath.Join(dir, "LOCK")); err != nil {
		t.Error(err)
	}
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("y")); err == nil {
		t.Error("a file opened for reading takes writes")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	sameFiles(t, map[string]string{"000001.log": files(t, dir)["000001.log"]}, files(t, dir))
	fs.hideLogs = true
	if names, err := fs.List(dir); err != nil || len(names) != 0 {
		t.Errorf("with logs hidden the directory lists %v: %v", names, err)
	}
}
