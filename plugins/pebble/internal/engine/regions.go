package engine

import (
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// Region is a longest run of tables and pending writes whose key ranges
// overlap: the unit that compaction rewrites or leaves alone.
type Region struct {
	Start, End []byte  // both inclusive
	Tables     []Table // in the order of their smallest keys
	Pending    bool    // writes in the log fall here
	// Exclusive is set where End is not in it, as at the end of a range tombstone.
	Exclusive bool
}

// Bytes of all tables in it, separated values included.
func (r Region) Bytes() (n int64) {
	for _, t := range r.Tables {
		n += t.Bytes()
	}
	return n
}

// Rewritten says whether compaction writes the region anew. A lone table is
// moved or left in place, unless it is thick with tombstones.
func (r Region) Rewritten() bool {
	return r.Pending || len(r.Tables) > 1 || r.Tables[0].Elidable()
}

// Compactable says whether Pebble compacts the region when it is told to. The
// others that are rewritten are lone tables of the lowest level, which are for
// its own compactions alone.
func (r Region) Compactable() bool {
	return r.Rewritten() && (len(r.Tables) != 1 || r.Tables[0].Level != Bottom)
}

// Forcible says whether the region is a lone table of the lowest level that is thick
// with versions which only a snapshot needed. Pebble has no reason to rewrite it,
// and can be given one by Force.
func (r Region) Forcible() bool {
	return !r.Rewritten() && r.Tables[0].Level == Bottom && r.Tables[0].Pinned() > pinnedThick
}

// Regions splits a store's key space. Pending writes may be nil.
func Regions(compare pebbledb.Compare, levels [][]Table, pending *Pending) []Region {
	tables := slices.Concat(levels...)
	if pending != nil && pending.Writes > 0 {
		if from, to, ok := pending.span(tables, compare); ok {
			tables = append(tables, Table{Level: -1, Smallest: from, Largest: to})
		}
	}
	slices.SortStableFunc(tables, func(a, b Table) int { return compare(a.Smallest, b.Smallest) })
	var all []Region
	for _, t := range tables {
		joins := false
		if len(all) > 0 {
			last := all[len(all)-1]
			c := compare(t.Smallest, last.End)
			joins = c < 0 || (c == 0 && !last.Exclusive)
		}
		if !joins {
			all = append(all, Region{Start: t.Smallest, End: t.Largest, Exclusive: t.LargestExclusive})
		}
		r := &all[len(all)-1]
		switch c := compare(t.Largest, r.End); {
		case c > 0:
			r.End, r.Exclusive = t.Largest, t.LargestExclusive
		case c == 0:
			r.Exclusive = r.Exclusive && t.LargestExclusive
		}
		if t.Level < 0 {
			r.Pending = true
		} else {
			r.Tables = append(r.Tables, t)
		}
	}
	return all
}

// KeyRange is one step of a compaction.
type KeyRange struct {
	Start, End []byte // both inclusive
	Bytes      int64  // of the tables that this step is the first to reach
}

// Steps cuts a region at the boundaries of its lowest tables, so that each step
// reaches about chunk bytes. A step begins right behind the one before it, for what
// begins between two of the lowest tables belongs to a step too; where the comparer
// knows no next key, the two share one, and the table that ends there is written twice.
func (r Region) Steps(comparer *pebbledb.Comparer, chunk int64) []KeyRange {
	compare := comparer.Compare
	lowest := LowestLevel(r.Tables)
	var cuts [][]byte
	for _, t := range r.Tables {
		if t.Level == lowest {
			cuts = append(cuts, t.Largest)
		}
	}
	slices.SortFunc(cuts, compare) // tables of level 0 end in any order
	last := r.reach(compare)
	for len(cuts) > 0 && compare(cuts[len(cuts)-1], last) > 0 {
		cuts = cuts[:len(cuts)-1]
	}
	cuts = append(cuts, last)

	// The tables are in the order of their smallest keys, and steps go from left
	// to right: what one reaches is a run of them. A table that is reached pulls
	// in what it overlaps below.
	reached := 0
	reach := func(end []byte) (bytes int64) {
		for ; reached < len(r.Tables) && compare(r.Tables[reached].Smallest, end) <= 0; reached++ {
			t := r.Tables[reached]
			bytes += t.Bytes()
			if t.Level < lowest && compare(t.Largest, end) > 0 {
				end = t.Largest
			}
		}
		return bytes
	}
	var steps []KeyRange
	start, bytes := r.Start, int64(0)
	for i, end := range cuts {
		last := i == len(cuts)-1
		if compare(start, end) >= 0 && (!last || len(steps) > 0) {
			continue
		}
		bytes += reach(end)
		if bytes < chunk && !last {
			continue
		}
		steps = append(steps, KeyRange{Start: start, End: end, Bytes: bytes})
		bytes = 0
		if start = successor(comparer, end); start == nil {
			start = end
		}
	}
	return steps
}

// reach is the smallest key up to which a compaction reaches all tables. Pebble takes
// the table that begins there, too: that is another region's where the end is not in it.
func (r Region) reach(compare pebbledb.Compare) []byte {
	if !r.Exclusive {
		return r.End
	}
	last := r.Start
	for _, t := range r.Tables {
		if compare(t.Smallest, last) > 0 {
			last = t.Smallest
		}
		if !t.LargestExclusive && compare(t.Largest, last) > 0 {
			last = t.Largest
		}
	}
	return last
}

// Whole is a step that is all of the region.
func (r Region) Whole(compare pebbledb.Compare) KeyRange {
	return KeyRange{Start: r.Start, End: r.reach(compare), Bytes: r.Bytes()}
}

// LowestLevel that any of the tables is in.
func LowestLevel(tables []Table) int {
	lowest := 0
	for _, t := range tables {
		lowest = max(lowest, t.Level)
	}
	return lowest
}
