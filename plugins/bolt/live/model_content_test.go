package live_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"
)

// bucketModel is what a bucket is to hold. A state that has been committed is
// changed no more: a transaction changes a clone.
type bucketModel struct {
	sequence uint64
	values   map[string][]byte
	buckets  map[string]*bucketModel
	// changed is set where the transaction under way has touched the bucket.
	changed bool
}

func newBucketModel() *bucketModel {
	return &bucketModel{values: map[string][]byte{}, buckets: map[string]*bucketModel{}}
}

// clone shares the values, which are replaced and never written to.
func (m *bucketModel) clone() *bucketModel {
	c := &bucketModel{sequence: m.sequence, values: maps.Clone(m.values), buckets: make(map[string]*bucketModel, len(m.buckets))}
	for name, inner := range m.buckets {
		c.buckets[name] = inner.clone()
	}
	return c
}

// untouched says whether nothing in the bucket has been changed by the transaction
// under way. bbolt moves a bucket as it was when that began.
func (m *bucketModel) untouched() bool {
	for _, inner := range m.buckets {
		if !inner.untouched() {
			return false
		}
	}
	return !m.changed
}

func (m *bucketModel) holds(other *bucketModel) bool {
	if m == other {
		return true
	}
	for _, inner := range m.buckets {
		if inner.holds(other) {
			return true
		}
	}
	return false
}

// rootOf is the bucket that holds the others.
func rootOf(tx *bbolt.Tx) *bbolt.Bucket { return tx.Cursor().Bucket() }

// differs compares a bucket, in the order of its keys, with what it is to hold.
func (m *bucketModel) differs(b *bbolt.Bucket) error {
	if got := b.Sequence(); got != m.sequence {
		return fmt.Errorf("sequence %d, want %d", got, m.sequence)
	}
	keys := slices.AppendSeq(make([]string, 0, len(m.values)+len(m.buckets)), maps.Keys(m.values))
	keys = slices.AppendSeq(keys, maps.Keys(m.buckets))
	slices.Sort(keys)
	c := b.Cursor()
	key, value := c.First()
	for _, want := range keys {
		if key == nil || string(key) != want {
			return fmt.Errorf("key %.40q, want %.40q", key, want)
		}
		inner := m.buckets[want]
		switch {
		case inner == nil:
			// A transaction sees nil where it has itself put an empty value.
			if value == nil && b.Bucket(key) != nil || !bytes.Equal(value, m.values[want]) {
				return fmt.Errorf("key %q has %d bytes %.40q, want %d bytes %.40q", want, len(value), value, len(m.values[want]), m.values[want])
			}
		case value != nil || b.Bucket(key) == nil:
			return fmt.Errorf("key %q has the value %.40q, want a bucket", want, value)
		default:
			if err := inner.differs(b.Bucket(key)); err != nil {
				return fmt.Errorf("bucket %q: %w", want, err)
			}
		}
		key, value = c.Next()
	}
	if key != nil {
		return fmt.Errorf("key %.40q is one too many", key)
	}
	return nil
}

// sound compares all that a transaction sees, and lets bbolt check the file.
func (m *bucketModel) sound(tx *bbolt.Tx) error {
	for err := range tx.Check() {
		return err
	}
	return m.differs(rootOf(tx))
}

// place is a bucket and what it is to hold.
type place struct {
	bucket *bbolt.Bucket
	model  *bucketModel
}

// changes makes random changes in one transaction, to the store and to the model.
type changes struct {
	t    *rapid.T
	n    *modelCounts
	root place
}

