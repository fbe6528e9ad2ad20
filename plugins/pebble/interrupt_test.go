package pebble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// unreferenced is how many bytes of tables no version of the store refers to.
func unreferenced(t *testing.T, path string) int64 {
	t.Helper()
	v, err := newBackend(Config{}).openView(context.Background(), path, viewing{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	return v.leftovers(nil).Tables
}

// cancelBound is how long a cancel may take.
const cancelBound = 2 * time.Second

func TestCancel(t *testing.T) {
	cases := []struct {
		name string
		spec pebbletest.Spec
		// phase at whose beginning the call is cancelled.
		phase string
	}{
		{"before the log is flushed", pebbletest.Spec{LeaveInLog: true}, "flush"},
		{"before steps are selected", pebbletest.Spec{Adjust: smallTables}, "select"},
		// There is nothing that Pebble is told to compact while this is read.
		{"while the content is checked", pebbletest.Spec{Shape: pebbletest.Bottom}, "check"},
		{"at the start", pebbletest.Spec{}, "compact"},
		{"while Pebble compacts by itself", pebbletest.Spec{Shape: pebbletest.Bottom}, "settle"},
		{"while it is verified", pebbletest.Spec{}, "verify"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.spec.LiveBytes = 2 << 20
			path := generate(t, c.spec)
			digest, keys := contentOf(t, path)
			b := newBackend(Config{})
			b.stepBytes, b.joinedBytes = 1<<20, 1<<20
			var at time.Time
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
				if p.Phase == c.phase && at.IsZero() {
					at = time.Now()
					cancel()
				}
			})
			if !errors.Is(err, sdk.ErrCancelled) {
				t.Fatalf("error %v, want %v", err, sdk.ErrCancelled)
			}
			if took := time.Since(at); took > cancelBound {
				t.Errorf("cancelling took %v", took)
			}
			if afterDigest, afterKeys := contentOf(t, path); afterDigest != digest || afterKeys != keys {
				t.Errorf("content changed: %d keys, before %d", afterKeys, keys)
			}
			if n := unreferenced(t, path); n != 0 {
				t.Errorf("%d bytes of tables were left behind", n)
			}
		})
	}
}

// TestCancelWithinStep cancels while a table is being written. Pebble itself
// would write the step to its end.
func TestCancelWithinStep(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Overwrites, LiveBytes: 6 << 20})
	digest, _ := contentOf(t, path)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var after atomic.Int64
	b := newBackend(Config{})
	b.fs = &hookFS{FS: vfs.Default, hook: func(operation, name string) error {
		if operation != "write" || !isTable(name) {
			return nil
		}
		if ctx.Err() != nil {
			after.Add(1)
		}
		cancel()
		return nil
	}}
	started := time.Now()
	_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrCancelled) {
		t.Fatalf("error %v, want %v", err, sdk.ErrCancelled)
	}
	if took := time.Since(started); took > cancelBound {
		t.Errorf("cancelling took %v", took)
	}
	// A whole compaction writes some 3 MB of tables, a few blocks at a time.
	if n := after.Load(); n > 3 {
		t.Errorf("%d writes of tables after the cancel", n)
	}
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
	if n := unreferenced(t, path); n != 0 {
		t.Errorf("%d bytes of tables were left behind", n)
	}
	if result := compact(t, path); result.NoOp || result.ReclaimedBytes <= 0 {
		t.Errorf("the next compaction gave back %d bytes", result.ReclaimedBytes)
	}
}

