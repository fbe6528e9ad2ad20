package content

import (
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Sum sums up what a bucket holds. Equal content has equal sums, whatever pages
// it lies on and in whatever order it is met; and the sum of a whole follows from
// those of its parts: so each page can be summed up by itself, as it passes, and
// what has changed since can be taken out and put in.
//
// Each item is hashed by itself, by xxh64, and the hashes are added up modulo the
// prime 2⁶¹-1; what a bucket holds goes through a linear map that follows from the
// bucket's name. Two contents that differ have the same sum by a chance of about
// one in 2⁶⁰. The order of keys is no part of it: it follows from the keys.
//
// The zero value is the sum of nothing.
type Sum struct {
	// Items are keys plus buckets, Bytes the keys, names and values; those
	// within buckets included. They are less than zero where more was taken out
	// than put in.
	Items, Bytes int64

	// Hash is the sum of the hashes, and within that of those in buckets one
	// level down before they were mapped: a second dimension, without which maps
	// would commute, and a/b could not be told from b/a.
	hash, within uint64
}

const prime = 1<<61 - 1

// Arbitrary odd numbers that tell the parts of an item from each other.
const (
	saltKey      = 0x9E3779B97F4A7C15
	saltValue    = 0xBF58476D1CE4E5B9
	saltName     = 0x94D049BB133111EB
	saltSequence = 0xD6E8FEB86659FD93
	saltContent  = 0xA0761D6478BD642F
	saltWithin   = 0xE7037ED1A0B428DB
)

// File is the sum of a whole file, whose root bucket has a sequence too.
func File(sequence uint64, root Sum) Sum {
	var s Sum
	s.Bucket(nil, sequence, root)
	s.Items-- // the root is no item
	return s
}

// Put adds a key with its value.
func (s *Sum) Put(key, value []byte) {
	s.Items++
	s.Bytes += int64(len(key) + len(value))
	s.add(mix(xxhash.Sum64(key)^saltKey, xxhash.Sum64(value)^saltValue))
}

// Bucket adds a bucket with all that it holds.
func (s *Sum) Bucket(name []byte, sequence uint64, content Sum) {
	hash := xxhash.Sum64(name)
	s.Items += 1 + content.Items
	s.Bytes += int64(len(name)) + content.Bytes
	s.add(mix(hash^saltName, sequence^saltSequence))
	s.inside(hash, content)
}

// Within adds what has changed in a bucket that is there before and after.
func (s *Sum) Within(name []byte, change Sum) {
	s.Items += change.Items
	s.Bytes += change.Bytes
	s.inside(xxhash.Sum64(name), change)
}

// inside maps the hashes in a bucket by that of its name.
func (s *Sum) inside(name uint64, t Sum) {
	s.add(times(t.hash, factor(name, saltContent)))
	s.add(times(t.within, factor(name, saltWithin)))
	s.within = reduce(s.within + t.hash)
}

// Add adds what another sum is of.
func (s *Sum) Add(t Sum) {
	s.Items += t.Items
	s.Bytes += t.Bytes
	s.add(t.hash)
	s.within = reduce(s.within + t.within)
}

// Sub takes out what another sum is of.
func (s *Sum) Sub(t Sum) {
	s.Items -= t.Items
	s.Bytes -= t.Bytes
	s.add(prime - t.hash)
	s.within = reduce(s.within + prime - t.within)
}

func (s *Sum) add(hash uint64) { s.hash = reduce(s.hash + reduce(hash)) }

// factor of a map: never 0.
func factor(name, salt uint64) uint64 { return 1 + mix(name^salt, saltName)%(prime-1) }

// String names the algorithm and the value: "xxh64s61:0123456789abcdef".
func (s *Sum) String() string { return fmt.Sprintf("xxh64s61:%016x", s.hash) }

// mix makes one number of two, neither of which can be found from it.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// times multiplies modulo the prime.
func times(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return reduce(low&prime + (low>>61 | high<<3))
}

// reduce brings a number below the prime.
func reduce(n uint64) uint64 {
	n = n&prime + n>>61
	if n >= prime {
		n -= prime
	}
	return n
}
