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

// TestReadInPieces reads one store with a single iterator and with many: each key
// is weighed once.
func TestReadInPieces(t *testing.T) {
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Logger: quiet{}, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 4<<10)
	for _, step := range []int{1, 2} { // every second key twice
		for i := 0; i < 600; i += step {
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
			if err := db.Set(fmt.Appendf(nil, "k%04d", i), value, pebbledb.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	levels, err := ReadLevels(db)
	if err != nil {
		t.Fatal(err)
	}
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
	if dead := int64(300 * len(value)); whole.ReclaimableBytes < dead*9/10 || whole.ReclaimableBytes > dead*11/10 {
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
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Logger: quiet{}, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	random := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 4<<10)
	for _, step := range []int{1, 2} { // every second key twice
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
	levels, err := ReadLevels(db)
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{DB: db, Comparer: pebbledb.DefaultComparer, Levels: levels}
	f, err := tree.Measure(t.Context(), sdk.DepthSampled, Surroundings{
		Size:      sdk.Size{AllocatedBytes: 1 << 40},
		Leftovers: func([]Region) Leftovers { return Leftovers{} },
		Budget:    256 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	if dead := float64(300 * len(value)); float64(f.ReclaimableBytes) < 0.8*dead || float64(f.ReclaimableBytes) > 1.2*dead {
		t.Errorf("%d bytes are reclaimable, and %.0f are dead", f.ReclaimableBytes, dead)
	}
}