// TestNoSpace lets the file system run full at some table.
func TestNoSpace(t *testing.T) {
	for _, failing := range []int{1, 3} {
		t.Run(fmt.Sprintf("table %d", failing), func(t *testing.T) {
			path := generate(t, pebbletest.Spec{LiveBytes: 2 << 20, Adjust: smallTables})
			digest, _ := contentOf(t, path)
			var tables atomic.Int64
			b := newBackend(Config{})
			b.fs = &hookFS{FS: vfs.Default, hook: func(operation, name string) error {
				if operation == "create" && isTable(name) && tables.Add(1) >= int64(failing) {
					return &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
				}
				return nil
			}}
			_, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if !errors.Is(err, sdk.ErrNoSpace) || !sdk.Retryable(err) {
				t.Fatalf("error %v, want a retryable %v", err, sdk.ErrNoSpace)
			}
			if got, _ := contentOf(t, path); got != digest {
				t.Error("content changed")
			}
			if n := unreferenced(t, path); n != 0 {
				t.Errorf("%d bytes of tables were left behind", n)
			}
		})
	}
}

// TestPreflight has a file system that is full beforehand.
func TestPreflight(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	before := files(t, path)
	b := newBackend(Config{})
	b.fs = fullFS{vfs.Default}
	_, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrNoSpace) {
		t.Fatalf("error %v, want %v", err, sdk.ErrNoSpace)
	}
	if !strings.Contains(err.Error(), "MiB") || !strings.Contains(err.Error(), "1.0 KiB") {
		t.Errorf("error %q names neither what is needed nor what is free", err)
	}
	sameFiles(t, before, files(t, path))
}

// TestCancelForced cancels when Pebble is about to flush what forces a table to be
// rewritten: that flush must not fail, or it would be tried for ever.
func TestCancelForced(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Held, LiveBytes: 2 << 20, Adjust: smallTables})
	digest, _ := contentOf(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	var compacting atomic.Bool
	b := newBackend(Config{})
	b.fs = &hookFS{FS: vfs.Default, hook: func(operation, name string) error {
		if compacting.Load() && operation == "create" && isTable(name) {
			cancel()
		}
		return nil
	}}
	_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
		compacting.Store(p.Phase == "compact")
	})
	if !errors.Is(err, sdk.ErrCancelled) || ctx.Err() == nil {
		t.Errorf("error %v, want %v", err, sdk.ErrCancelled)
	}
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
	if result := compact(t, path); result.ReclaimedBytes <= 0 {
		t.Errorf("%+v", result)
	}
}

// TestDiskFillsUp has a file system that others fill while a store is compacted in
// steps: the next one is not begun, and those before it stay done.
func TestDiskFillsUp(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Held, LiveBytes: 4 << 20, Adjust: smallTables})
	digest, _ := contentOf(t, path)
	before := measure(t, path, sdk.DepthExact)
	full := &fillingFS{FS: vfs.Default}
	b := newBackend(Config{})
	b.fs = full
	_, err := b.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
		full.full.Store(full.full.Load() || p.Phase == "compact" && p.Done > 0)
	})
	if !errors.Is(err, sdk.ErrNoSpace) || !strings.Contains(err.Error(), "the next step needs") {
		t.Fatalf("error %v, want %v", err, sdk.ErrNoSpace)
	}
	after := measure(t, path, sdk.DepthExact)
	if after.AllocatedBytes >= before.AllocatedBytes || after.ReclaimableBytes == 0 {
		t.Errorf("%d bytes before, %d after with %d reclaimable: want some of the steps", before.AllocatedBytes, after.AllocatedBytes, after.ReclaimableBytes)
	}
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
}

// fillingFS becomes full.
type fillingFS struct {
	vfs.FS
	full atomic.Bool
}

func (f *fillingFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if f.full.Load() {
		return fullFS{}.GetDiskUsage(path)
	}
	return f.FS.GetDiskUsage(path)
}

type fullFS struct{ vfs.FS }

func (fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 10}, nil
}

func files(t *testing.T, path string) map[string]string {
	t.Helper()
	sums, err := pebbletest.Files(path)
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// tables are those of the files that hold a store's content.
func tables(files map[string]string) map[string]string {
	maps.DeleteFunc(files, func(name, _ string) bool { return !isTable(name) })
	return files
}

func sameFiles(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%s changed or vanished", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
}
