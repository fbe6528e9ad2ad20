// Package bolttest makes bbolt files to test and demonstrate compaction with:
// of chosen shapes, the same bytes of content for the same seed, and with
// about as much garbage in them as asked for.
package bolttest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// Shape is what the content of a file looks like and how it came to be.
type Shape string

const (
	// ShapeRandom has small values under random keys, inserted and deleted in
	// random order: most pages stay in use and are half empty.
	ShapeRandom Shape = "random"
	// ShapeAppend has ascending keys of which the oldest were deleted, as in a
	// queue or a log: whole pages are free.
	ShapeAppend Shape = "append"
	// ShapeNested has many buckets within buckets, some so small that they lie
	// within their parent's page, with sequences, and empty ones.
	ShapeNested Shape = "nested"
	// ShapeBigValues has values from 1 KiB to 64 KiB.
	ShapeBigValues Shape = "bigvalues"
	// ShapeDeep has buckets nested 40 deep, with values at each depth.
	ShapeDeep Shape = "deep"
	// ShapeDense has ascending keys, put into pages that are nine tenths full.
	ShapeDense Shape = "dense"
	// ShapeOneKey has a bucket with one key. LiveBytes does not matter.
	ShapeOneKey Shape = "onekey"
	// ShapeEmpty has no bucket. LiveBytes does not matter.
	ShapeEmpty Shape = "empty"
)

// Shapes are all of them.
func Shapes() []Shape {
	return []Shape{
		ShapeRandom, ShapeAppend, ShapeNested, ShapeBigValues,
		ShapeDeep, ShapeDense, ShapeOneKey, ShapeEmpty,
	}
}

// Spec of a file.
type Spec struct {
	Seed uint64
	// LiveBytes of keys and values remain, about. 0 for 1 MiB.
	LiveBytes int64
	// GarbageRatio is the part of all that was written that is deleted again,
	// 0 to below 1.
	GarbageRatio float64
	// Shape is ShapeRandom when empty.
	Shape Shape
	// PageSize in bytes; 0 for 4 KiB, whatever the system's is.
	PageSize       int
	NoFreelistSync bool
}

// A transaction puts or deletes this much content, or this part of all of it
// where that is more.
const (
	batchBytes = 2 << 20
	batchShare = 1.0 / 16
)

// Generate makes a file that does not exist yet.
func Generate(path string, spec Spec) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("generate %s: it exists", path)
	}
	if spec.GarbageRatio < 0 || spec.GarbageRatio >= 1 {
		return fmt.Errorf("generate %s: a garbage ratio of %g is not from 0 to below 1", path, spec.GarbageRatio)
	}
	if spec.LiveBytes == 0 {
		spec.LiveBytes = 1 << 20
	}
	if spec.PageSize == 0 {
		spec.PageSize = 4 << 10
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		PageSize: spec.PageSize, NoFreelistSync: spec.NoFreelistSync, NoSync: true,
		FreelistType: bbolt.FreelistMapType, Timeout: time.Second,
	})
	if err != nil {
		return fmt.Errorf("generate %s: %w", path, err)
	}
	g := &generator{
		db: db, spec: spec, random: rand.New(rand.NewPCG(spec.Seed, 0)), fill: bbolt.DefaultFillPercent,
		total: int64(float64(spec.LiveBytes) / (1 - spec.GarbageRatio)),
	}
	g.batch = max(batchBytes, int64(batchShare*float64(g.total)))
	err = g.run()
	if syncErr := db.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("generate %s: %w", path, err)
	}
	return nil
}

type generator struct {
	db     *bbolt.DB
	spec   Spec
	random *rand.Rand
	fill   float64
	total  int64 // bytes to put, garbage included
	batch  int64 // bytes in a transaction

	tx      *bbolt.Tx
	pending int64
}

func (g *generator) run() error {
	switch g.spec.Shape {
	case ShapeRandom, "":
		return g.flat("random", g.randomKey, 40, 400, true)
	case ShapeAppend:
		return g.flat("append", ascendingKey, 40, 400, false)
	case ShapeBigValues:
		return g.flat("bigvalues", g.randomKey, 1<<10, 64<<10, true)
	case ShapeDense:
		g.fill = 0.9
		return g.flat("dense", ascendingKey, 40, 400, false)
	case ShapeNested:
		return g.nested()
	case ShapeDeep:
		return g.deep()
	case ShapeOneKey:
		return g.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("bucket"))
			if err != nil {
				return err
			}
			return b.Put([]byte("key"), []byte("value"))
		})
	case ShapeEmpty:
		return nil
	}
	return fmt.Errorf("there is no shape %q", g.spec.Shape)
}

func (g *generator) randomKey(int) []byte {
	key := make([]byte, 16, 24)
	binary.BigEndian.PutUint64(key, g.random.Uint64())
	binary.BigEndian.PutUint64(key[8:], g.random.Uint64())
	return key[:16+g.random.IntN(8)]
}

func ascendingKey(i int) []byte {
	return binary.BigEndian.AppendUint64([]byte("event/"), uint64(i))
}

// value makes one of a length between least and most, of text that is not all
// the same.
func (g *generator) value(least, most int) []byte {
	b := make([]byte, least+g.random.IntN(most-least+1))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], g.random.Uint64())
	}
	return b
}

// batched runs f in the current transaction, and commits when that holds
// enough. It says how many bytes f has put or deleted.
func (g *generator) batched(size int, f func(tx *bbolt.Tx) error) (err error) {
	if g.tx == nil {
		if g.tx, err = g.db.Begin(true); err != nil {
			return err
		}
	}
	if err := f(g.tx); err != nil {
		return err
	}
	if g.pending += int64(size); g.pending >= g.batch {
		return g.commit()
	}
	return nil
}

func (g *generator) commit() error {
	if g.tx == nil {
		return nil
	}
	tx := g.tx
	g.tx, g.pending = nil, 0
	return tx.Commit()
}

// flat fills one bucket, then deletes the garbage: at random, or the oldest.
func (g *generator) flat(name string, key func(i int) []byte, least, most int, anywhere bool) error {
	var (
		keys  [][]byte
		sizes []int
		put   int64
	)
	for i := 0; put < g.total; i++ {
		k, v := key(i), g.value(least, most)
		keys, sizes = append(keys, k), append(sizes, len(k)+len(v))
		put += int64(len(k) + len(v))
		if err := g.batched(len(k)+len(v), func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			b.FillPercent = g.fill
			return b.Put(k, v)
		}); err != nil {
			return err
		}
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	if anywhere {
		g.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	left := put
	for _, i := range order {
		if left <= g.spec.LiveBytes {
			break
		}
		left -= int64(sizes[i])
		if err := g.batched(sizes[i], func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(name)).Delete(keys[i])
		}); err != nil {
			return err
		}
	}
	return g.commit()
}
