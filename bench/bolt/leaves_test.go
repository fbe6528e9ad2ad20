package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

func TestLeavesAgreeWithBbolt(t *testing.T) {
	for _, shape := range []shape{shapeRandom, shapeAppend, shapeNested} {
		t.Run(string(shape), func(t *testing.T) {
			f, err := openFile(t.Context(), io.Discard, t.TempDir(), spec{Shape: shape, Live: 1_000_000, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			m, err := openImage(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			pages, used := 0, 0
			if err := m.eachLeaf(m.root, func(_ uint64, u, _ int) { pages, used = pages+1, used+u }); err != nil {
				t.Fatal(err)
			}
			wantPages, wantUsed, wantHigh := bboltSays(t, f.Path)
			if pages != wantPages || used != wantUsed || m.highWater() != wantHigh {
				t.Errorf("want %d leaves with %d bytes, high-water mark %d; got %d, %d, %d",
					wantPages, wantUsed, wantHigh, pages, used, m.highWater())
			}
		})
	}
}

// bboltSays gives the leaves of all buckets and of the root, in which they lie.
func bboltSays(t *testing.T, path string) (pages, used int, highWater int64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		highWater = tx.Size()
		root := tx.Cursor().Bucket()
		stats := root.Stats()
		pages, used = stats.LeafPageN, stats.LeafInuse
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return pages, used, highWater
}

func TestLeavesRefuseWhatIsNoStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no.db")
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := measureLeaves(path); !errors.Is(err, errDamaged) {
		t.Errorf("want %v, got %v", errDamaged, err)
	}
}

func TestSummarise(t *testing.T) {
	found := summarise([]float64{0.5, 0.5, 0.5, 0.9}, 3)
	if found.Count != 4 || found.Mean != 0.6 || found.Middle != 0.75 || found.Ascending != 0.75 {
		t.Errorf("got %+v", found)
	}
}
