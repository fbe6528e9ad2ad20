package pebble

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// backwards orders the keys below a directory from the last to the first: what
// follows the first slash is a suffix, the only part whose order Pebble leaves to a
// comparer.
func backwards() *pebbledb.Comparer {
	split := func(key []byte) int { return bytes.IndexByte(key, '/') + 1 }
	return &pebbledb.Comparer{
		Name: "test.backwards", Split: split,
		ComparePointSuffixes: lastFirst, CompareRangeSuffixes: lastFirst,
		Compare: func(a, b []byte) int {
			i, j := split(a), split(b)
			return cmp.Or(bytes.Compare(a[:i], b[:j]), lastFirst(a[i:], b[j:]))
		},
		AbbreviatedKey: func(key []byte) uint64 { return pebbledb.DefaultComparer.AbbreviatedKey(key[:split(key)]) },
		Separator:      func(dst, a, _ []byte) []byte { return append(dst, a...) },
		Successor:      func(dst, a []byte) []byte { return append(dst, a...) },
	}
}

// lastFirst orders suffixes from the last to the first, behind the empty one.
func lastFirst(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b))
	}
	return bytes.Compare(b, a)
}

// versioned orders keys by name, and the versions of a name, which are the last
// eight bytes after a zero, from the newest to the oldest.
func versioned() *pebbledb.Comparer {
	split := func(key []byte) int {
		if i := bytes.IndexByte(key, 0); i >= 0 {
			return i
		}
		return len(key)
	}
	return &pebbledb.Comparer{
		Name: "test.versioned", Split: split, Equal: bytes.Equal, // which the key schema is to have as well
		ComparePointSuffixes: lastFirst, CompareRangeSuffixes: lastFirst,
		Compare: func(a, b []byte) int {
			i, j := split(a), split(b)
			return cmp.Or(bytes.Compare(a[:i], b[:j]), lastFirst(a[i:], b[j:]))
		},
		AbbreviatedKey:     func(key []byte) uint64 { return pebbledb.DefaultComparer.AbbreviatedKey(key[:split(key)]) },
		Separator:          func(dst, a, _ []byte) []byte { return append(dst, a...) },
		Successor:          func(dst, a []byte) []byte { return append(dst, a...) },
		ImmediateSuccessor: func(dst, name []byte) []byte { return append(append(dst, name...), 1) },
	}
}

// versionOf is the key of a version of a name.
func versionOf(name []byte, version uint64) []byte {
	return binary.BigEndian.AppendUint64(append(slices.Clone(name), 0), version)
}

// TestOrderOfItsOwn has stores whose keys are in another order than that of
// their bytes: one taken for the other would lose keys, or bring old ones back.
func TestOrderOfItsOwn(t *testing.T) {
	names := 3000
	for name, c := range map[string]struct {
		comparer *pebbledb.Comparer
		format   pebbledb.FormatMajorVersion
		columns  bool // tables have columns, by a key schema of the comparer
		versions uint64
		mark     []byte // suffix of range keys
	}{
		"backwards": {comparer: backwards(), format: pebbledb.FormatMinSupported, versions: 0},
		"suffixes":  {comparer: versioned(), format: pebbledb.FormatMinSupported, versions: 3, mark: versionOf(nil, 2)},
		"suffixes in columns": {comparer: versioned(), format: pebbledb.FormatNewest, columns: true,
			versions: 3, mark: versionOf(nil, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			options := &pebbledb.Options{
				Comparer: c.comparer, FormatMajorVersion: c.format, Logger: &events{},
				DisableAutomaticCompactions: true, MemTableSize: 256 << 10, L0StopWritesThreshold: 1 << 20,
			}
			config := Config{Comparers: []*pebbledb.Comparer{c.comparer}}
			if c.columns {
				schema := colblk.DefaultKeySchema(c.comparer, 16)
				options.KeySchema, options.KeySchemas = schema.Name, map[string]*pebbledb.KeySchema{schema.Name: &schema}
				config.KeySchemas = []*pebbledb.KeySchema{&schema}
			}
			path := filepath.Join(t.TempDir(), "store")
			want := fillInOrder(t, path, options, names, c.versions, c.mark)
			before, _, err := pebbletest.Digest(path, options)
			if err != nil {
				t.Fatal(err)
			}

			b := New(config)
			measured := map[sdk.Depth]sdk.Fragmentation{}
			for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
				f, err := b.Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth})
				if err != nil {
					t.Fatalf("%s: %v", depth, err)
				}
				measured[depth] = f
			}
			result, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if v := result.Verification; v == nil || v.DigestBefore != v.DigestAfter || v.ItemsAfter < int64(len(want)) {
				t.Errorf("verification %+v of %d keys", v, len(want))
			}
			if result.NoOp || result.ReclaimedBytes < result.Before.AllocatedBytes/4 {
				t.Errorf("gave back %d of %d bytes", result.ReclaimedBytes, result.Before.AllocatedBytes)
			}
			for depth, f := range measured {
				if off := f.ReclaimableBytes - result.ReclaimedBytes; depth != sdk.DepthQuick && max(off, -off) > result.ReclaimedBytes/10 {
					t.Errorf("%s foretold %d bytes, %d came back", depth, f.ReclaimableBytes, result.ReclaimedBytes)
				}
			}
			if after, _, err := pebbletest.Digest(path, options); err != nil || after != before {
				t.Errorf("the content is another, %v", err)
			}
			checkOrder(t, path, options, want)
			again, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if err != nil || !again.NoOp {
				t.Errorf("the second time: %+v, %v", again, err)
			}
		})
	}
}

