package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"

	"go.etcd.io/bbolt"
)

// items is the bucket that fill and load use.
const items = "items"

func fillMain(ctx context.Context, args []string) error {
	var c fillConfig
	flags := flag.NewFlagSet("fill", flag.ExitOnError)
	flags.StringVar(&c.db, "db", "", "the bbolt `file` to make")
	flags.IntVar(&c.keys, "keys", 300_000, "put so many keys, with values of about 512 bytes")
	flags.Float64Var(&c.remove, "remove", 0.5, "then remove such a `share` of them, at random")
	flags.Uint64Var(&c.seed, "seed", 1, "where the randomness begins: the same seed makes the same store")
	parse(flags, args)
	return fill(ctx, c)
}

type fillConfig struct {
	db     string
	keys   int
	remove float64
	seed   uint64
}

// perTransaction is how many keys fill writes at a time.
const perTransaction = 10_000

// fill makes a store. An ordinary *bbolt.DB does for that.
func fill(ctx context.Context, c fillConfig) (err error) {
	if _, err := os.Lstat(c.db); err == nil {
		return fmt.Errorf("make %s: it is there already", c.db)
	}
	db, err := bbolt.Open(c.db, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		return fmt.Errorf("make %s: %w", c.db, err)
	}
	defer db.Close()
	random := rand.New(rand.NewPCG(c.seed, 0))
	each := func(change func(bucket *bbolt.Bucket, key int) error) error {
		for first := 0; first < c.keys && ctx.Err() == nil; first += perTransaction {
			if err := db.Update(func(tx *bbolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists([]byte(items))
				for key := first; key < min(first+perTransaction, c.keys) && err == nil; key++ {
					err = change(bucket, key)
				}
				return err
			}); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	if err := each(func(bucket *bbolt.Bucket, key int) error {
		bucket.FillPercent = 0.9 // keys come in order: no page is written to again
		return put(bucket, []byte(keyName(key)), value(key, 0))
	}); err != nil {
		return err
	}
	if err := each(func(bucket *bbolt.Bucket, key int) error {
		if random.Float64() >= c.remove {
			return nil
		}
		return remove(bucket, []byte(keyName(key)))
	}); err != nil {
		return err
	}
	if err := db.Sync(); err != nil {
		return err
	}
	return db.Close()
}

func keyName(key int) string { return fmt.Sprintf("item-%08d", key) }

// value of a key in one of its versions: it begins with both, so that whoever
// reads it can tell whether it is whole. It has 256 to 767 bytes.
func value(key int, v version) []byte {
	random := rand.New(rand.NewPCG(uint64(key), uint64(v)))
	b := fmt.Appendf(make([]byte, 0, 768), "%d %d ", key, v)
	for size := 256 + random.IntN(512); len(b) < size; {
		b = append(b, byte('a'+random.IntN(26)))
	}
	return b
}

// versionOf says which version of a key a value is; ok is false when it is none.
func versionOf(key int, b []byte) (v version, ok bool) {
	var of int
	if _, err := fmt.Sscanf(string(b), "%d %d ", &of, &v); err != nil || of != key || v < 0 {
		return 0, false
	}
	return v, bytes.Equal(b, value(key, v))
}
