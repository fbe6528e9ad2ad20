package engine

import (
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// StandardFilterBits is what Pebble's documentation recommends, and what a
	// store gets whose tables do not tell.
	StandardFilterBits = 10
	// maxFilterBits is how many bits per key are tried.
	maxFilterBits = 128
	// filterTrailer is what follows a bloom filter's cache lines: a byte for how many
	// probes there are, and four for how many lines.
	filterTrailer = 5
)

// BloomName is what tables call Pebble's own filters, whatever their size.
func BloomName() string { return bloom.FilterPolicy(StandardFilterBits).Name() }

// HasBloom says whether the table has one of Pebble's own filters, with keys in it.
func (t Table) HasBloom() bool {
	return t.Props.FilterPolicyName == BloomName() && t.Props.FilterSize > filterTrailer && t.Keys() > 0
}

// FilterBits finds the bits per key of the tables' bloom filters by the tables'
// properties alone. It is 0 where these leave it open: no table has a filter, or keys
// share an entry in it.
func FilterBits(levels [][]Table, comparer *pebbledb.Comparer) int {
	var best *Table
	for _, level := range levels {
		for i, t := range level {
			if t.HasBloom() && (best == nil || t.Keys() > best.Keys()) {
				best = &level[i]
			}
		}
	}
	if best == nil || best.Props.SnapshotPinnedKeys > 0 || comparer.Split(best.Largest) < len(best.Largest) {
		return 0
	}
	return BloomFilter{Keys: best.Keys(), Size: best.Props.FilterSize}.Bits()
}

// BloomFilter is what a table's filter tells of how it was made.
type BloomFilter struct {
	Keys   uint64 // of which it was made: prefixes by the comparer's Split, each once
	Size   uint64 // of the block, in bytes
	Probes int    // how many bits each key has; 0 for unknown
}

// ReadBloomFilter reads a table that has one. It reads all keys: several versions of
// one share an entry, and no property counts entries.
func ReadBloomFilter(ctx context.Context, file vfs.File, r *sstable.Reader, split pebbledb.Split) (BloomFilter, error) {
	layout, err := r.Layout()
	if err != nil {
		return BloomFilter{}, err
	}
	block, ok := layout.FilterByName("fullfilter." + BloomName())
	if !ok || block.Length < filterTrailer {
		return BloomFilter{}, fmt.Errorf("the filter of %d bytes is none of Pebble's", block.Length)
	}
	probes := make([]byte, 1)
	if _, err := file.ReadAt(probes, int64(block.Offset+block.Length-filterTrailer)); err != nil {
		return BloomFilter{}, err
	}
	f := BloomFilter{Size: block.Length, Probes: int(probes[0])}
	f.Keys, err = countPrefixes(ctx, r, split)
	return f, err
}

func countPrefixes(ctx context.Context, r *sstable.Reader, split pebbledb.Split) (n uint64, err error) {
	it, err := r.NewPointIter(ctx, sstable.IterOptions{
		Transforms:           sstable.NoTransforms,
		FilterBlockSizeLimit: sstable.NeverUseFilterBlock,
		ReaderProvider:       sstable.MakeTrivialReaderProvider(r),
		BlobContext:          sstable.DebugHandlesBlobContext, // values are not read
	})
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	var last []byte
	for kv := it.First(); kv != nil; kv = it.Next() {
		prefix := kv.K.UserKey[:split(kv.K.UserKey)]
		if n == 0 || string(prefix) != string(last) {
			n++
			last = append(last[:0], prefix...)
		}
	}
	return n, it.Error()
}

// Bits per key that the filter was made with. A filter has whole cache lines and an
// odd number of them, so that one of few keys fits several numbers; of these it is
// the usual one, or else the highest. Where none fits it is what the size comes to.
func (f BloomFilter) Bits() int {
	fits := func(bits int) bool {
		return f.Size == bloomSize(f.Keys, uint64(bits)) && (f.Probes == 0 || f.Probes == bloomProbes(bits))
	}
	if fits(StandardFilterBits) {
		return StandardFilterBits
	}
	for bits := maxFilterBits; bits > 0; bits-- {
		if fits(bits) {
			return bits
		}
	}
	return max(1, int(float64(f.Size)*8/float64(max(1, f.Keys))+0.5))
}

// bloomSize is what Pebble's bloom filter takes for so many keys, in bytes.
func bloomSize(keys, bits uint64) uint64 {
	lines := (keys*bits + 511) / 512
	if lines%2 == 0 {
		lines++
	}
	return lines*64 + filterTrailer
}

// bloomProbes is how many bits Pebble's bloom filter sets for each key.
func bloomProbes(bits int) int { return min(max(1, int(float64(bits)*0.69)), 30) }
