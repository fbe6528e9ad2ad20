package pebble

import (
	"context"
	"fmt"
	"math"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// smallTables lets a store of a few megabytes have many tables.
func smallTables(o *pebbledb.Options) {
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 256 << 10
	}
}

// TestSampling gives the sample a tenth of the store to read, whether that has many
// small tables or few large ones.
func TestSampling(t *testing.T) {
	shapes := []pebbletest.Spec{
		{Shape: pebbletest.Deletes},
		{Shape: pebbletest.Overwrites},
		{Shape: pebbletest.RangeDeletes},
		{Shape: pebbletest.Churn},
		{Shape: pebbletest.Clustered, Garbage: 0.3, LiveBytes: 16 << 20}, // a tenth of the keys takes some places
		{Shape: pebbletest.Bottom},
		{Shape: pebbletest.Held},
		{Shape: pebbletest.Expired},
		{Shape: pebbletest.Patches},
		{Shape: pebbletest.Held, Format: pebbledb.FormatNewest},
		{Shape: pebbletest.Overwrites, Separate: 128, ValueBytes: 256},
	}
	for _, spec := range shapes {
		for _, small := range []bool{true, false} {
			name := fmt.Sprintf("%s, format %d, separated %d", spec.Shape, spec.Format, spec.Separate)
			if small {
				name += ", small tables"
			}
			t.Run(name, func(t *testing.T) {
				spec.LiveBytes = max(spec.LiveBytes, 12<<20)
				if spec.Adjust = nil; small {
					spec.Adjust = smallTables
				}
				checkSample(t, generate(t, spec))
			})
		}
	}
}

