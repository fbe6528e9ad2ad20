package pebble

import (
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// bottom is the lowest level. What lies only there stays as it is.
const bottom = 6

// table is a sorted table in the tree.
type table struct {
	level             int
	backing           uint64 // number of the file, which virtual tables share
	size              int64
	smallest, largest []byte
	// largestExclusive is set when the table ends before the key largest.
	largestExclusive bool
	props            *sstable.Properties
}

// keys in the table's point blocks, tombstones and older versions included.
func (t table) keys() uint64 { return t.props.NumEntries - t.props.NumRangeDeletions }

// rawBytes of keys and values before compression, with 8 bytes of sequence
// number for each key.
func (t table) rawBytes() int64 { return int64(t.props.RawKeySize + t.props.RawValueSize) }

// elidable says whether Pebble rewrites the table for its tombstones' sake once
// it is in the lowest level: more than a tenth of the entries.
func (t table) elidable() bool { return t.props.NumDeletions*10 > t.props.NumEntries }

// readLevels lists the tables by level, each level in key order.
func readLevels(db *pebbledb.DB) ([][]table, error) {
	infos, err := db.SSTables(pebbledb.WithProperties())
	if err != nil {
		return nil, err
	}
	levels := make([][]table, len(infos))
	for level, tables := range infos {
		for _, info := range tables {
			levels[level] = append(levels[level], table{
				level:            level,
				backing:          uint64(info.BackingSSTNum),
				size:             int64(info.Size),
				smallest:         info.Smallest.UserKey,
				largest:          info.Largest.UserKey,
				largestExclusive: info.Largest.IsExclusiveSentinel(),
				props:            info.Properties,
			})
		}
	}
	return levels, nil
}

// region is a longest run of tables and pending writes whose key ranges
// overlap: the unit that compaction rewrites or leaves alone.
type region struct {
	start, end []byte  // both inclusive
	tables     []table // in the order of their smallest keys
	pending    bool    // writes in the log fall here
}

func (r region) bytes() (n int64) {
	for _, t := range r.tables {
		n += t.size
	}
	return n
}

// rewritten says whether compaction writes the region anew. A lone table is
// moved or left in place, unless it is thick with tombstones.
func (r region) rewritten() bool {
	return r.pending || len(r.tables) > 1 || r.tables[0].elidable()
}

// regions splits a store's key space. Pending writes may be nil.
func regions(compare pebbledb.Compare, levels [][]table, pending *pendingWrites) []region {
	tables := slices.Concat(levels...)
	if pending != nil && pending.writes > 0 {
		if from, to, ok := pending.span(tables, compare); ok {
			tables = append(tables, table{level: -1, smallest: from, largest: to})
		}
	}
	slices.SortStableFunc(tables, func(a, b table) int { return compare(a.smallest, b.smallest) })
	var all []region
	var exclusive bool // of the last region's end
	for _, t := range tables {
		joins := false
		if len(all) > 0 {
			c := compare(t.smallest, all[len(all)-1].end)
			joins = c < 0 || (c == 0 && !exclusive)
		}
		if !joins {
			all = append(all, region{start: t.smallest, end: t.largest})
			exclusive = t.largestExclusive
		}
		r := &all[len(all)-1]
		switch c := compare(t.largest, r.end); {
		case c > 0:
			r.end, exclusive = t.largest, t.largestExclusive
		case c == 0:
			exclusive = exclusive && t.largestExclusive
		}
		if t.level < 0 {
			r.pending = true
		} else {
			r.tables = append(r.tables, t)
		}
	}
	return all
}

// keyRange is one step of a compaction.
type keyRange struct {
	start, end []byte // both inclusive
	bytes      int64  // of the tables that this step is the first to reach
}

// steps cuts a region at the boundaries of its lowest tables, so that each step
// reaches about chunk bytes. Neighbours share their boundary key: what begins
// between two of the lowest tables belongs to a step too.
func (r region) steps(compare pebbledb.Compare, chunk int64) []keyRange {
	lowest := lowestLevel(r.tables)
	var cuts [][]byte
	for _, t := range r.tables {
		if t.level == lowest {
			cuts = append(cuts, t.largest)
		}
	}
	slices.SortFunc(cuts, compare) // tables of level 0 end in any order
	cuts = append(cuts, r.end)

	// The tables are in the order of their smallest keys, and steps go from left
	// to right: what one reaches is a run of them. A table that is reached pulls
	// in what it overlaps below.
	reached := 0
	reach := func(end []byte) (bytes int64) {
		for ; reached < len(r.tables) && compare(r.tables[reached].smallest, end) <= 0; reached++ {
			t := r.tables[reached]
			bytes += t.size
			if t.level < lowest && compare(t.largest, end) > 0 {
				end = t.largest
			}
		}
		return bytes
	}
	var steps []keyRange
	start, bytes := r.start, int64(0)
	for i, end := range cuts {
		last := i == len(cuts)-1
		if compare(start, end) >= 0 && (!last || len(steps) > 0) {
			continue
		}
		bytes += reach(end)
		if bytes < chunk && !last {
			continue
		}
		steps = append(steps, keyRange{start: start, end: end, bytes: bytes})
		start, bytes = end, 0
	}
	return steps
}

func lowestLevel(tables []table) int {
	lowest := 0
	for _, t := range tables {
		lowest = max(lowest, t.level)
	}
	return lowest
}
