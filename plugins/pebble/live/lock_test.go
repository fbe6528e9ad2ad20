package live

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// spyFS notes who touches LOCK, and counts changes. It notes nothing until it is
// armed, since Pebble itself locks the store when it opens it.
type spyFS struct {
	vfs.FS
	armed atomic.Bool

	mu      sync.Mutex
	touched []string
	changed []string
}

func (f *spyFS) note(operation, name string) {
	if f.armed.Load() && filepath.Base(name) == lockName {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.touched = append(f.touched, operation+" "+name)
	}
}

func (f *spyFS) change(operation, name string) {
	f.note(operation, name)
	if f.armed.Load() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed = append(f.changed, operation+" "+filepath.Base(name))
	}
}

func (f *spyFS) changes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.changed)
}

func (f *spyFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f.note("open", name)
	return f.FS.Open(name, opts...)
}

func (f *spyFS) Stat(name string) (vfs.FileInfo, error) {
	f.note("stat", name)
	return f.FS.Stat(name)
}

func (f *spyFS) Lock(name string) (io.Closer, error) {
	f.note("lock", name)
	return f.FS.Lock(name)
}

func (f *spyFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f.change("open for writing", name)
	return f.FS.OpenReadWrite(name, category, opts...)
}

func (f *spyFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f.change("create", name)
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return &spyFile{File: file, fs: f, name: name}, nil
}

func (f *spyFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f.change("reuse", from)
	return f.FS.ReuseForWrite(from, to, category)
}

func (f *spyFS) Remove(name string) error {
	f.change("remove", name)
	return f.FS.Remove(name)
}

func (f *spyFS) Rename(from, to string) error {
	f.change("rename", from)
	return f.FS.Rename(from, to)
}

func (f *spyFS) Link(from, to string) error {
	f.change("link", from)
	return f.FS.Link(from, to)
}

type spyFile struct {
	vfs.File
	fs   *spyFS
	name string
}

func (f *spyFile) Write(p []byte) (int, error) {
	f.fs.change("write", f.name)
	return f.File.Write(p)
}

// TestLockStays measures and compacts: another process still finds the store
// locked, for nobody has opened LOCK, or so much as asked for its size.
func TestLockStays(t *testing.T) {
	for name, given := range map[string]func(*opened) Store{
		"all is said": func(o *opened) Store {
			return Store{Name: "events", DB: o.db, Options: o.options, Dir: o.path}
		},
		"the least is said": func(o *opened) Store { return Store{Name: "events", DB: o.db} },
	} {
		t.Run(name, func(t *testing.T) {
			spy := &spyFS{FS: vfs.Default}
			o := open(t, pebbletest.Spec{LiveBytes: 256 << 10}, func(o *pebbledb.Options) { o.FS = spy })
			spy.armed.Store(true)
			client, stop := serve(t, given(o))
			stores, err := client.Stores(t.Context())
			if err != nil || len(stores) != 1 || stores[0].Path != o.path {
				t.Fatalf("stores %v, %v; want one at %s", stores, err, o.path)
			}
			for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
				if _, err := client.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: stores[0], Depth: depth}); err != nil {
					t.Fatal(err)
				}
			}
			result, err := client.Compact(t.Context(), sdk.CompactRequest{Store: stores[0]}, func(sdk.Progress) {})
			if err != nil || result.NoOp {
				t.Fatalf("compact: %+v, %v", result, err)
			}
			if said := openElsewhere(t, o.path); !strings.Contains(said, "temporarily unavailable") {
				t.Errorf("another process that opens the store gets %q, want that it is locked", said)
			}
			spy.mu.Lock()
			if len(spy.touched) > 0 {
				t.Errorf("the lock was touched: %q", spy.touched)
			}
			spy.mu.Unlock()
			if left, _ := filepath.Glob(filepath.Join(o.path, ".wring*")); len(left) > 0 {
				t.Errorf("left in the store: %q", left)
			}
			stop()
			spy.armed.Store(false)
			o.close(t)
			// The same look sees a store that is free.
			if said := openElsewhere(t, o.path); said != "<nil>" {
				t.Errorf("once it was closed another process got %q", said)
			}
		})
	}
}

// TestMeasuringWritesNothing has writes in memory, which stay there.
func TestMeasuringWritesNothing(t *testing.T) {
	spy := &spyFS{FS: vfs.Default}
	o := open(t, pebbletest.Spec{LiveBytes: 256 << 10}, func(o *pebbledb.Options) {
		o.FS, o.DisableAutomaticCompactions = spy, true
	})
	o.set(t, 0, 20, "not flushed")
	if err := o.db.LogData(nil, pebbledb.Sync); err != nil { // what was written is in its file
		t.Fatal(err)
	}
	// Opening left obsolete files, which Pebble removes when it gets to it.
	o.db.TestOnlyWaitForCleaning()
	b := o.backend(t)
	spy.armed.Store(true)
	defer spy.armed.Store(false)
	for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
		if f := measure(t, b, depth); f.Metrics["unflushed_log_bytes"] == 0 || f.Method == sdk.MethodExact {
			t.Errorf("%s: method %s with %v bytes not flushed", depth, f.Method, f.Metrics["unflushed_log_bytes"])
		}
	}
	if changes := spy.changes(); len(changes) > 0 {
		t.Errorf("measuring changed files: %q", changes)
	}
	o.set(t, 0, 2000, strings.Repeat("y", 100)) // the same spy sees these
	if len(spy.changes()) == 0 {
		t.Error("the spy sees nothing")
	}
}
