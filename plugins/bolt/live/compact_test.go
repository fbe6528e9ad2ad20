package live_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// once calls f in the middle of a compaction's phase, the first time.
func once(phase string, f func()) func(sdk.Progress) {
	var first sync.Once
	return func(p sdk.Progress) {
		if p.Phase == phase {
			first.Do(f)
		}
	}
}

// A file that somebody has put at the store's path, as a backup that is brought
// back is, does not become the application's by a compaction.
func TestAnotherFileAtThePath(t *testing.T) {
	spec := bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}
	db := openGenerated(t, spec, nil)
	other := openGenerated(t, spec, nil)
	if err := os.Rename(other.Path(), db.Path()); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{bolt.ModeRewrite, bolt.ModePunch} {
		_, err := db.Compact(context.Background(), live.CompactOptions{Mode: mode})
		if !errors.Is(err, sdk.ErrNotFound) || sdk.HintOf(err) == "" {
			t.Errorf("%s: error %v, hint %q", mode, err, sdk.HintOf(err))
		}
	}
	if result, err := other.Compact(context.Background(), live.CompactOptions{}); err == nil {
		t.Errorf("the other store was compacted at a path that is not its own any more: %+v", result)
	}
}

// Changes so small that little has to be read for them take memory in the copy all
// the same: each bucket with one.
func TestMemoryOfManyBuckets(t *testing.T) {
	const buckets, each, bound = 150_000, 3000, 48 << 20
	db := openGenerated(t, bolttest.Spec{Shape: bolttest.ShapeEmpty}, &bbolt.Options{
		NoSync: true, InitialMmapSize: 1 << 30, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	change := func(f func(all *bbolt.Bucket, name []byte) error) {
		for i := 0; i < buckets; i += each {
			if err := db.Update(func(tx *bbolt.Tx) error {
				all, err := tx.CreateBucketIfNotExists([]byte("all"))
				for k := i; k < i+each && err == nil; k++ {
					err = f(all, fmt.Appendf(nil, "%08d", k))
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	}
	change(func(all *bbolt.Bucket, name []byte) error {
		_, err := all.CreateBucket(name)
		return errors.Join(err, all.Put(append(name, '-'), make([]byte, 600)))
	})
	change(func(all *bbolt.Bucket, name []byte) error { return all.Delete(append(name, '-')) })

	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	quiet := heap()
	var most int64
	ended, changed := make(chan struct{}), make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		<-changed
		for {
			most = max(most, heap()-quiet)
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	result, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModeRewrite, Report: once("sync", func() {
		change(func(all *bbolt.Bucket, name []byte) error { return all.Bucket(name).SetSequence(7) })
		close(changed)
	})})
	close(ended)
	watch.Wait()
	if err != nil || result.NoOp {
		t.Fatalf("%+v, error %v", result, err)
	}
	if most > bound {
		t.Errorf("%s of memory in use, want at most %s", sdk.FormatBytes(most), sdk.FormatBytes(bound))
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("all")).ForEachBucket(func(name []byte) error {
			if n := tx.Bucket([]byte("all")).Bucket(name).Sequence(); n != 7 {
				return fmt.Errorf("bucket %s has the sequence %d", name, n)
			}
			return nil
		})
	}); err != nil {
		t.Error(err)
	}
}

// A transaction that needs more of the file than is mapped waits for all readers.
// The copy does not keep it waiting: it is begun anew.
func TestOutgrowsWhatIsMapped(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}, &bbolt.Options{NoSync: true})
	const written, keys = 600, 200
	var copies int
	var load sync.WaitGroup
	grow := once("copy", func() {
		load.Go(func() {
			if err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucket([]byte("large"))
				for k := 0; k < written && err == nil; k++ {
					err = b.Put(fmt.Appendf(nil, "%08d", k), make([]byte, 60_000))
				}
				return err
			}); err != nil {
				t.Error(err)
			}
			if err := db.Update(func(tx *bbolt.Tx) (err error) {
				for k := keys; k < written && err == nil; k++ {
					err = tx.Bucket([]byte("large")).Delete(fmt.Appendf(nil, "%08d", k))
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		load.Wait() // the copy holds its snapshot until the writer has what it needs
	})
	result, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModeRewrite, Report: func(p sdk.Progress) {
		if p.Phase == "copy" && p.Done == 0 {
			copies++
		}
		grow(p)
	}})
	load.Wait()
	if err != nil || result.NoOp || copies < 2 {
		t.Fatalf("%+v, error %v, %d copies", result, err, copies)
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket([]byte("large")).Inspect().KeyN; n != keys {
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

// Where what is written all the time cannot be brought over while writers wait, the
// compaction gives up without harm, and says for how long it has held them up.
func TestGivesUp(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 4 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeRandom}, &bbolt.Options{NoSync: true})
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	var written uint64
	load.Go(func() {
		for ; ctx.Err() == nil; written++ {
			if err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("written"))
				for k := 0; k < 500 && err == nil; k++ {
					err = b.Put(fmt.Appendf(nil, "%08d", k), fmt.Appendf(nil, "%0400d", written))
				}
				return err
			}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	size := func() int64 {
		info, err := os.Stat(db.Path())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	result, err := db.Compact(ctx, live.CompactOptions{Mode: bolt.ModeRewrite, MaxPause: time.Nanosecond})
	if !errors.Is(err, sdk.ErrBusy) || sdk.HintOf(err) == "" || result.Pause <= 0 || size() < before {
		t.Errorf("%+v, error %v, hint %q", result, err, sdk.HintOf(err))
	}
	cancel()
	load.Wait()
	if entries, err := os.ReadDir(dirOf(db)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, error %v", entries, err)
	}
	// With time enough it succeeds, and has all that was written.
	if result, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModeRewrite}); err != nil || result.NoOp {
		t.Errorf("%+v, error %v", result, err)
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		if got, want := string(tx.Bucket([]byte("written")).Get([]byte("00000499"))), fmt.Sprintf("%0400d", written-1); got != want {
			return fmt.Errorf("the last write is lost: %.20q…", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A limit holds for a live copy too: it is slow, and can be cancelled at once.
func TestLimit(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 8 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}, &bbolt.Options{NoSync: true})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var read int64
	_, err := db.Compact(ctx, live.CompactOptions{Mode: bolt.ModeRewrite, Pace: sdk.NewPace(4 << 20), Report: func(p sdk.Progress) { read = p.BytesRead }})
	if !errors.Is(err, sdk.ErrCancelled) || read == 0 || read > 4<<20 {
		t.Errorf("error %v after %s, want %v long before all is read", err, sdk.FormatBytes(read), sdk.ErrCancelled)
	}
}
