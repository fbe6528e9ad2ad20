package bolttest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// Digest sums up a file's content: buckets, sequences, keys and values in
// order, whatever pages they lie on. It reads through bbolt, under a shared
// lock, and fails when bbolt's own check does.
//
// It has nothing in common with the digest that a compaction reports, so that
// either can be held against the other.
func Digest(path string) (string, error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{
		ReadOnly: true, Timeout: 5 * time.Second,
		OpenFile: func(path string, _ int, _ os.FileMode) (*os.File, error) { return os.Open(path) },
	})
	if err != nil {
		return "", fmt.Errorf("digest %s: %w", path, err)
	}
	defer db.Close()
	sum := sha256.New()
	if err := db.View(func(tx *bbolt.Tx) error {
		var unsound error
		for err := range tx.Check() {
			unsound = err
		}
		if unsound != nil {
			return unsound
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return digestBucket(sum, name, b)
		})
	}); err != nil {
		return "", fmt.Errorf("digest %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func digestBucket(sum hash.Hash, name []byte, b *bbolt.Bucket) error {
	fmt.Fprintf(sum, "{%d:%s #%d\n", len(name), name, b.Sequence())
	if err := b.ForEach(func(k, v []byte) error {
		if v == nil {
			return digestBucket(sum, k, b.Bucket(k))
		}
		fmt.Fprintf(sum, "%d:%s=%d:%s\n", len(k), k, len(v), v)
		return nil
	}); err != nil {
		return err
	}
	fmt.Fprintln(sum, "}")
	return nil
}
