package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/sdk"
)

// overwritten is a store of 600 keys in two tables, one above the other: every second
// key was written twice, by which so many bytes are dead.
func overwritten(t *testing.T) (db *pebbledb.DB, levels [][]Table, dead int64) {
	t.Helper()
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Logger: quiet{}, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	random := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 4<<10)
	for _, step := range []int{1, 2} {
		for i := 0; i < 600; i += step {
			for j := range value {
				value[j] = byte(random.Uint32())
			}
			if err := db.Set(fmt.Appendf(nil, "k%04d", i), value, pebbledb.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if levels, err = ReadLevels(db); err != nil {
		t.Fatal(err)
	}
	return db, levels, 300 * int64(len(value))
}

// TestReadInPieces reads one store with a single iterator and with many: each key
// is weighed once.
func TestReadInPieces(t *testing.T) {
	db, levels, dead := overwritten(t)
	measure := func(renew int64) sdk.Fragmentation {
		tree := &Tree{DB: db, Comparer: pebbledb.DefaultComparer, Levels: levels, Renew: renew}
		f, err := tree.Measure(context.Background(), sdk.DepthExact, Surroundings{
			Size:      sdk.Size{AllocatedBytes: 1 << 40},
			Leftovers: func([]Region) Leftovers { return Leftovers{} },
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	whole := measure(0)
	if whole.ReclaimableBytes < dead*9/10 || whole.ReclaimableBytes > dead*11/10 {
		t.Errorf("%d bytes are reclaimable; %d were overwritten", whole.ReclaimableBytes, dead)
	}
	for _, renew := range []int64{1, 1 << 20} {
		if f := measure(renew); f.ReclaimableBytes != whole.ReclaimableBytes || !bytes.Equal(f.Map, whole.Map) {
			t.Errorf("a new iterator after %d bytes: %d reclaimable, with a single one %d", renew, f.ReclaimableBytes, whole.ReclaimableBytes)
		}
	}
}

// TestSampleAtOnePlace has two tables, one above the other, of which nobody can tell
// where to begin to read but at their smallest key.
func TestSampleAtOnePlace(t *testing.T) {
	db, levels, dead := overwritten(t)
	tree := &Tree{DB: db, Comparer: pebbledb.DefaultComparer, Levels: levels}
	f, err := tree.Measure(t.Context(), sdk.DepthSampled, Surroundings{
		Size:      sdk.Size{AllocatedBytes: 1 << 40},
		Leftovers: func([]Region) Leftovers { return Leftovers{} },
		Budget:    256 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	if float64(f.ReclaimableBytes) < 0.8*float64(dead) || float64(f.ReclaimableBytes) > 1.2*float64(dead) {
		t.Errorf("%d bytes are reclaimable, and %d are dead", f.ReclaimableBytes, dead)
	}
}
