package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"example.com/pebble-plugin/mvcc"
)

const (
	accounts = 1500
	versions = 6
	// horizon is the time before which older versions are of no use.
	horizon = 3
)

// applicationOptions are what the application opens its stores with.
func applicationOptions(format pebble.FormatMajorVersion) *pebble.Options {
	o := &pebble.Options{
		Comparer:                    mvcc.Comparer,
		Merger:                      mvcc.Sum,
		BlockPropertyCollectors:     mvcc.Collectors,
		FormatMajorVersion:          format,
		DisableAutomaticCompactions: true, // in the tests: so that there is something to do
		L0StopWritesThreshold:       1 << 20,
		MemTableSize:                128 << 10,
		Logger:                      silent{},
	}
	o.Experimental.EnableValueBlocks = func() bool { return true }
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(14)
		o.Levels[i].BlockSize, o.Levels[i].IndexBlockSize = 2<<10, 256
		o.Levels[i].Compression = func() *block.CompressionProfile { return block.SnappyCompression }
	}
	o.Levels[6].Compression = func() *block.CompressionProfile { return block.ZstdCompression }
	o.TargetFileSizes[0], o.TargetFileSizes[1] = 64<<10, 64<<10
	return o
}

// silent drops what Pebble says.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func account(i int) string { return fmt.Sprintf("account/%05d", i) }

// makeStore writes versions of accounts and a counter for each, compacts them, and then
// does what leaves dead space behind: it removes versions before the horizon, sets
// others again, goes on counting, drops accounts in a range and marks some as gone.
func makeStore(t *testing.T, format pebble.FormatMajorVersion) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	db, err := pebble.Open(path, applicationOptions(format))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(uint64(format), 1))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	value := func() []byte {
		v := make([]byte, 40+rng.IntN(80))
		for i := 0; i < len(v)/2; i += 8 {
			binary.LittleEndian.PutUint64(v[i:], rng.Uint64())
		}
		return v
	}
	version := func(i, v int) []byte {
		return mvcc.Key(account(i), mvcc.Time{Wall: uint64(v), Logical: uint32(i % 3)})
	}
	everything := func() { must(db.Compact(context.Background(), []byte("account/"), []byte("account0"), false)) }
	for i := range accounts {
		for v := range versions {
			must(db.Set(version(i, v), value(), pebble.NoSync))
		}
		must(db.Merge(mvcc.Unversioned(account(i)), mvcc.Int(int64(i)), pebble.NoSync))
	}
	everything()
	for i := range accounts {
		for v := range horizon {
			must(db.Delete(version(i, v), pebble.NoSync))
		}
		if i%4 == 0 {
			must(db.Set(version(i, versions-1), value(), pebble.NoSync))
		}
		must(db.Merge(mvcc.Unversioned(account(i)), mvcc.Int(1000), pebble.NoSync))
	}
	must(db.DeleteRange(mvcc.Unversioned(account(200)), mvcc.Unversioned(account(300)), pebble.NoSync))
	must(db.RangeKeySet(mvcc.Unversioned(account(400)), mvcc.Unversioned(account(450)), mvcc.Suffix(mvcc.Time{Wall: versions}), nil, pebble.NoSync))
	must(db.Flush())
	must(db.Close())
	return path
}

// checkStore reads the store as the application does: its counters, a point in time
// for each account, and what is new.
func checkStore(t *testing.T, path string, format pebble.FormatMajorVersion) {
	t.Helper()
	o := applicationOptions(format)
	o.ReadOnly = true
	db, err := pebble.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for i := range accounts {
		dropped := i >= 200 && i < 300
		counter, closer, err := db.Get(mvcc.Unversioned(account(i)))
		if dropped {
			if !errors.Is(err, pebble.ErrNotFound) {
				t.Errorf("%s was dropped: %v", account(i), err)
			}
			continue
		}
		if err != nil || !bytes.Equal(counter, mvcc.Int(int64(i+1000))) {
			t.Fatalf("the counter of %s is %x, %v", account(i), counter, err)
		}
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
		// The last version at the time 4, whatever its logical part.
		if !it.SeekGE(mvcc.Key(account(i), mvcc.Time{Wall: 4, Logical: 9})) {
			t.Fatalf("%s has no version of the time 4: %v", account(i), it.Error())
		}
		if name, at, versioned := mvcc.Decode(it.Key()); name != account(i) || !versioned || at.Wall != 4 {
			t.Fatalf("%s at the time 4 is %s", account(i), mvcc.Comparer.FormatKey(it.Key()))
		}
	}
	if blocks, all := since(t, db, 7), since(t, db, 0); blocks != 0 || all == 0 {
		t.Errorf("a reader of what is new is shown %d versions of %d, though there is nothing new", blocks, all)
	}
}

// since counts the versions that a reader is shown who passes over older blocks.
func since(t *testing.T, db *pebble.DB, wall uint64) (n int) {
	t.Helper()
	it, err := db.NewIter(&pebble.IterOptions{PointKeyFilters: []pebble.BlockPropertyFilter{mvcc.Between(wall, 1<<62)}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if _, _, versioned := mvcc.Decode(it.Key()); versioned {
			n++
		}
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return n
}
