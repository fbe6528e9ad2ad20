package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestSelectLooksBehind has a window that is clean where it begins, and not behind: it
// is not passed over beside one of which all is dead.
func TestSelectLooksBehind(t *testing.T) {
	options := &pebbledb.Options{FS: vfs.NewMem(), Logger: quiet{}, DisableAutomaticCompactions: true}
	for i := range options.TargetFileSizes {
		options.TargetFileSizes[i] = 64 << 10
	}
	options.TargetFileSizes[0] = 64 << 20 // a flush makes one table
	db, err := pebbledb.Open("", options)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	random := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 4<<10)
	set := func(prefix string, from int) {
		for i := from; i < 600; i++ {
			for j := range value {
				value[j] = byte(random.Uint32())
			}
			if err := db.Set(fmt.Appendf(nil, "%s%04d", prefix, i), value, pebbledb.NoSync); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush := func() {
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"a", "b", "c"} {
		for range 2 { // else Pebble would move what one flush has made
			set(prefix, 0)
			flush()
		}
		if err := db.Compact(t.Context(), []byte(prefix), []byte(prefix+"z"), false); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, from := range map[string]int{"a": 300, "b": 0, "c": 599} {
		if err := db.Set([]byte(prefix+"0000"), value, pebbledb.NoSync); err != nil {
			t.Fatal(err)
		}
		set(prefix, from)
		flush()
	}
	levels, err := ReadLevels(db)
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{DB: db, Comparer: pebbledb.DefaultComparer, Levels: levels}
	windows := tree.Windows(1<<40, false)
	if len(windows) != 3 {
		t.Fatalf("%d windows, want 3", len(windows))
	}
	passed, err := tree.Select(t.Context(), windows)
	if err != nil {
		t.Fatal(err)
	}
	left := ""
	for _, w := range windows {
		if len(w.Steps) > 0 {
			left += string(w.Start[:1])
		}
	}
	if left != "ba" || passed == 0 {
		t.Errorf("steps are left in %q, and %d bytes were passed over", left, passed)
	}
}

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
