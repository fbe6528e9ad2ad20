package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestCockroach has stores with CockroachDB's own comparer, key schema and collectors.
// Two versions of each key share an entry of a filter: by what the tables' properties
// say, it would have half the bits per key that it has.
func TestCockroach(t *testing.T) {
	for _, format := range []pebbledb.FormatMajorVersion{pebbledb.FormatMinSupported, pebbledb.FormatVirtualSSTables, pebbledb.FormatNewest} {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			comparer := cockroachkvs.Comparer
			options := &pebbledb.Options{
				Comparer: &comparer, FormatMajorVersion: format, Logger: &events{},
				KeySchema: cockroachkvs.KeySchema.Name, KeySchemas: map[string]*pebbledb.KeySchema{cockroachkvs.KeySchema.Name: &cockroachkvs.KeySchema},
				BlockPropertyCollectors:     cockroachkvs.BlockPropertyCollectors,
				DisableAutomaticCompactions: true, MemTableSize: 256 << 10, L0StopWritesThreshold: 1 << 20,
			}
			options.Experimental.EnableValueBlocks = func() bool { return true }
			options.ApplyCompressionSettings(func() pebbledb.DBCompressionSettings { return pebbledb.DBCompressionBalanced })
			eachLevel(options, func(_ int, l *pebbledb.LevelOptions) {
				l.FilterPolicy, l.BlockSize, l.IndexBlockSize = bloom.FilterPolicy(10), 32<<10, 256<<10
			})
			path := filepath.Join(t.TempDir(), "store")
			fillVersions(t, path, options)
			mustRefuse(t, New(Config{}), path, `comparer "cockroach_comparator"`, "Config.Comparers")
			config := Config{Comparers: []*pebbledb.Comparer{&comparer}}
			mustRefuse(t, New(config), path, `key schema "crdb1"`, "Config.KeySchemas")
			config.KeySchemas = []*pebbledb.KeySchema{&cockroachkvs.KeySchema}
			mustRefuse(t, New(config), path, `block property collector "MVCCTimeInterval"`, "Config.BlockPropertyCollectors")
			config.BlockPropertyCollectors = cockroachkvs.BlockPropertyCollectors

			before := traits(t, path, options)
			digest, _, err := pebbletest.Digest(path, options)
			if err != nil {
				t.Fatal(err)
			}
			recent := newerThan(t, path, options, 100)
			result, err := New(config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if result.NoOp || result.ReclaimedBytes < result.Before.AllocatedBytes/4 {
				t.Errorf("gave back %d of %d bytes", result.ReclaimedBytes, result.Before.AllocatedBytes)
			}
			if got, _, err := pebbletest.Digest(path, options); err != nil || got != digest {
				t.Errorf("the content is another, %v", err)
			}
			after := traits(t, path, options)
			for _, name := range before.Differences(after) {
				t.Errorf("%s: %s %v, before %s %v", name, after.Names[name], after.Sizes[name], before.Names[name], before.Sizes[name])
			}
			if bits := after.Names["filter bits"]; bits != "[10]" {
				t.Errorf("filters have %s bits per key", bits)
			}
			if got := newerThan(t, path, options, 100); got != recent || got == 0 {
				t.Errorf("%d versions are new, %d were", got, recent)
			}
		})
	}
}

// fillVersions writes two versions of each key, compacts them, removes the older ones
// of half the keys, writes some again, and drops a range.
func fillVersions(t *testing.T, path string, o *pebbledb.Options) {
	t.Helper()
	db, err := pebbledb.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key := func(i int, wall uint64) []byte {
		return cockroachkvs.EncodeMVCCKey(nil, pebbletest.Key(i), wall, uint32(i%2))
	}
	rng := rand.New(rand.NewPCG(3, 5))
	set := func(i int, wall uint64) {
		value := make([]byte, 100)
		for j := 0; j < 48; j += 8 {
			binary.LittleEndian.PutUint64(value[j:], rng.Uint64())
		}
		check(db.Set(key(i, wall), value, pebbledb.NoSync))
	}
	const names = 4000
	for i := range names {
		set(i, 1+uint64(i)/100)
		set(i, 100+uint64(i)/100)
	}
	check(db.Compact(context.Background(), key(0, 0), key(names, 0), false))
	for i := range names {
		switch i % 4 {
		case 0, 1:
			check(db.Delete(key(i, 1+uint64(i)/100), pebbledb.NoSync))
		case 2:
			set(i, 1+uint64(i)/100)
		}
	}
	check(db.DeleteRange(key(1000, 0), key(2000, 0), pebbledb.NoSync))
	check(db.RangeKeySet(key(3000, 0), key(3100, 0), cockroachkvs.NewTimestampSuffix(90, 0), nil, pebbledb.NoSync))
	check(db.Flush())
	check(db.Close())
}

// newerThan counts the versions that a reader gets who passes over blocks of older ones.
func newerThan(t *testing.T, path string, o *pebbledb.Options, wall uint64) (n int) {
	t.Helper()
	o = o.Clone()
	o.ReadOnly = true
	db, err := pebbledb.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(&pebbledb.IterOptions{PointKeyFilters: []pebbledb.BlockPropertyFilter{cockroachkvs.NewMVCCTimeIntervalFilter(wall, math.MaxInt64)}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if _, version, ok := cockroachkvs.DecodeEngineKey(it.Key()); ok && len(version) > 0 && binary.BigEndian.Uint64(version) >= wall {
			n++
		}
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return n
}
