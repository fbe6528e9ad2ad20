package pebble

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestComparesWhatChanged holds the tables that a compaction has written against the
// parts of which it compares the content: none lies elsewhere, and where steps were
// passed over it does not compare everything.
func TestComparesWhatChanged(t *testing.T) {
	for i, c := range []struct {
		spec  pebbletest.Spec
		some  bool
		least int // windows
	}{
		{pebbletest.Spec{Shape: pebbletest.Clustered, Garbage: 0.4, LiveBytes: 16 << 20, Adjust: tablesOf(64 << 10)}, true, 1},
		{pebbletest.Spec{Shape: pebbletest.Patches, RangeKeys: 3, Adjust: tablesOf(16 << 10)}, true, 4},
		{pebbletest.Spec{Shape: pebbletest.Churn, Adjust: tablesOf(64 << 10)}, false, 1},
		{pebbletest.Spec{Shape: pebbletest.Expired, Adjust: tablesOf(64 << 10)}, true, 1},
		{pebbletest.Spec{Shape: pebbletest.Held, Adjust: tablesOf(64 << 10)}, false, 4},
		{pebbletest.Spec{Shape: pebbletest.Overwrites, Separate: 128, Adjust: tablesOf(64 << 10)}, false, 1},
	} {
		t.Run(fmt.Sprintf("%d %s", i, c.spec.Shape), func(t *testing.T) {
			path := generate(t, c.spec)
			all, err := engine.ReadContent(t.Context(), view4test(t, path).db, func(int64) {})
			if err != nil {
				t.Fatal(err)
			}
			old := map[uint64]bool{}
			for _, tables := range view4test(t, path).levels {
				for _, table := range tables {
					old[table.Number] = true
				}
			}
			k := runIn(t, path, 1<<20)
			if len(k.checks) < c.least {
				t.Errorf("%d windows, want at least %d", len(k.checks), c.least)
			}
			var items int64
			var parts []engine.Window
			for _, check := range k.checks {
				items += check.before.Content().Items
				parts = append(parts, check.parts...)
			}
			if items > all.Items || (items < all.Items) != c.some {
				t.Errorf("%d items of %d were compared", items, all.Items)
			}
			fresh := 0
			for _, tables := range view4test(t, path).levels {
				for _, table := range tables {
					if old[table.Number] {
						continue
					}
					fresh++
					if !inParts(table, parts) {
						t.Errorf("the new table %d from %q to %q was not compared", table.Number, table.Smallest, table.Largest)
					}
				}
			}
			if fresh == 0 {
				t.Error("there is no new table")
			}
		})
	}
}

// inParts says whether all of the table is in the parts, which may follow each other.
func inParts(table engine.Table, parts []engine.Window) bool {
	compare := pebbledb.DefaultComparer.Compare
	at := table.Smallest
	for range parts {
		for _, p := range parts {
			if compare(p.Start, at) <= 0 && (p.Upper == nil || compare(at, p.Upper) < 0) {
				if p.Upper == nil || compare(table.Largest, p.Upper) < 0 {
					return true
				}
				at = p.Upper
			}
		}
	}
	return false
}

// runIn compacts a store in steps of so many bytes, and returns what did.
func runIn(t *testing.T, path string, stepBytes int64) *compaction {
	t.Helper()
	b := newBackend(Config{})
	b.stepBytes, b.joinedBytes = stepBytes, stepBytes
	held, err := b.lock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	c := &compaction{backend: b, path: path, lock: held.lock, held: held, watch: newWatch(), Progress: engine.Progress{Report: func(sdk.Progress) {}}}
	c.Traffic = c.traffic.bytes
	if _, err := c.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStopsAtDamage has a disk that damages the first table that is written. That ends
// the compaction before it has gone through all windows.
func TestStopsAtDamage(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Patches, Adjust: tablesOf(16 << 10)})
	var compacting, damaged, tables atomic.Int64
	b := newBackend(Config{})
	b.fs = faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if compacting.Load() > 0 && strings.HasSuffix(op.Name, ".sst") {
			switch {
			case op.Kind == faultfs.Create:
				tables.Add(1)
			case op.Kind == faultfs.Write && damaged.Add(1) == 1:
				op.Data[len(op.Data)/2] ^= 1
			}
		}
		return do()
	})
	windows := len(view4test(t, path).tree().Windows(1<<20, false))
	_, err := b.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
		if p.Phase == "compact" {
			compacting.Store(1)
		}
	})
	if !errors.Is(err, sdk.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "verify") || !strings.Contains(sdk.HintOf(err), "backup") {
		t.Errorf("error %v with hint %q, want %v", err, sdk.HintOf(err), sdk.ErrCorrupt)
	}
	if windows < 4 || tables.Load() == 0 || tables.Load() > int64(windows/2) {
		t.Errorf("%d tables were written for %d windows", tables.Load(), windows)
	}
}
