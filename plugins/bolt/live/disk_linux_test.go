package live_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// A disk that fills up while a store is copied is given back to the application
// before that cannot write any more.
func TestDiskFillsUp(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m"); err != nil {
		bolttest.Skip(t, "mounting is refused here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "a.db")
	if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 24 << 20, GarbageRatio: 0.5, Shape: bolttest.ShapeAppend}); err != nil {
		t.Fatal(err)
	}
	db, err := live.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := os.Create(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	const left = 900 << 10 // more than what is copied until the next look, and less than a reserve
	_, err = db.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModeRewrite, Pace: sdk.NewPace(2 << 20), Report: once("copy", func() {
		free, err := replace.FreeSpace(other)
		if err == nil {
			err = unix.Fallocate(int(other.Fd()), 0, 0, free-left)
		}
		if err != nil {
			t.Error(err)
		}
	})})
	if !errors.Is(err, sdk.ErrNoSpace) || sdk.HintOf(err) == "" {
		t.Fatalf("error %v, hint %q", err, sdk.HintOf(err))
	}
	if free, err := replace.FreeSpace(other); err != nil || free < left {
		t.Errorf("%s are free, error %v; want the %s that there were", sdk.FormatBytes(free), err, sdk.FormatBytes(left))
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("written"))
		return errors.Join(err, b.Put([]byte("key"), make([]byte, left/2)))
	}); err != nil {
		t.Errorf("the application cannot write: %v", err)
	}
}
