package pebble

import (
	"fmt"
	"path/filepath"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

// made is a store with what fill writes, and nothing that Pebble has compacted by itself.
func made(t *testing.T, adjust func(*pebbledb.Options), fill func(db *pebbledb.DB, must func(error))) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	options := (pebbletest.Spec{}).Options()
	if adjust != nil {
		adjust(options)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := pebbledb.Open(path, options)
	must(err)
	fill(db, must)
	must(db.Close())
	return path
}

// TestNeighbourStaysAsItIs has a range tombstone that ends where a table begins, with
// which it has nothing in common. Pebble takes the end of what it is told to compact for
// a part of that.
func TestNeighbourStaysAsItIs(t *testing.T) {
	path := made(t, nil, func(db *pebbledb.DB, must func(error)) {
		for i := range 200 {
			must(db.Set(fmt.Appendf(nil, "a%03d", i), make([]byte, 1000), pebbledb.NoSync))
		}
		must(db.Flush())
		must(db.Compact(t.Context(), []byte("a"), []byte("b"), false))
		must(db.Set([]byte("a001"), []byte("new"), pebbledb.NoSync))
		must(db.DeleteRange([]byte("a050"), []byte("c"), pebbledb.NoSync))
		must(db.Flush())
		must(db.Set([]byte("c"), []byte("first"), pebbledb.NoSync))
		must(db.Set([]byte("d"), []byte("last"), pebbledb.NoSync))
		must(db.Flush())
	})
	neighbours := func() (numbers []uint64) {
		for _, tables := range view4test(t, path).levels {
			for _, table := range tables {
				if string(table.Smallest) == "c" {
					numbers = append(numbers, table.Number)
				}
			}
		}
		return numbers
	}
	before := neighbours()
	k := runIn(t, path, stepBytes)
	if after := neighbours(); len(before) != 1 || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the tables beside what was compacted are %d, before %d", after, before)
	}
	if len(k.checks) != 1 || k.checks[0].before.Content().Items < 50 {
		t.Errorf("%d windows were compared, the first with %d items", len(k.checks), k.checks[0].before.Content().Items)
	}
}

// TestPebbleCompactsNoMore has a table that only Pebble's own compactions rewrite, and
// others that it would compact too, by its usual settings.
func TestPebbleCompactsNoMore(t *testing.T) {
	path := made(t, func(o *pebbledb.Options) { o.L0CompactionThreshold = 1 }, func(db *pebbledb.DB, must func(error)) {
		for i := range 200 {
			must(db.Set(fmt.Appendf(nil, "a%03d", i), make([]byte, 1000), pebbledb.NoSync))
		}
		snapshot := db.NewSnapshot()
		for i := range 100 {
			must(db.Delete(fmt.Appendf(nil, "a%03d", i), pebbledb.NoSync))
		}
		must(db.Flush())
		must(db.Compact(t.Context(), []byte("a"), []byte("b"), false))
		must(snapshot.Close())
		for _, key := range []string{"c", "e", "g", "i"} {
			must(db.Set([]byte(key+"1"), []byte("x"), pebbledb.NoSync))
			must(db.Set([]byte(key+"2"), []byte("y"), pebbledb.NoSync))
			must(db.Flush())
		}
	})
	if v := view4test(t, path); len(v.levels[0]) != 4 || len(engine.ThickTables(v.levels)) == 0 {
		t.Fatalf("%d tables in level 0, and %d thick ones", len(v.levels[0]), len(engine.ThickTables(v.levels)))
	}
	result := compact(t, path)
	v := view4test(t, path)
	if result.ReclaimedBytes <= 0 || len(engine.ThickTables(v.levels)) != 0 {
		t.Errorf("thick tables are left: %+v", result)
	}
	if len(v.levels[0]) != 4 {
		t.Errorf("%d tables are left in level 0, of 4 that lie alone: %s", len(v.levels[0]), result.Note)
	}
}

// TestTableThatIsGone has a window of which a table has gone since it was compared.
func TestTableThatIsGone(t *testing.T) {
	compare := pebbledb.DefaultComparer.Compare
	table := func(number uint64, from, to string) engine.Table {
		return engine.Table{Number: number, Smallest: []byte(from), Largest: []byte(to)}
	}
	k := &check{parts: []engine.Window{{Region: engine.Region{Start: []byte("a")}, Upper: []byte("m")}}}
	all := k.lie(compare, [][]engine.Table{{table(9, "a", "b")}, {table(7, "c", "l"), table(8, "m", "z")}})
	if fmt.Sprint(all) != "[7 9]" {
		t.Errorf("the tables %d lie in it, want 7 and 9", all)
	}
	if left := k.lie(compare, [][]engine.Table{{}, {table(7, "c", "l")}}); fmt.Sprint(left) != "[7]" {
		t.Errorf("the tables %d lie in it, want 7", left)
	}
}
