package live_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/live"
)

// Who waits for the store while it is replaced gets the new file, with all that
// was written to it.
func TestOpenWaitsForTheStoreNotForTheFile(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}, nil)
	type opened struct {
		db  *live.DB
		err error
	}
	waiting, got := make(chan struct{}), make(chan opened)
	go func() {
		close(waiting)
		other, err := live.Open(db.Path(), 0o600, &bbolt.Options{Timeout: 20 * time.Second})
		got <- opened{other, err}
	}()
	<-waiting
	write := func(key string) {
		t.Helper()
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("written"))
			return errors.Join(err, b.Put([]byte(key), []byte("value")))
		}); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	if result, err := db.Compact(context.Background(), live.CompactOptions{}); err != nil || result.NoOp {
		t.Fatalf("%+v, error %v", result, err)
	}
	write("after")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	o := <-got
	if o.err != nil {
		t.Fatal(o.err)
	}
	defer o.db.Close()
	if err := o.db.View(func(tx *bbolt.Tx) error {
		for _, key := range []string{"before", "after"} {
			if tx.Bucket([]byte("written")).Get([]byte(key)) == nil {
				t.Errorf("what was written %s the compaction is lost", key)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
