// Package content is what a bbolt file holds for its users, apart from its
// layout: buckets within buckets, their sequences, keys and values, in the
// order of the keys.
package content

// Visitor receives content in order. How long the slices are valid is for
// whoever hands them out to say; they must not be changed.
type Visitor interface {
	// Enter begins a bucket within the current one.
	Enter(name []byte, sequence uint64) error
	// Leave ends the current bucket.
	Leave() error
	// Put is a key with its value in the current bucket. The value may be empty.
	Put(key, value []byte) error
}
