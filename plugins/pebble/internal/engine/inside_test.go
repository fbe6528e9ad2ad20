package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestKeysInside reads indexes of one and of two levels, in blocks of rows and of columns.
func TestKeysInside(t *testing.T) {
	for _, format := range []pebbledb.FormatMajorVersion{pebbledb.FormatMinSupported, pebbledb.FormatNewest} {
		for _, indexBlock := range []int{1 << 10, 1 << 20} {
			t.Run(fmt.Sprintf("format %d, index in blocks of %d bytes", format, indexBlock), func(t *testing.T) {
				tree := oneTable(t, format, indexBlock)
				table := tree.Levels[0][0]
				top, err := tree.keysInside(t.Context(), table, false)
				if err != nil {
					t.Fatal(err)
				}
				all, err := tree.keysInside(t.Context(), table, true)
				if err != nil {
					t.Fatal(err)
				}
				for _, keys := range [][][]byte{top, all} {
					if !slices.IsSortedFunc(keys, tree.Comparer.Compare) {
						t.Errorf("keys %q are not in order", keys)
					}
				}
				// The last block's separator is behind all keys.
				if blocks := int(table.Props.NumDataBlocks); len(all) != blocks-1 {
					t.Errorf("%d keys of %d blocks", len(all), blocks)
				}
				want := len(all)
				if partitions := int(table.Props.IndexPartitions); partitions > 0 {
					want = partitions - 1
				}
				if (indexBlock == 1<<10) != (table.Props.IndexPartitions > 1) || len(top) != want {
					t.Errorf("%d keys of %d parts of the index, want %d", len(top), table.Props.IndexPartitions, want)
				}
				// One block lies between two of them.
				mean := float64(table.dataBytes()) / float64(table.Props.NumDataBlocks)
				for i := range all[1:] {
					bytes, err := tree.DB.EstimateDiskUsage(all[i], all[i+1])
					if err != nil {
						t.Fatal(err)
					}
					if float64(bytes) < mean || float64(bytes) > 3*mean {
						t.Errorf("%d bytes between %q and %q, with blocks of %.0f", bytes, all[i], all[i+1], mean)
					}
				}
			})
		}
	}
}

// oneTable is a store with a single one.
func oneTable(t *testing.T, format pebbledb.FormatMajorVersion, indexBlock int) *Tree {
	t.Helper()
	fs := vfs.NewMem()
	options := &pebbledb.Options{FS: fs, Logger: quiet{}, DisableAutomaticCompactions: true, FormatMajorVersion: format, MemTableSize: 8 << 20}
	options.Levels[0].IndexBlockSize = indexBlock
	db, err := pebbledb.Open("", options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range 5000 {
		if err := db.Set(fmt.Appendf(nil, "key %06d", i), make([]byte, 200), pebbledb.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	tree := treeOf(t, db)
	tree.Open = func(ctx context.Context, table Table, read func(*sstable.Reader) error) error {
		file, err := fs.Open(fmt.Sprintf("%06d.sst", table.Backing))
		if err != nil {
			return err
		}
		readable, err := sstable.NewSimpleReadable(file)
		if err != nil {
			return err
		}
		r, err := sstable.NewReader(ctx, readable, options.MakeReaderOptions())
		if err != nil {
			return err
		}
		defer r.Close()
		return read(r)
	}
	return tree
}
