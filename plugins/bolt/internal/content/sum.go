package content

import (
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Sum sums up a sequence of keys, values and buckets. Equal sequences have equal
// sums, whatever pages they lie on, and the sum of a sequence follows from those
// of its parts: so each page can be summed up by itself, as it passes.
//
// Each item is hashed by itself, by xxh64; the sum is the polynomial over these
// hashes, modulo the prime 2⁶¹-1, whose value at a fixed point it is. Two
// sequences that differ have the same sum by a chance of about one in 2⁶⁰.
//
// The zero value is the sum of nothing.
type Sum struct {
	// Items are keys plus buckets, Bytes the keys, names and values; those
	// within buckets included.
	Items, Bytes int64

	hash   uint64
	weight uint64 // the point to the power of the sequence's length; 0 for 1
}

const prime = 1<<61 - 1

// Arbitrary odd numbers: the polynomial's point, and what tells the parts of an
// item from each other.
const (
	point         = 0x0B4B82E39B45AA2F
	saltKey       = 0x9E3779B97F4A7C15
	saltValue     = 0xBF58476D1CE4E5B9
	saltName      = 0x94D049BB133111EB
	saltSequence  = 0xD6E8FEB86659FD93
	saltContent   = 0xA0761D6478BD642F
	saltItemCount = 0xE7037ED1A0B428DB
)

// File is the sum of a whole file, whose root bucket has a sequence too.
func File(sequence uint64, root Sum) Sum {
	var s Sum
	s.Bucket(nil, sequence, root)
	s.Items-- // the root is no item
	return s
}

// Put appends a key with its value.
func (s *Sum) Put(key, value []byte) {
	s.Items++
	s.Bytes += int64(len(key) + len(value))
	s.append(mix(xxhash.Sum64(key)^saltKey, xxhash.Sum64(value)^saltValue), point)
}

// Bucket appends a bucket with all that it holds.
func (s *Sum) Bucket(name []byte, sequence uint64, content Sum) {
	s.Items += 1 + content.Items
	s.Bytes += int64(len(name)) + content.Bytes
	head := mix(xxhash.Sum64(name)^saltName, sequence^saltSequence)
	body := mix(content.hash^saltContent, uint64(content.Items)^saltItemCount)
	s.append(mix(head^saltContent, body^saltName), point)
}

// Append appends what another sum is of.
func (s *Sum) Append(t Sum) {
	s.Items += t.Items
	s.Bytes += t.Bytes
	s.append(t.hash, t.factor())
}

func (s *Sum) append(hash, weight uint64) {
	sum := times(s.hash, weight) + hash&prime + hash>>61
	s.hash = reduce(sum)
	s.weight = times(s.factor(), weight)
}

func (s *Sum) factor() uint64 {
	if s.weight == 0 {
		return 1
	}
	return s.weight
}

// String names the algorithm and the value: "xxh64p61:0123456789abcdef".
func (s *Sum) String() string { return fmt.Sprintf("xxh64p61:%016x", s.hash) }

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
