package live_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

func openGenerated(t *testing.T, spec bolttest.Spec, options *bbolt.Options) *live.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	if err := bolttest.Generate(path, spec); err != nil {
		t.Fatal(err)
	}
	db, err := live.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func dirOf(db *live.DB) string { return filepath.Dir(db.Path()) }

// needHoles skips where the file system cannot make holes, which is told.
func needHoles(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, sdk.ErrUnsupported) {
		bolttest.Skip(t, "no holes here: %v", err)
	}
}

// Holes are made while readers overlap, so that there is always one, and writers
// go on; nothing is lost.
func TestPunchUnderLoad(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 8 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}, &bbolt.Options{NoSync: true})
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	var written atomic.Int64
	load.Go(func() {
		for ctx.Err() == nil {
			n := written.Load()
			if err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("written"))
				if err != nil {
					return err
				}
				return b.Put(fmt.Appendf(nil, "%08d", n), make([]byte, 500))
			}); err != nil {
				t.Error(err)
				return
			}
			written.Add(1)
		}
	})
	begun := make(chan struct{}, 2)
	for range 2 {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := db.View(func(tx *bbolt.Tx) error {
					n := written.Load()
					select { // until the other one reads, too
					case begun <- struct{}{}:
					case <-begun:
					case <-ctx.Done():
					}
					if b := tx.Bucket([]byte("written")); b != nil && int64(b.Stats().KeyN) > n+1 {
						return errors.New("a reader sees what was written later")
					}
					return nil
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	result, err := db.Compact(ctx, live.CompactOptions{Mode: bolt.ModePunch})
	cancel()
	load.Wait()
	needHoles(t, err)
	if err != nil || result.Mode != bolt.ModePunch || result.NoOp || result.ReclaimedBytes < 4<<20 {
		t.Fatalf("%+v, error %v", result, err)
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		for i := range written.Load() {
			if len(tx.Bucket([]byte("written")).Get(fmt.Appendf(nil, "%08d", i))) != 500 {
				return fmt.Errorf("write %d of %d is lost", i, written.Load())
			}
		}
		for err := range tx.Check() {
			return err
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// What a reader sees stays where it is, however long it reads; and with nobody
// writing the content is compared.
func TestPunchSparesReaders(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 4 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}, nil)
	tx, err := db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	keys := func() (n int) {
		if err := tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			n += b.Inspect().KeyN
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := keys()
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error { return tx.DeleteBucket(name) })
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := db.Compact(ctx, live.CompactOptions{Mode: bolt.ModePunch}); !errors.Is(err, sdk.ErrCancelled) {
		needHoles(t, err)
		t.Errorf("error %v, want %v", err, sdk.ErrCancelled)
	}
	if after := keys(); after != before || before == 0 {
		t.Errorf("the reader finds %d keys, had %d", after, before)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	result, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModePunch})
	if err != nil || result.NoOp || result.ReclaimedBytes < 8<<20 || result.Verification == nil {
		t.Errorf("%+v, error %v", result, err)
	}
	again, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModePunch})
	if err != nil || !again.NoOp {
		t.Errorf("once more: %+v, error %v", again, err)
	}
}

// A reader that began while a rewrite kept bbolt from writing its freelist sees
// pages that are free and of which no list tells; the last of them to be freed may
// be fewer than a freelist takes.
func TestPunchSparesReadersOfARewrite(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.9, Shape: bolttest.ShapeAppend, PageSize: 1 << 10}, &bbolt.Options{NoSync: true, InitialMmapSize: 1 << 28})
	put := func(value []byte) {
		t.Helper()
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("big"))
			return errors.Join(err, b.Put([]byte("big"), value))
		}); err != nil {
			t.Error(err)
		}
	}
	big := bytes.Repeat([]byte("A"), 8000)
	put(big)
	ctx, cancel := context.WithCancel(context.Background())
	var reader *bbolt.Tx
	_, err := db.Compact(ctx, live.CompactOptions{Mode: bolt.ModeRewrite, Report: func(p sdk.Progress) {
		if p.Phase != "copy" || reader != nil {
			return
		}
		put(big)
		put(big)
		var err error
		if reader, err = db.Begin(false); err != nil {
			t.Error(err)
		}
		put([]byte("small")) // frees what the reader sees
		cancel()
	}})
	if !errors.Is(err, sdk.ErrCancelled) || reader == nil {
		t.Fatalf("error %v, reader %v", err, reader)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := db.Compact(ctx, live.CompactOptions{Mode: bolt.ModePunch, MinRun: 1 << 10}); !errors.Is(err, sdk.ErrCancelled) {
		needHoles(t, err)
		t.Errorf("error %v, want %v: there is a reader", err, sdk.ErrCancelled)
	}
	if got := reader.Bucket([]byte("big")).Get([]byte("big")); !bytes.Equal(got, big) {
		t.Errorf("the reader sees %.20q", got)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	result, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModePunch, MinRun: 1 << 10})
	if err != nil || result.NoOp || result.Verification == nil {
		t.Errorf("%+v, error %v", result, err)
	}
}

// Without a freelist nobody knows what is free while the store is in use.
func TestPunchNeedsAFreelist(t *testing.T) {
	db := openGenerated(t, bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend, NoFreelistSync: true}, &bbolt.Options{NoFreelistSync: true})
	if _, err := db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModePunch}); !errors.Is(err, sdk.ErrUnsupported) || sdk.HintOf(err) == "" {
		t.Errorf("error %v, hint %q", err, sdk.HintOf(err))
	}
}
