// Package diff finds what has changed between two states of a bbolt file, by the
// pages that they do not share.
//
// While a read transaction is open no page that it can reach is used again, and
// whatever is changed gets a page of another number. So a page that two states
// have in common is the same in both, with all that it leads to, and is passed
// over: what a difference costs grows with what has changed, not with the file.
package diff

import (
	"bytes"
	"errors"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Visitor is told how to make the later state of the earlier one, in the order
// of the keys. The slices are valid for as long as the files are mapped.
type Visitor interface {
	// Put is a key that is new or has another value.
	Put(key, value []byte) error
	// Delete is a key that is gone.
	Delete(key []byte) error
	// Create begins a bucket that is new; what it holds follows, up to Leave.
	Create(name []byte, sequence uint64) error
	// DeleteBucket is a bucket that is gone with all that it held.
	DeleteBucket(name []byte) error
	// Enter begins a bucket that is in both states and may hold changes, up to
	// Leave. It has another sequence where that is not nil.
	Enter(name []byte, sequence *uint64) error
	Leave() error
}

// Config of a difference.
type Config struct {
	// Read is told of each node that is read, of which state ever, with its size
	// in bytes. Its error ends the difference. May be nil.
	Read func(bytes int64) error
}

// ErrSequence says that the sequence of the root bucket differs, which bbolt
// never changes.
var ErrSequence = errors.New("the sequence of the root bucket has changed")

// maxDepth of buckets within buckets, for the stack's sake.
const maxDepth = 1 << 16

// Between tells v what has changed from one state to a later one of the same
// file, and returns by how much the sum of the file has. Nothing that either
// leads to may have been written over since. Both must be mapped.
func Between(from, to *page.File, v Visitor, c Config) (content.Sum, error) {
	d := &differ{from: &side{from, c.Read}, to: &side{to, c.Read}, visitor: v}
	if from.Meta.Sequence != to.Meta.Sequence {
		return content.Sum{}, ErrSequence
	}
	var change content.Sum
	if from.Meta.Root == to.Meta.Root {
		return change, nil
	}
	root, err := d.tree(&page.Bucket{Root: from.Meta.Root}, &page.Bucket{Root: to.Meta.Root})
	change.Within(nil, root)
	return change, err
}

// side is one of the two states.
type side struct {
	file *page.File
	told func(bytes int64) error
}

func (s *side) read(id page.ID) (page.Node, error) {
	n, err := s.file.Node(id, true, nil)
	if err != nil || s.told == nil {
		return n, err
	}
	return n, s.told(n.Bytes())
}

type differ struct {
	from, to *side
	visitor  Visitor
	depth    int
}

// tree compares what a bucket held and holds.
func (d *differ) tree(was, is *page.Bucket) (change content.Sum, err error) {
	if d.depth++; d.depth > maxDepth {
		return change, &page.Error{Page: is.Root, Problem: "lies too deep for any tree"}
	}
	defer func() { d.depth-- }()
	from, err := d.from.open(was)
	if err != nil {
		return change, err
	}
	to, err := d.to.open(is)
	if err != nil {
		return change, err
	}
	for !from.end() || !to.end() {
		if err := d.step(from, to, &change); err != nil {
			return change, err
		}
	}
	return change, nil
}

// step gets at least one of the two further.
func (d *differ) step(from, to *cursor, change *content.Sum) error {
	switch {
	case from.end():
		return d.only(to, change, d.put)
	case to.end():
		return d.only(from, change, d.remove)
	}
	a, err := from.head()
	if err != nil {
		return err
	}
	b, err := to.head()
	if err != nil {
		return err
	}
	order := compare(a.key, b.key)
	switch {
	case a.tree != 0 && a.tree == b.tree:
		from.next()
		to.next()
		return nil
	case a.tree != 0 && b.tree != 0:
		return descend(from, to, a, b, order)
	case a.tree != 0 && order > 0:
		return d.only(to, change, d.put) // b lies before all that the subtree has
	case b.tree != 0 && order < 0:
		return d.only(from, change, d.remove)
	case a.tree != 0:
		return from.descend()
	case b.tree != 0:
		return to.descend()
	case order < 0:
		return d.only(from, change, d.remove)
	case order > 0:
		return d.only(to, change, d.put)
	}
	from.next()
	to.next()
	return d.both(a, b, change)
}

// descend goes into the subtree that may have the other one in it, or whose
// content comes first.
func descend(from, to *cursor, a, b head, order int) error {
	if order < 0 || order == 0 && a.height >= b.height {
		if err := from.descend(); err != nil {
			return err
		}
	}
	if order > 0 || order == 0 && b.height >= a.height {
		return to.descend()
	}
	return nil
}

// only handles the head of the one side that has it.
func (d *differ) only(c *cursor, change *content.Sum, entry func(head, *content.Sum) error) error {
	h, err := c.head()
	if err != nil {
		return err
	}
	if h.tree != 0 {
		return c.descend()
	}
	c.next()
	return entry(h, change)
}

// put is an entry that is new.
func (d *differ) put(h head, change *content.Sum) error {
	if !h.node.IsBucket(h.at) {
		_, value, err := h.node.Item(h.at)
		if err != nil {
			return err
		}
		change.Put(h.key, value)
		return d.visitor.Put(h.key, value)
	}
	b, err := h.node.Bucket(h.at)
	if err != nil {
		return err
	}
	if err := d.visitor.Create(h.key, b.Sequence); err != nil {
		return err
	}
	within, err := d.all(d.to, &b, d.put)
	if err != nil {
		return err
	}
	change.Bucket(h.key, b.Sequence, within)
	return d.visitor.Leave()
}

// remove is an entry that is gone.
func (d *differ) remove(h head, change *content.Sum) error {
	if err := d.takeOut(h, change); err != nil {
		return err
	}
	if h.node.IsBucket(h.at) {
		return d.visitor.DeleteBucket(h.key)
	}
	return d.visitor.Delete(h.key)
}

// takeOut takes an entry that is gone out of the sum.
func (d *differ) takeOut(h head, change *content.Sum) error {
	var was content.Sum
	if !h.node.IsBucket(h.at) {
		_, value, err := h.node.Item(h.at)
		if err != nil {
			return err
		}
		was.Put(h.key, value)
		change.Sub(was)
		return nil
	}
	b, err := h.node.Bucket(h.at)
	if err != nil {
		return err
	}
	within, err := d.all(d.from, &b, d.takeOut)
	if err != nil {
		return err
	}
	// What was taken out within has been counted below zero.
	var none content.Sum
	none.Sub(within)
	was.Bucket(h.key, b.Sequence, none)
	change.Sub(was)
	return nil
}

// all handles all entries of a bucket that only one side has.
func (d *differ) all(s *side, b *page.Bucket, entry func(head, *content.Sum) error) (change content.Sum, err error) {
	if d.depth++; d.depth > maxDepth {
		return change, &page.Error{Page: b.Root, Problem: "lies too deep for any tree"}
	}
	defer func() { d.depth-- }()
	c, err := s.open(b)
	for err == nil && !c.end() {
		err = d.only(c, &change, entry)
	}
	return change, err
}

// both is a key that both sides have.
func (d *differ) both(a, b head, change *content.Sum) error {
	was, is := a.node.IsBucket(a.at), b.node.IsBucket(b.at)
	if was && is {
		return d.bucket(a, b, change)
	}
	if !was && !is {
		if same, err := equal(a, b); same || err != nil {
			return err
		}
		if err := d.takeOut(a, change); err != nil {
			return err
		}
		return d.put(b, change)
	}
	if err := d.remove(a, change); err != nil {
		return err
	}
	return d.put(b, change)
}

// bucket is a bucket that both sides have.
func (d *differ) bucket(a, b head, change *content.Sum) error {
	if same, err := equal(a, b); same || err != nil {
		return err
	}
	was, err := a.node.Bucket(a.at)
	if err != nil {
		return err
	}
	is, err := b.node.Bucket(b.at)
	if err != nil {
		return err
	}
	var sequence *uint64
	if was.Sequence != is.Sequence {
		sequence = &is.Sequence
		var before, after content.Sum
		before.Bucket(b.key, was.Sequence, content.Sum{})
		after.Bucket(b.key, is.Sequence, content.Sum{})
		change.Sub(before)
		change.Add(after)
	}
	if err := d.visitor.Enter(b.key, sequence); err != nil {
		return err
	}
	if was.Root != is.Root || was.Root == 0 {
		within, err := d.tree(&was, &is)
		if err != nil {
			return err
		}
		change.Within(b.key, within)
	}
	return d.visitor.Leave()
}

// equal says whether two entries have the same bytes: for a bucket the number of
// its root, or all that it holds, and its sequence.
func equal(a, b head) (bool, error) {
	_, before, err := a.node.Item(a.at)
	if err != nil {
		return false, err
	}
	_, after, err := b.node.Item(b.at)
	return bytes.Equal(before, after), err
}
