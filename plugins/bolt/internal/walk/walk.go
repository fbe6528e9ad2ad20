// Package walk reads all that can be reached in a bbolt file, in the order of
// the keys, and checks on the way what bbolt takes for granted: kinds and bounds
// of pages, order of keys, one parent for each page.
package walk

import (
	"bytes"
	"fmt"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Visitor receives what a walk comes to. A node, and what Item and Key give of
// it, is valid until the call returns, or with a mapped file for as long as
// the mapping is.
type Visitor interface {
	// Node is a branch or a leaf, before what it leads to. Depth is 1 for the
	// root, buckets within buckets added up.
	Node(n *page.Node, depth int) error
	// Item is a key with its value: entry i of a leaf, or of the inline page of
	// a bucket.
	Item(n *page.Node, i int) error
	// Enter begins the bucket in entry i of a leaf, whose items follow.
	Enter(n *page.Node, i int, b *page.Bucket) error
	// Leave ends the current bucket.
	Leave() error
}

// Ahead is a Visitor that wants to know early which nodes come next.
type Ahead interface {
	// Ahead is a branch whose children will be visited, all of one height
	// before anything else.
	Ahead(branch *page.Node)
}

// A tree whose branches have two children at least has no leaf deeper than
// maxHeight; that of buckets within buckets is bounded for the stack's sake.
const (
	maxHeight = 64
	maxDepth  = 1 << 16
)

// Walk visits everything, and returns the pages that it reached. Damage is
// reported as *page.Error.
func Walk(file *page.File, v Visitor) (*Pages, error) {
	w := &walker{file: file, visitor: v, reached: NewPages(file.Meta.HighWater)}
	w.ahead, _ = v.(Ahead)
	return w.reached, w.tree(file.Meta.Root, span{}, 1, 1)
}

type walker struct {
	file    *page.File
	visitor Visitor
	ahead   Ahead // nil where nobody wants to know
	reached *Pages
	last    []byte // greatest key of the subtree visited last
	buffers []*page.Buffer
}

// span is what keys may lie in: from low, to below high; nil means no bound.
type span struct{ low, high []byte }

func (w *walker) buffer() *page.Buffer {
	if n := len(w.buffers); n > 0 {
		b := w.buffers[n-1]
		w.buffers = w.buffers[:n-1]
		return b
	}
	return new(page.Buffer)
}

// tree visits the subtree at id, height levels below the root of its bucket
// and depth below that of the file.
func (w *walker) tree(id page.ID, keys span, height, depth int) error {
	if height > maxHeight || depth > maxDepth {
		return &page.Error{Page: id, Problem: "lies too deep for any tree"}
	}
	buf := w.buffer()
	defer func() { w.buffers = append(w.buffers, buf) }()
	n, err := w.file.Node(id, true, buf)
	if err != nil {
		return err
	}
	for i := range n.Pages {
		if !w.reached.Add(id + page.ID(i)) {
			return &page.Error{Page: id + page.ID(i), Problem: "is referenced twice"}
		}
	}
	if err := w.visitor.Node(&n, depth); err != nil {
		return err
	}
	if n.Leaf {
		return w.leaf(&n, keys, depth)
	}
	if w.ahead != nil {
		w.ahead.Ahead(&n)
	}
	return w.branch(&n, keys, height, depth)
}

func (w *walker) branch(n *page.Node, keys span, height, depth int) error {
	next, err := n.Key(0)
	if err != nil {
		return err
	}
	if keys.low != nil && bytes.Compare(keys.low, next) > 0 {
		return disorder(n, 0)
	}
	for i := range n.Count {
		child := span{low: next, high: keys.high}
		if i > 0 && bytes.Compare(w.last, child.low) >= 0 {
			return disorder(n, i)
		}
		if i+1 < n.Count {
			if next, err = n.Key(i + 1); err != nil {
				return err
			}
			child.high = next
		}
		if child.high != nil && bytes.Compare(child.low, child.high) >= 0 {
			return disorder(n, i)
		}
		if err := w.tree(n.Child(i), child, height+1, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf visits the entries of a leaf.
func (w *walker) leaf(n *page.Node, keys span, depth int) error {
	last, err := w.entries(n, keys, depth)
	if err != nil {
		return err
	}
	w.last = append(w.last[:0], last...)
	return nil
}

// entries visits the entries of a leaf, or of an inline page, and returns the
// greatest key.
func (w *walker) entries(n *page.Node, keys span, depth int) (last []byte, err error) {
	last = keys.low
	for i := range n.Count {
		key, err := n.Key(i)
		if err != nil {
			return nil, err
		}
		order := -1
		if last != nil {
			order = bytes.Compare(last, key)
		}
		if order > 0 || order == 0 && i > 0 || keys.high != nil && bytes.Compare(key, keys.high) >= 0 {
			return nil, disorder(n, i)
		}
		last = key
		if !n.IsBucket(i) {
			err = w.visitor.Item(n, i)
		} else {
			err = w.bucket(n, i, depth)
		}
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

func (w *walker) bucket(n *page.Node, i, depth int) error {
	b, err := n.Bucket(i)
	if err != nil {
		return err
	}
	if err := w.visitor.Enter(n, i, &b); err != nil {
		return err
	}
	if b.Root == 0 {
		_, err = w.entries(&b.Inline, span{}, depth)
	} else {
		err = w.tree(b.Root, span{}, 1, depth+1)
	}
	if err != nil {
		return err
	}
	return w.visitor.Leave()
}

func disorder(n *page.Node, i int) error {
	return &page.Error{Page: n.ID, Problem: fmt.Sprintf("has a key out of order (entry %d of %d)", i+1, n.Count)}
}
