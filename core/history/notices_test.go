package history

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestNoticesAreKept(t *testing.T) {
	eachKind(t, 3, func(t *testing.T, db func() *DB) {
		check(t, db().ChangeNotices(map[string]json.RawMessage{"a": json.RawMessage(`{"n":1}`), "b": json.RawMessage(`2`)}))
		check(t, db().ChangeNotices(map[string]json.RawMessage{"a": nil, "gone": nil, "c": json.RawMessage(`"three"`)}))
		kept := must(db().Notices())(t)
		if got := slices.Sorted(maps.Keys(kept)); !slices.Equal(got, []string{"b", "c"}) || string(kept["c"]) != `"three"` {
			t.Errorf("kept %q", kept)
		}
		for key, wrong := range map[string]string{"": "1", "a": "{"} {
			changes := map[string]json.RawMessage{"d": json.RawMessage("4"), key: json.RawMessage(wrong)}
			if err := db().ChangeNotices(changes); err == nil {
				t.Errorf("%q under %q was taken", wrong, key)
			}
		}
		if kept := must(db().Notices())(t); len(kept) != 2 {
			t.Errorf("after a change that was refused: %q", kept)
		}
	})
}

// A history that an earlier version has written has no place for notices.
func TestNoticesOfAnOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 3)
	check(t, db.AddRun(runOf(1, "a")))
	check(t, db.Close())
	older := must(bolt.Open(path, 0o600, nil))(t)
	check(t, older.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketNotices) }))
	check(t, older.Close())

	db, l := openAt(t, path, 3)
	check(t, db.ChangeNotices(map[string]json.RawMessage{"a": json.RawMessage("1")}))
	if runs := must(db.Runs(0))(t); len(runs) != 1 || l.warnings() != 0 {
		t.Errorf("runs %v:\n%s", runs, l)
	}
}
