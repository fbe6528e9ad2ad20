package engine

import (
	"fmt"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// made is a filter of Pebble's, and what it tells.
func made(bits, keys int) (string, BloomFilter) {
	w := bloom.FilterPolicy(bits).NewWriter(pebbledb.TableFilter)
	for i := range keys {
		w.AddKey(fmt.Appendf(nil, "key %d", i))
	}
	block := w.Finish(nil)
	return string(block), BloomFilter{Keys: uint64(keys), Size: uint64(len(block)), Probes: int(block[len(block)-filterTrailer])}
}

// TestBloomFilterBits has filters made by Pebble: the bits per key that are found give
// the same filter again, and are the right ones where there are enough keys to tell.
func TestBloomFilterBits(t *testing.T) {
	for _, keys := range []int{1, 10, 100, 1100} {
		for bits := 1; bits <= 64; bits++ {
			block, f := made(bits, keys)
			found := f.Bits()
			if again, _ := made(found, keys); again != block {
				t.Fatalf("%d bits for each of %d keys are taken for %d, which give another filter", bits, keys, found)
			}
			if keys > 1000 && found != bits {
				t.Errorf("%d bits for each of %d keys are taken for %d", bits, keys, found)
			}
		}
	}
	if _, f := made(11, 3); f.Bits() != 11 {
		t.Errorf("11 bits for each of 3 keys are taken for %d", f.Bits())
	}
	// Of another make: no bits per key give so many bytes.
	if bits := (BloomFilter{Keys: 1000, Size: 2000}).Bits(); bits != 16 {
		t.Errorf("2000 bytes for 1000 keys are %d bits per key", bits)
	}
}

// TestFilterBits has tables whose properties tell the bits per key, and others.
func TestFilterBits(t *testing.T) {
	table := func(key string, keys, filter, pinned uint64, policy string) []Table {
		p := &sstable.Properties{FilterPolicyName: policy, FilterSize: filter, SnapshotPinnedKeys: pinned}
		p.NumEntries = keys
		return []Table{{Largest: []byte(key), Props: p}}
	}
	half := *pebbledb.DefaultComparer
	half.Split = func(key []byte) int { return len(key) / 2 }
	_, f := made(12, 5000)
	for name, c := range map[string]struct {
		tables   []Table
		comparer *pebbledb.Comparer
		want     int
	}{
		"known":               {table("key", 5000, f.Size, 0, BloomName()), pebbledb.DefaultComparer, 12},
		"none":                {table("key", 5000, 0, 0, ""), pebbledb.DefaultComparer, 0},
		"without keys":        {table("key", 0, filterTrailer, 0, BloomName()), pebbledb.DefaultComparer, 0},
		"of another make":     {table("key", 5000, f.Size, 0, "acme"), pebbledb.DefaultComparer, 0},
		"versions of a key":   {table("key", 5000, f.Size, 1, BloomName()), pebbledb.DefaultComparer, 0},
		"versions of a name":  {table("key", 5000, f.Size, 0, BloomName()), &half, 0},
		"the largest decides": {append(table("key", 5000, f.Size, 0, BloomName()), table("key", 10, 69, 0, BloomName())...), pebbledb.DefaultComparer, 12},
	} {
		if bits := FilterBits([][]Table{nil, c.tables}, c.comparer); bits != c.want {
			t.Errorf("%s: %d bits, want %d", name, bits, c.want)
		}
	}
}
