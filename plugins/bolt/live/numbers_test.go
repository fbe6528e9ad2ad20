package live_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/live"
)

// A transaction that is brought over in more transactions than the store has had
// does not bring the numbers of the copy beyond those of the store, which go on.
func TestNumbersGoOn(t *testing.T) {
	db, err := live.Open(filepath.Join(memoryDir(t), "a.db"), 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, InitialMmapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	const keys, size = 1200, 60_000
	fill := func(n int) int {
		t.Helper()
		var id int
		if err := db.Update(func(tx *bbolt.Tx) error {
			id = tx.ID()
			b, err := tx.CreateBucketIfNotExists([]byte("bucket"))
			for k := 0; k < n && err == nil; k++ {
				err = b.Put(fmt.Appendf(nil, "%08d", k), make([]byte, size))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	fill(20)
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.DeleteBucket([]byte("bucket"))
	}); err != nil {
		t.Fatal(err)
	}
	var last int
	result, err := db.Compact(context.Background(), live.CompactOptions{
		Mode: bolt.ModeRewrite, MaxPause: 10 * time.Second, Report: once("sync", func() { last = fill(keys) }),
	})
	if err != nil || result.NoOp {
		t.Fatalf("%+v, error %v", result, err)
	}
	if next := fill(1); next <= last {
		t.Errorf("transaction %d comes after %d", next, last)
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket([]byte("bucket")).Inspect().KeyN; n != keys {
			return fmt.Errorf("%d keys, want %d", n, keys)
		}
		for err := range tx.Check() {
			return err
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