func (c *changes) must(what string, err error) {
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

// refused makes sure that an error is bbolt's.
func (c *changes) refused(what string, err, want error) {
	if !errors.Is(err, want) {
		c.t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// deepest is how many buckets lie in each other.
const deepest = 3

func (c *changes) make() {
	for range rapid.IntRange(1, 4).Draw(c.t, "changes") {
		p, depth := c.root, deepest
		for depth > 1 && len(p.model.buckets) > 0 && rapid.IntRange(0, 3).Draw(c.t, "descend") > 0 {
			name := c.existing(p, "inner")
			p, depth = place{p.bucket.Bucket([]byte(name)), p.model.buckets[name]}, depth-1
		}
		c.change(p, depth)
	}
}

// existing is the name of a bucket in a place that has some.
func (c *changes) existing(p place, label string) string {
	return rapid.SampledFrom(slices.Sorted(maps.Keys(p.model.buckets))).Draw(c.t, label)
}

// change makes one change. The root holds nothing but buckets, and bbolt does not
// keep its sequence.
func (c *changes) change(p place, depth int) {
	key := fmt.Sprintf("%02d", rapid.IntRange(0, 20).Draw(c.t, "key"))
	if p.model == c.root.model {
		switch rapid.IntRange(0, 9).Draw(c.t, "kind") {
		case 0:
			c.delete(p, key)
		case 1:
			c.move(p, key)
		default:
			c.create(p, key)
		}
		return
	}
	switch rapid.IntRange(0, 12).Draw(c.t, "kind") {
	case 0, 1:
		c.delete(p, key)
	case 2:
		was := p.model.buckets[key]
		c.delete(p, key)
		c.put(p, key, []byte("a bucket before")) // or a value, or nothing
		if was != nil && p.model.buckets[key] == nil {
			c.n.turned++
		}
	case 3, 4:
		if depth == 1 {
			return
		}
		if _, ok := p.model.values[key]; ok {
			c.delete(p, key)
			c.n.turned++
		}
		c.create(p, key)
	case 5:
		c.move(p, key)
	case 6:
		c.sequence(p)
	case 7:
		c.edges(p)
	case 8:
		c.put(p, key, bytes.Repeat([]byte(key), rapid.IntRange(0, 5000).Draw(c.t, "big")))
	case 9: // an inline bucket grows out
		for i := range rapid.IntRange(0, 60).Draw(c.t, "run") {
			c.put(p, fmt.Sprintf("%s-%03d", key, i), []byte(key))
		}
	case 10: // and shrinks back
		for _, k := range slices.Sorted(maps.Keys(p.model.values)) {
			if k > key {
				c.delete(p, k)
			}
		}
	default:
		c.put(p, key, rapid.SliceOfN(rapid.Byte(), 0, 120).Draw(c.t, "value"))
	}
}

func (c *changes) put(p place, key string, value []byte) {
	err := p.bucket.Put([]byte(key), value)
	if p.model.buckets[key] != nil {
		c.refused("put over a bucket", err, berrors.ErrIncompatibleValue)
		return
	}
	c.must("put", err)
	p.model.values[key], p.model.changed = value, true
}

// create makes a bucket, where there may be one.
func (c *changes) create(p place, key string) {
	if p.model.buckets[key] != nil {
		_, err := p.bucket.CreateBucket([]byte(key))
		c.refused("create a bucket anew", err, berrors.ErrBucketExists)
		return
	}
	_, err := p.bucket.CreateBucketIfNotExists([]byte(key))
	if _, ok := p.model.values[key]; ok {
		c.refused("create a bucket over a value", err, berrors.ErrIncompatibleValue)
		return
	}
	c.must("create a bucket", err)
	p.model.buckets[key], p.model.changed = newBucketModel(), true
	p.model.buckets[key].changed = true
}

// delete deletes what there is by the name, a bucket or a value; a bucket may be
// made anew at once.
func (c *changes) delete(p place, key string) {
	if p.model.buckets[key] == nil {
		c.must("delete", p.bucket.Delete([]byte(key)))
		if _, ok := p.model.values[key]; ok {
			delete(p.model.values, key)
			p.model.changed = true
		} else {
			c.refused("delete a bucket that is not there", p.bucket.DeleteBucket([]byte(key)), berrors.ErrBucketNotFound)
		}
		return
	}
	c.refused("delete a bucket as a value", p.bucket.Delete([]byte(key)), berrors.ErrIncompatibleValue)
	if p.model.buckets[key].leaks() {
		return
	}
	c.must("delete a bucket", p.bucket.DeleteBucket([]byte(key)))
	delete(p.model.buckets, key)
	p.model.changed = true
	if rapid.Bool().Draw(c.t, "again") {
		c.create(p, key)
		c.n.remade++
	}
}

// leaks says whether bbolt would lose pages with the bucket, which nobody frees any
// more: when it deletes one that the transaction has changed, it passes over every
// other of the buckets in it.
func (m *bucketModel) leaks() bool {
	if m.changed && len(m.buckets) > 1 {
		return true
	}
	for _, inner := range m.buckets {
		if inner.leaks() {
			return true
		}
	}
	return false
}

// move moves a bucket of a place, where it has one, into another bucket, which may
// be the root.
func (c *changes) move(p place, key string) {
	if len(p.model.buckets) == 0 {
		c.refused("move what is not there", p.bucket.MoveBucket([]byte("none"), c.root.bucket), berrors.ErrBucketNotFound)
		return
	}
	name := c.existing(p, "moved")
	moved, to := p.model.buckets[name], c.root
	if inner := to.model.buckets[key]; inner != nil && rapid.Bool().Draw(c.t, "into an inner one") {
		to = place{to.bucket.Bucket([]byte(key)), inner}
	}
	if !moved.untouched() || moved.holds(to.model) || to.model == p.model {
		return
	}
	err := p.bucket.MoveBucket([]byte(name), to.bucket)
	if to.model.buckets[name] != nil {
		c.refused("move a bucket over another", err, berrors.ErrBucketExists)
		return
	}
	if _, ok := to.model.values[name]; ok {
		c.refused("move a bucket over a value", err, berrors.ErrIncompatibleValue)
		return
	}
	c.must("move a bucket", err)
	c.n.moves++
	delete(p.model.buckets, name)
	to.model.buckets[name] = moved
	p.model.changed, to.model.changed, moved.changed = true, true, true
}

func (c *changes) sequence(p place) {
	if rapid.Bool().Draw(c.t, "next") {
		next, err := p.bucket.NextSequence()
		c.must("next sequence", err)
		p.model.sequence++
		if next != p.model.sequence {
			c.t.Fatalf("next sequence %d, want %d", next, p.model.sequence)
		}
	} else {
		p.model.sequence = rapid.Uint64Range(0, 3).Draw(c.t, "sequence")
		c.must("set the sequence", p.bucket.SetSequence(p.model.sequence))
	}
	p.model.changed = true
}

// edges tries what bbolt has a word on.
func (c *changes) edges(p place) {
	c.refused("put without a key", p.bucket.Put(nil, []byte("value")), berrors.ErrKeyRequired)
	_, err := p.bucket.CreateBucket(nil)
	c.refused("create a bucket without a name", err, berrors.ErrBucketNameRequired)
	c.must("delete without a key", p.bucket.Delete([]byte{}))
	if v, b := p.bucket.Get([]byte{}), p.bucket.Bucket([]byte{}); v != nil || b != nil {
		c.t.Fatalf("without a key there is %q, %v", v, b)
	}
	c.put(p, "\x00", nil)
	c.put(p, string(bytes.Repeat([]byte{0xff}, 600)), []byte{}) // longer than half a page
	c.refused("put a key that is too long", p.bucket.Put(make([]byte, bbolt.MaxKeySize+1), nil), berrors.ErrKeyTooLarge)
}
