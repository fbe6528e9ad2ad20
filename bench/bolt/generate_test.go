package main

import (
	"context"
	"io"
	"os"
	"testing"

	"go.etcd.io/bbolt"
)

func TestOpenFileMakesWhatTheSpecSays(t *testing.T) {
	files, _ := specs(true, 1)
	for _, s := range files {
		t.Run(s.Name, func(t *testing.T) {
			s.Live = 3_000_000
			dir := t.TempDir()
			f, err := openFile(t.Context(), io.Discard, dir, s)
			if err != nil {
				t.Fatal(err)
			}
			if live := liveBytes(t, f.Path); live < s.Live*8/10 || live > s.Live*12/10 {
				t.Errorf("live bytes: want about %d, got %d", s.Live, live)
			}
			if f.Bytes < 2*s.Live {
				t.Errorf("%d bytes for %d live ones: there is little to reclaim", f.Bytes, s.Live)
			}
			again, err := openFile(t.Context(), io.Discard, dir, s)
			if err != nil {
				t.Fatal(err)
			}
			if *again != *f {
				t.Errorf("opened again: want %+v, got %+v", f, again)
			}
			if s.Shape == shapeEtcd {
				return // what a server writes has times in it
			}
			other, err := openFile(t.Context(), io.Discard, t.TempDir(), s)
			if err != nil {
				t.Fatal(err)
			}
			if other.Digest != f.Digest {
				t.Error("the same spec made other content")
			}
		})
	}
}

func TestOpenFileLeavesNothingWhenStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	files, _ := specs(true, 1)
	for _, s := range files {
		dir := t.TempDir()
		if _, err := openFile(ctx, io.Discard, dir, s); err == nil {
			t.Errorf("%s: want an error", s.Name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", s.Name, left, err)
		}
	}
}

func liveBytes(t *testing.T, path string) int64 {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var live int64
	var sum func(b *bbolt.Bucket) error
	sum = func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			live += int64(len(k) + len(v))
			if v == nil {
				return sum(b.Bucket(k))
			}
			return nil
		})
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return sum(b) })
	}); err != nil {
		t.Fatal(err)
	}
	return live
}
