package engine

import (
	"github.com/cockroachdb/pebble/v2/bloom"
)

// StandardFilterBits is what Pebble's documentation recommends, and what a
// store gets whose tables do not tell.
const StandardFilterBits = 10

// BloomName is what tables call Pebble's own filters, whatever their size.
func BloomName() string { return bloom.FilterPolicy(StandardFilterBits).Name() }

// FilterBits finds the bits per key of the tables' bloom filters, or 0 where no
// table has one. A filter has whole cache lines and an odd number of them, so
// that the largest table tells best.
func FilterBits(levels [][]Table) int {
	var best *Table
	for _, level := range levels {
		for i, t := range level {
			if t.Props.FilterPolicyName == BloomName() && t.Props.NumEntries > 0 &&
				(best == nil || t.Keys() > best.Keys()) {
				best = &level[i]
			}
		}
	}
	if best == nil {
		return 0
	}
	fits := func(bits int) bool { return bloomSize(best.Keys(), uint64(bits)) == best.Props.FilterSize }
	if fits(StandardFilterBits) {
		return StandardFilterBits
	}
	for bits := 1; bits <= 64; bits++ {
		if fits(bits) {
			return bits
		}
	}
	// Several versions of a key share a filter's entry.
	return max(1, int(float64(best.Props.FilterSize)*8/float64(best.Keys())+0.5))
}

// bloomSize is what Pebble's bloom filter takes for so many keys, in bytes: cache
// lines of 64, and 5 for how many lines and probes there are.
func bloomSize(keys, bits uint64) uint64 {
	lines := (keys*bits + 511) / 512
	if lines%2 == 0 {
		lines++
	}
	return lines*64 + 5
}
