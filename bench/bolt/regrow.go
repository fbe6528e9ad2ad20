package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/sdk"
)

// regrowth is how a compacted file grows again, for each fill of its pages. The
// smaller the largest that it becomes, the better was the fill for what came.
type regrowth struct {
	File   string `json:"file"`
	Insert string `json:"insert"`
	// Keys in a transaction.
	Transaction int            `json:"keys_per_transaction"`
	Leaves      leaves         `json:"source_leaves"`
	Fills       []regrowthFill `json:"fills"`
}

// regrowthFill has high-water marks, in bytes.
type regrowthFill struct {
	Fill      float64 `json:"fill_percent"`
	Compacted int64   `json:"compacted_bytes"`
	Grown     int64   `json:"grown_bytes"`
}

// regrowLive is how large the files are, in bytes of keys and values.
const regrowLive = 50_000_000

// What is inserted into a compacted file.
const (
	insertRandom = "+10 % random keys"
	insertAppend = "+10 % appended keys"
)

func (b *bench) measureRegrowth(ctx context.Context) ([]regrowth, error) {
	var found []regrowth
	for _, shape := range []shape{shapeRandom, shapeAppend} {
		s := spec{Name: string(shape), Shape: shape, Live: regrowLive, Seed: b.seed}
		percents := []int{50, 60, 70, 80, 85, 90, 95, 100}
		if b.quick {
			s.Live, percents = s.Live/25, []int{50, 90, 100}
		}
		f, err := openFile(ctx, b.progress, filepath.Join(b.out, "data"), s)
		if err != nil {
			return nil, err
		}
		source, err := measureLeaves(f.Path)
		if err != nil {
			return nil, err
		}
		cases := make([]regrowth, 0, 4)
		for _, insert := range []string{insertRandom, insertAppend} {
			for _, keys := range []int{10, 1000} {
				cases = append(cases, regrowth{File: f.Name, Insert: insert, Transaction: keys, Leaves: source})
			}
		}
		for _, percent := range percents {
			fmt.Fprintf(b.progress, "regrowth of %s, fill %d %%\n", f.Name, percent)
			if err := b.regrow(ctx, f, float64(percent)/100, cases); err != nil {
				return nil, err
			}
		}
		found = append(found, cases...)
	}
	return found, nil
}

// regrow compacts a copy of f to a fill, and lets a copy of that grow for each
// case.
func (b *bench) regrow(ctx context.Context, f *file, fill float64, cases []regrowth) error {
	dir := filepath.Join(b.work, "regrow")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	compacted, grown := filepath.Join(dir, "compacted.db"), filepath.Join(dir, "grown.db")
	if _, err := command(ctx, "cp", plainCopy, f.Path, compacted).output(); err != nil {
		return err
	}
	request := sdk.CompactRequest{Store: sdk.Store{Path: compacted}, Options: sdk.Options{"fill_percent": fill}}
	result, err := sdk.Guard(bolt.New()).Compact(ctx, request, func(sdk.Progress) {})
	if err != nil {
		return err
	}
	if result.NoOp {
		return fmt.Errorf("compact %s to a fill of %g: %s", f.Path, fill, result.Note)
	}
	before, err := openImage(compacted)
	if err != nil {
		return err
	}
	for i := range cases {
		if _, err := command(ctx, "cp", plainCopy, compacted, grown).output(); err != nil {
			return err
		}
		if err := grow(ctx, grown, f.spec, cases[i]); err != nil {
			return err
		}
		after, err := openImage(grown)
		if err != nil {
			return err
		}
		cases[i].Fills = append(cases[i].Fills, regrowthFill{Fill: fill, Compacted: before.highWater(), Grown: after.highWater()})
	}
	return nil
}

// grow inserts a tenth of what lives in a file.
func grow(ctx context.Context, path string, s spec, c regrowth) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	defer db.Close()
	g := &generator{ctx: ctx, db: db, spec: spec{Seed: s.Seed + 1}}
	key := func(i uint64) []byte { return g.key(g.hash(i, forKey)) }
	switch {
	case c.Insert == insertAppend && s.Shape == shapeAppend:
		key = func(i uint64) []byte { return ascendingKey(1<<40 + i) }
	case c.Insert == insertAppend:
		key = func(i uint64) []byte {
			return binary.BigEndian.AppendUint64([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"), i)
		}
	case s.Shape == shapeAppend:
		// Between the keys that are there, which differ in their last bytes.
		all := uint64(2 * s.Live / appendAverage)
		key = func(i uint64) []byte {
			h := g.hash(i, forKey)
			return binary.BigEndian.AppendUint64(ascendingKey(all/2+h%(all/2)), h)
		}
	}
	return g.inTurn(uint64(s.Live/10/appendAverage), uint64(c.Transaction), func(tx *bbolt.Tx, i uint64) error {
		return tx.Bucket([]byte(s.Shape)).Put(key(i), g.value(i, leastValue, mostValue))
	})
}
