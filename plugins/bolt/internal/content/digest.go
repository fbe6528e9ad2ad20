package content

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Digest is a Visitor that sums content up. Equal content has an equal sum,
// whatever pages it lies on: each event is hashed as a tag, the lengths of
// what follows as fixed 64-bit numbers, and the bytes, so that no two
// different contents make the same input.
type Digest struct {
	// Items are keys plus buckets, Bytes the keys, names and values.
	Items, Bytes int64

	hash  *xxhash.Digest
	frame [17]byte
}

// Tags of the events.
const (
	tagEnter = 'B'
	tagLeave = 'E'
	tagPut   = 'K'
)

// NewDigest makes an empty one.
func NewDigest() *Digest { return &Digest{hash: xxhash.New()} }

// Enter implements Visitor.
func (d *Digest) Enter(name []byte, sequence uint64) error {
	d.Items++
	d.Bytes += int64(len(name))
	d.event(tagEnter, uint64(len(name)), sequence)
	_, _ = d.hash.Write(name)
	return nil
}

// Leave implements Visitor.
func (d *Digest) Leave() error {
	d.event(tagLeave, 0, 0)
	return nil
}

// Put implements Visitor.
func (d *Digest) Put(key, value []byte) error {
	d.Items++
	d.Bytes += int64(len(key) + len(value))
	d.event(tagPut, uint64(len(key)), uint64(len(value)))
	_, _ = d.hash.Write(key)
	_, _ = d.hash.Write(value)
	return nil
}

func (d *Digest) event(tag byte, a, b uint64) {
	d.frame[0] = tag
	binary.BigEndian.PutUint64(d.frame[1:], a)
	binary.BigEndian.PutUint64(d.frame[9:], b)
	_, _ = d.hash.Write(d.frame[:])
}

// Sum names the algorithm and the value: "xxh64:0123456789abcdef".
func (d *Digest) Sum() string { return fmt.Sprintf("xxh64:%016x", d.hash.Sum64()) }

var _ Visitor = (*Digest)(nil)
