// Package engine is what plugins and owners of Pebble stores do alike, with a
// *pebble.DB that somebody else has opened: it reads how the tables lie, weighs
// what compaction will give back, compacts key range by key range, and sums
// content up to show that none of it has changed.
package engine

import (
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Bottom is the lowest level. What lies only there stays as it is.
const Bottom = 6

// Table is a sorted table in the tree.
type Table struct {
	Level   int
	Number  uint64 // of the table
	Backing uint64 // number of the file, which virtual tables share
	Size    int64
	// Blobs is about how many bytes of blob files hold its separated values.
	Blobs             int64
	Smallest, Largest []byte
	// LargestExclusive is set when the table ends before the key Largest.
	LargestExclusive bool
	Props            *sstable.Properties
}

// Keys in the table's point blocks, tombstones and older versions included.
func (t Table) Keys() uint64 { return t.Props.NumEntries - t.Props.NumRangeDeletions }

// RawBytes of keys and values before compression, with 8 bytes of sequence
// number for each key.
func (t Table) RawBytes() int64 { return int64(t.Props.RawKeySize + t.Props.RawValueSize) }

// Bytes on the disk, with those of separated values.
func (t Table) Bytes() int64 { return t.Size + t.Blobs }

// Elidable says whether Pebble rewrites the table for its tombstones' sake once
// it is in the lowest level: more than a tenth of the entries.
func (t Table) Elidable() bool { return t.Props.NumDeletions*10 > t.Props.NumEntries }

// Pinned is which part of the table's keys and values only a snapshot needed when
// it was written: older versions, which are dead once that is closed. From 0 to 1.
func (t Table) Pinned() float64 {
	pinned := t.Props.SnapshotPinnedKeySize + t.Props.SnapshotPinnedValueSize
	return min(1, float64(pinned)/float64(max(1, t.RawBytes())))
}

// Dirty says whether the table holds anything that nobody can read, as far as its
// properties tell.
func (t Table) Dirty() bool { return t.Props.NumDeletions > 0 || t.Pinned() > 0 }

// dead is about how many bytes of a table with nothing below it nobody can read, as far
// as its properties tell: each tombstone is above an entry.
func (t Table) dead() int64 {
	tombstones := float64(t.deletions())
	entries := max(1, float64(t.Keys())-tombstones)
	return int64(float64(t.Bytes()) * min(1, max(t.Pinned(), tombstones/entries)))
}

// pinnedThick is from which part on a table is rewritten for that: the tenth at
// which Pebble does for tombstones.
const pinnedThick = 0.1

// ReadLevels lists the tables by level, each level in key order.
func ReadLevels(db *pebbledb.DB) ([][]Table, error) {
	levels, err := listTables(db, pebbledb.WithProperties())
	if err == nil {
		weighBlobs(levels, db.Metrics())
	}
	return levels, err
}

// ListTables is ReadLevels without properties and without what lies in blob files.
func ListTables(db *pebbledb.DB) ([][]Table, error) { return listTables(db) }

func listTables(db *pebbledb.DB, options ...pebbledb.SSTablesOption) ([][]Table, error) {
	infos, err := db.SSTables(options...)
	if err != nil {
		return nil, err
	}
	levels := make([][]Table, len(infos))
	for level, tables := range infos {
		for _, info := range tables {
			levels[level] = append(levels[level], Table{
				Level:            level,
				Number:           uint64(info.FileNum),
				Backing:          uint64(info.BackingSSTNum),
				Size:             int64(info.Size),
				Smallest:         info.Smallest.UserKey,
				Largest:          info.Largest.UserKey,
				LargestExclusive: info.Largest.IsExclusiveSentinel(),
				Props:            info.Properties,
			})
		}
	}
	return levels, nil
}

// byKey are the tables of all levels in the order of their smallest keys.
func byKey(compare pebbledb.Compare, levels [][]Table) []Table {
	tables := slices.Concat(levels...)
	slices.SortFunc(tables, func(a, b Table) int { return compare(a.Smallest, b.Smallest) })
	return tables
}

// Numbers of all tables.
func Numbers(levels [][]Table) map[uint64]bool {
	numbers := map[uint64]bool{}
	for _, tables := range levels {
		for _, t := range tables {
			numbers[t.Number] = true
		}
	}
	return numbers
}

// weighBlobs divides what is used of the blob files among the tables, by how many of
// their values are there.
func weighBlobs(levels [][]Table, m *pebbledb.Metrics) {
	var values uint64
	for _, tables := range levels {
		for _, t := range tables {
			values += t.Props.NumValuesInBlobFiles
		}
	}
	if values == 0 {
		return
	}
	used := float64(int64(m.BlobFiles.LiveSize) - DeadBlobs(m))
	for _, tables := range levels {
		for i, t := range tables {
			tables[i].Blobs = int64(used * float64(t.Props.NumValuesInBlobFiles) / float64(values))
		}
	}
}

// DeadBlobs is about how many bytes of blob files belong to values that no table
// refers to any more.
func DeadBlobs(m *pebbledb.Metrics) int64 {
	b := &m.BlobFiles
	if b.ReferencedValueSize >= b.ValueSize {
		return 0
	}
	return int64(float64(b.LiveSize) * float64(b.ValueSize-b.ReferencedValueSize) / float64(b.ValueSize))
}

// ThickTables are those of the lowest level that Pebble rewrites for their
// tombstones' sake.
func ThickTables(levels [][]Table) (thick []Table) {
	for _, t := range levels[Bottom] {
		if t.Elidable() {
			thick = append(thick, t)
		}
	}
	return thick
}
