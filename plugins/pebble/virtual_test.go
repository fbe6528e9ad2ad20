package pebble

import (
	"context"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestVirtualTables cuts keys out of a store's tables, which leaves two tables
// on one file. The hole comes back once both are rewritten, and not before.
func TestVirtualTables(t *testing.T) {
	const size = 1 << 20
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Dense, LiveBytes: size, Format: pebbledb.FormatNewest})
	change := func(work func(*pebbledb.DB) error) {
		t.Helper()
		db, err := pebbledb.Open(path, &pebbledb.Options{Logger: &events{}, FormatMajorVersion: pebbledb.FormatNewest, DisableAutomaticCompactions: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := work(db); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	keys := func() int { _, n := contentOf(t, path); return n }()
	change(func(db *pebbledb.DB) error {
		return db.Excise(context.Background(), pebbledb.KeyRange{Start: pebbletest.Key(keys / 4), End: pebbletest.Key(keys * 3 / 4)})
	})
	if f := measure(t, path, sdk.DepthSampled); f.ReclaimableBytes != 0 {
		t.Errorf("%d bytes are reclaimable while the tables stay", f.ReclaimableBytes)
	}
	if result := compact(t, path); !result.NoOp {
		t.Errorf("tables were compacted that nothing overlaps: %+v", result)
	}
	change(func(db *pebbledb.DB) error {
		for _, i := range []int{keys / 8, keys * 7 / 8} { // one key in either table
			if err := db.Set(pebbletest.Key(i), []byte("new"), pebbledb.NoSync); err != nil {
				return err
			}
		}
		return db.Flush()
	})
	f := measure(t, path, sdk.DepthSampled)
	result := compact(t, path)
	if off := f.ReclaimableBytes - result.ReclaimedBytes; off > f.AllocatedBytes/10 || off < -f.AllocatedBytes/10 {
		t.Errorf("predicted %d bytes of %d, and compaction gave back %d", f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
	}
	if result.ReclaimedBytes < size/8 {
		t.Errorf("compaction gave back %d bytes", result.ReclaimedBytes)
	}
}