// checkSample holds a sample against what compaction gives back.
func checkSample(t *testing.T, path string) {
	t.Helper()
	quick := measure(t, path, sdk.DepthQuick)
	b := newBackend(Config{})
	b.sampleBytes = quick.AllocatedBytes / 10
	f := measureWith(t, b, path, sdk.DepthSampled, &traffic{})
	if f.Method != sdk.MethodSampled {
		t.Errorf("method %s, want %s", f.Method, sdk.MethodSampled)
	}
	// With little left of it by the store's opening, half of it is for content.
	read, budget := f.Metrics["bytes_read"], float64(b.sampleBytes)
	if most := max(budget, quick.Metrics["bytes_read"]+budget/2); read > most*1.1 {
		t.Errorf("%.0f bytes were read, want at most %.0f", read, most)
	}
	result := compact(t, path)
	least, most := f.Metrics["reclaimable_min_bytes"], f.Metrics["reclaimable_max_bytes"]
	t.Logf("predicted %d KiB (%.0f to %.0f), reclaimed %d KiB of %d KiB, read %.0f KiB", f.ReclaimableBytes>>10, least/1024, most/1024, result.ReclaimedBytes>>10, f.AllocatedBytes>>10, read/1024)
	if off := math.Abs(float64(f.ReclaimableBytes - result.ReclaimedBytes)); off > 0.15*float64(result.ReclaimedBytes)+4*engine.Rounding {
		t.Errorf("predicted %d bytes of %d, and compaction gave back %d", f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
	}
	within(t, f, result.ReclaimedBytes)
}

// within checks that a measurement's bounds have between them what was given back.
func within(t *testing.T, f sdk.Fragmentation, reclaimed int64) {
	t.Helper()
	least, most := f.Metrics["reclaimable_min_bytes"], f.Metrics["reclaimable_max_bytes"]
	if least > float64(f.ReclaimableBytes) || most < float64(f.ReclaimableBytes) {
		t.Errorf("%s: %d bytes, which are not between %.0f and %.0f", f.Method, f.ReclaimableBytes, least, most)
	}
	if got := float64(reclaimed); got < least-engine.Rounding || got > most+engine.Rounding {
		t.Errorf("%s: from %.0f to %.0f bytes, and compaction gave back %.0f", f.Method, least, most, got)
	}
}

func measureWith(t *testing.T, b *backend, path string, depth sdk.Depth, tr *traffic) sdk.Fragmentation {
	t.Helper()
	v, err := b.openView(context.Background(), path, viewing{apart: depth != sdk.DepthExact, traffic: tr})
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	f, err := v.measure(context.Background(), v.tree(), depth, b.sampleBytes)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLogAlone has all of a store's writes in its log, and no table to tell how
// well they compress.
func TestLogAlone(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Churn, LeaveInLog: true, Adjust: func(o *pebbledb.Options) {
		o.MemTableSize = 64 << 20
	}})
	if v := view4test(t, path); len(v.levels[0])+len(v.levels[engine.Bottom]) != 0 || v.pending.Writes == 0 {
		t.Fatalf("the store has %d pending writes and tables", v.pending.Writes)
	}
	f := measure(t, path, sdk.DepthSampled)
	if f.Map != nil || f.Layers != nil {
		t.Errorf("there is a picture of no table: %v, %v", f.Map, f.Layers)
	}
	result := compact(t, path)
	within(t, f, result.ReclaimedBytes)
	// Without a table to learn from, the writes count as not compressible.
	if f.ReclaimableBytes <= 0 || f.ReclaimableBytes > result.ReclaimedBytes {
		t.Errorf("predicted %d bytes of %d, and compaction gave back %d", f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
	}
}

// TestMap trims the lower half of a store: its picture is empty on the left and
// full on the right.
func TestMap(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.RangeDeletes, LiveBytes: 8 << 20})
	f := measure(t, path, sdk.DepthExact)
	if len(f.Map) < 64 || len(f.Map) > sdk.MaxMapCells {
		t.Fatalf("the map has %d cells", len(f.Map))
	}
	if f.Method != sdk.MethodExact {
		t.Errorf("method %s, want %s", f.Method, sdk.MethodExact)
	}
	mean := func(cells []uint8) (sum int) {
		for _, c := range cells {
			if c > 100 {
				t.Errorf("a cell is %d %% full", c)
			}
			sum += int(c)
		}
		return sum / len(cells)
	}
	n := len(f.Map)
	if left, right := mean(f.Map[:n*4/10]), mean(f.Map[n*6/10:]); left > 15 || right < 85 {
		t.Errorf("the left of the map is %d %% full and the right %d %%, want it empty and full", left, right)
	}
	if len(f.Layers) != 2 || f.Layers[0].Name != "L0" || f.Layers[1].Name != "L6" {
		t.Errorf("layers %+v, want the tombstone's and what it deletes", f.Layers)
	}
	compact(t, path)
	after := measure(t, path, sdk.DepthQuick)
	if mean(after.Map) != 100 {
		t.Errorf("after compaction the map is %d %% full", mean(after.Map))
	}
	if len(after.Layers) != 1 || after.Layers[0].Bytes != int64(after.Metrics["table_bytes"]) {
		t.Fatalf("after compaction the layers are %+v, and there are %v bytes of tables", after.Layers, after.Metrics["table_bytes"])
	}
	for i, c := range after.Layers[0].Cells {
		if c.Live != 100 || c.Bytes == 0 {
			t.Errorf("after compaction cell %d is %+v", i, c)
		}
	}
}

// TestEmpty has a store without any key.
func TestEmpty(t *testing.T) {
	path := t.TempDir()
	db, err := pebbledb.Open(path, &pebbledb.Options{Logger: &events{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
		if f := measure(t, path, depth); f.ReclaimableBytes != 0 || f.Map != nil || f.Layers != nil || f.TotalBytes == 0 {
			t.Errorf("%s: %+v", depth, f)
		}
	}
	if result := compact(t, path); !result.NoOp {
		t.Errorf("an empty store was compacted: %+v", result)
	}
}

// TestOneKey has versions of a single key, whose range has no width.
func TestOneKey(t *testing.T) {
	path := t.TempDir()
	options := &pebbledb.Options{Logger: &events{}, DisableAutomaticCompactions: true}
	db, err := pebbledb.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := db.Set([]byte("k"), make([]byte, 10<<10), nil); err != nil {
			t.Fatal(err)
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	result := compact(t, path)
	if result.NoOp || result.Verification.ItemsAfter != 1 {
		t.Errorf("compacting one key: %+v", result)
	}
	v := view4test(t, path)
	if n := len(v.levels[0]) + len(v.levels[engine.Bottom]); n != 1 {
		t.Errorf("%d tables are left of one key's versions, want 1", n)
	}
	if again := compact(t, path); !again.NoOp {
		t.Errorf("a second compaction did something: %+v", again)
	}
}
