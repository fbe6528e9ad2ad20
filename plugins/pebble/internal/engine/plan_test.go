package engine

import (
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// TestStacked looks at tables that lie above others or do not, and of which some are
// not old.
func TestStacked(t *testing.T) {
	table := func(number uint64, from, to string) Table {
		return Table{Number: number, Smallest: []byte(from), Largest: []byte(to)}
	}
	ending := func(t Table) Table {
		t.LargestExclusive = true
		return t
	}
	for _, c := range []struct {
		name   string
		levels [][]Table
		old    []uint64
		want   bool
	}{
		{"side by side", [][]Table{{table(1, "a", "c")}, {table(2, "d", "f")}}, nil, false},
		{"above", [][]Table{{table(1, "a", "d")}, {table(2, "d", "f")}}, nil, true},
		{"up to the next", [][]Table{{ending(table(1, "a", "d"))}, {table(2, "d", "f")}}, nil, false},
		{"old ones", [][]Table{{table(1, "a", "e")}, {table(2, "d", "f")}, {table(3, "g", "h")}}, []uint64{1, 2}, false},
		{"a new one under an old one", [][]Table{{table(1, "a", "e")}, {table(2, "d", "f")}}, []uint64{1}, true},
		{"an old one under a new one", [][]Table{{table(1, "a", "e")}, {table(2, "d", "f")}}, []uint64{2}, true},
		{"a new one within a long one", [][]Table{{table(1, "a", "z")}, {table(2, "b", "c"), table(3, "d", "e")}}, []uint64{1, 2}, true},
		{"an old one under a long one", [][]Table{{table(1, "a", "z")}, {table(2, "b", "c"), table(3, "d", "e")}}, []uint64{2, 3}, true},
	} {
		old := map[uint64]bool{}
		for _, n := range c.old {
			old[n] = true
		}
		if got := Stacked(pebbledb.DefaultComparer.Compare, c.levels, old); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
