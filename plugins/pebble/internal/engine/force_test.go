package engine

import (
	"bytes"
	"context"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// held makes a store whose only table has an older version of each key beside the
// one that is seen.
func held(t *testing.T, comparer *pebbledb.Comparer, keys ...string) *pebbledb.DB {
	t.Helper()
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Comparer: comparer, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	set := func(value byte) {
		for _, key := range keys {
			if err := db.Set([]byte(key), bytes.Repeat([]byte{value}, 100), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	set('1')
	snapshot := db.NewSnapshot()
	set('2')
	if err := db.Compact(context.Background(), []byte(keys[0]), []byte(keys[len(keys)-1]), false); err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
	return db
}

func onlyRegion(t *testing.T, db *pebbledb.DB, comparer *pebbledb.Comparer) Region {
	t.Helper()
	levels, err := ReadLevels(db)
	if err != nil {
		t.Fatal(err)
	}
	all := Regions(comparer.Compare, levels, nil)
	if len(all) != 1 {
		t.Fatalf("%d regions, want 1", len(all))
	}
	return all[0]
}

// The key that a tombstone is put on must not be one that the store has.
func TestForce(t *testing.T) {
	comparer := pebbledb.DefaultComparer
	for name, keys := range map[string][]string{
		"between keys":           {"a", "b"},
		"behind keys that touch": {"a", "a\x00", "a\x00\x00", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			db := held(t, comparer, keys...)
			r := onlyRegion(t, db, comparer)
			if !r.Forcible() {
				t.Fatalf("pinned %v, level %d", r.Tables[0].Pinned(), r.Tables[0].Level)
			}
			before, err := ReadContent(t.Context(), db, func(int64) {})
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := r.Force(db, comparer); !ok || err != nil {
				t.Fatalf("%v, error %v", ok, err)
			}
			if r = onlyRegion(t, db, comparer); !r.Compactable() {
				t.Errorf("a region of %d tables is not compacted", len(r.Tables))
			}
			if err := db.Compact(t.Context(), r.Start, r.End, false); err != nil {
				t.Fatal(err)
			}
			after, err := ReadContent(t.Context(), db, func(int64) {})
			if err != nil || after != before || before.Items != int64(len(keys)) {
				t.Errorf("content %+v, was %+v, error %v", after, before, err)
			}
			r = onlyRegion(t, db, comparer)
			if r.Forcible() || r.Tables[0].Props.NumEntries != uint64(len(keys)) || r.Tables[0].Props.NumDeletions != 0 {
				t.Errorf("still %d entries, %d tombstones", r.Tables[0].Props.NumEntries, r.Tables[0].Props.NumDeletions)
			}
		})
	}
}

// Where no key is free nothing is written.
func TestForceNeedsAKey(t *testing.T) {
	none := *pebbledb.DefaultComparer
	none.ImmediateSuccessor = nil
	for name, test := range map[string]struct {
		comparer *pebbledb.Comparer
		keys     []string
	}{
		"an order that knows none": {&none, []string{"a", "b"}},
		"keys that touch":          {pebbledb.DefaultComparer, []string{"a", "a\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			db := held(t, test.comparer, test.keys...)
			r := onlyRegion(t, db, test.comparer)
			written := db.Metrics().WAL.BytesIn
			if ok, err := r.Force(db, test.comparer); ok || err != nil {
				t.Fatalf("%v, error %v", ok, err)
			}
			if db.Metrics().WAL.BytesIn != written {
				t.Error("something was written")
			}
		})
	}
}