// fillInOrder makes a store with names, and versions of each, of which many are
// written again, deleted by themselves or in a range, and marked by range keys.
// It returns what must be in it.
func fillInOrder(t *testing.T, path string, o *pebbledb.Options, names int, versions uint64, mark []byte) map[string]string {
	t.Helper()
	o = o.Clone()
	o.ErrorIfExists = true
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
	want := map[string]string{}
	set := func(key []byte, round, i int) {
		value := fmt.Sprintf("%d of round %d, %x", i, round, bytes.Repeat(fmt.Append(nil, i*7919), 20))
		want[string(key)] = value
		check(db.Set(key, []byte(value), pebbledb.NoSync))
	}
	inOrder := func(i, j int) (first, last []byte) {
		first, last = pebbletest.Key(i), pebbletest.Key(j)
		if o.Comparer.Compare(first, last) > 0 {
			return last, first
		}
		return first, last
	}
	for round := range 3 {
		for i := range names {
			if round > 0 && i%3 != 0 {
				continue
			}
			set(pebbletest.Key(i), round, i)
			for v := range versions {
				set(versionOf(pebbletest.Key(i), v), round, i)
			}
		}
		if round == 0 {
			first, last := inOrder(0, names)
			check(db.Compact(context.Background(), first, last, false))
		}
	}
	for i := 1; i < names; i += 3 {
		check(db.Delete(pebbletest.Key(i), pebbledb.NoSync))
		delete(want, string(pebbletest.Key(i)))
	}
	first, last := inOrder(names/4, names/2)
	check(db.DeleteRange(first, last, pebbledb.NoSync))
	for key := range want {
		if o.Comparer.Compare([]byte(key), first) >= 0 && o.Comparer.Compare([]byte(key), last) < 0 {
			delete(want, key)
		}
	}
	first, last = inOrder(names/2, names/2+100)
	if n := o.Comparer.Split(first); n < len(first) { // range keys cover whole prefixes
		first, last = first[:n], append(first[:n-1:n-1], first[n-1]+1, '/')
	}
	check(db.RangeKeySet(first, last, mark, []byte("mark"), pebbledb.NoSync))
	check(db.Flush())
	check(db.Close())
	return want
}

// checkOrder makes sure that a store has those keys, in the comparer's order.
func checkOrder(t *testing.T, path string, o *pebbledb.Options, want map[string]string) {
	t.Helper()
	o = o.Clone()
	o.ReadOnly = true
	db, err := pebbledb.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := 0
	var previous []byte
	for it.First(); it.Valid(); it.Next() {
		n++
		if value, ok := want[string(it.Key())]; !ok || value != string(it.Value()) {
			t.Fatalf("key %q has %q, want %q", it.Key(), it.Value(), value)
		}
		if previous != nil && o.Comparer.Compare(previous, it.Key()) >= 0 {
			t.Fatalf("%q comes after %q", it.Key(), previous)
		}
		previous = append(previous[:0], it.Key()...)
	}
	if err := it.Error(); err != nil || n != len(want) {
		t.Errorf("%d keys, want %d; %v", n, len(want), err)
	}
	for key := range want {
		if !it.SeekGE([]byte(key)) || string(it.Key()) != key {
			t.Fatalf("%q is not found", key)
		}
	}
}
