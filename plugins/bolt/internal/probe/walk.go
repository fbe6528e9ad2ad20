package probe

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Tally is what was counted in the pages that were read.
type Tally struct {
	Buckets, InlineBuckets, Keys int64
	// BranchPages and LeafPages include overflow pages, OverflowPages are
	// those alone.
	BranchPages, LeafPages, OverflowPages int64
	// UsedBytes of branches and leaves: headers, entries, keys and values.
	UsedBytes int64
	// LeafUsedBytes is the leaves' part of it.
	LeafUsedBytes int64
	// ContentBytes are keys and values, names of buckets among them.
	ContentBytes int64
	// Depth of the deepest leaf, buckets within buckets added up.
	Depth int
	// PackedPages is what the trees take once rewritten.
	PackedPages int64
}

// TreePages are in use by branches and leaves.
func (t Tally) TreePages() int64 { return t.BranchPages + t.LeafPages }

// Items of content: keys plus buckets.
func (t Tally) Items() int64 { return t.Keys + t.Buckets }

// walker reads every page that can be reached, each once, and checks what
// bbolt takes for granted: kinds, bounds, order of keys, one parent each.
type walker struct {
	file    *page.File
	fill    float64
	tally   Tally
	nodes   int64 // read so far
	reached *pageSet
	picture *picture // nil if not wanted
	last    []byte   // greatest key of the subtree read last
	buffers []*page.Buffer
	packers []*packer
}

func (w *walker) buffer() *page.Buffer {
	if n := len(w.buffers); n > 0 {
		b := w.buffers[n-1]
		w.buffers = w.buffers[:n-1]
		return b
	}
	return new(page.Buffer)
}

func (w *walker) packer() *packer {
	var p *packer
	if n := len(w.packers); n > 0 {
		p, w.packers = w.packers[n-1], w.packers[:n-1]
	} else {
		p = new(packer)
	}
	p.reset(w.file.Meta.PageSize, w.fill)
	return p
}

// all walks the tree of the root bucket.
func (w *walker) all() error {
	p := w.packer()
	if err := w.tree(w.file.Meta.Root, p, nil, nil, 1); err != nil {
		return err
	}
	w.tally.PackedPages += p.finish()
	return nil
}

// tree walks the subtree at id, whose keys are ≥ low and < high where those
// are not nil, and gives its leaves' entries to p.
func (w *walker) tree(id page.ID, p *packer, low, high []byte, depth int) error {
	buf := w.buffer()
	defer func() { w.buffers = append(w.buffers, buf) }()
	n, err := w.file.Node(id, true, buf)
	if err != nil {
		return err
	}
	for i := range n.Pages {
		if !w.reached.add(id + page.ID(i)) {
			return twice(id + page.ID(i))
		}
	}
	w.note(&n, depth)
	if n.Leaf {
		return w.leaf(&n, p, low, high, depth)
	}
	return w.branch(&n, p, low, high, depth)
}

func twice(id page.ID) error {
	return &page.Error{Page: id, Problem: "is referenced twice"}
}

func (w *walker) note(n *page.Node, depth int) {
	used := n.Used()
	w.nodes++
	w.tally.UsedBytes += used
	w.tally.OverflowPages += int64(n.Pages - 1)
	if n.Leaf {
		w.tally.LeafPages += int64(n.Pages)
		w.tally.LeafUsedBytes += used
		w.tally.Depth = max(w.tally.Depth, depth)
	} else {
		w.tally.BranchPages += int64(n.Pages)
	}
	w.picture.node(n, used)
}

func (w *walker) branch(n *page.Node, p *packer, low, high []byte, depth int) error {
	for i := range n.Count {
		key, err := n.Key(i)
		if err != nil {
			return err
		}
		if i == 0 && low != nil && bytes.Compare(low, key) > 0 || i > 0 && bytes.Compare(w.last, key) >= 0 {
			return w.disorder(n, i)
		}
		below := high
		if i+1 < n.Count {
			if below, err = n.Key(i + 1); err != nil {
				return err
			}
		}
		if below != nil && bytes.Compare(key, below) >= 0 {
			return w.disorder(n, i)
		}
		if err := w.tree(n.Child(i), p, key, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(n *page.Node, p *packer, low, high []byte, depth int) error {
	if err := w.ordered(n, low, high); err != nil {
		return err
	}
	for i := range n.Count {
		if err := w.item(n, i, p, depth); err != nil {
			return err
		}
	}
	w.last = w.last[:0]
	if n.Count > 0 {
		key, err := n.Key(n.Count - 1)
		if err != nil {
			return err
		}
		w.last = append(w.last, key...)
	}
	return nil
}

// ordered checks that the keys of a leaf ascend within its bounds.
func (w *walker) ordered(n *page.Node, low, high []byte) error {
	previous := low
	for i := range n.Count {
		key, err := n.Key(i)
		if err != nil {
			return err
		}
		c := -1
		if previous != nil {
			c = bytes.Compare(previous, key)
		}
		if c > 0 || c == 0 && i > 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return w.disorder(n, i)
		}
		previous = key
	}
	return nil
}

func (w *walker) disorder(n *page.Node, i int) error {
	return &page.Error{Page: n.ID, Problem: fmt.Sprintf("has a key out of order (entry %d of %d)", i+1, n.Count)}
}

// item counts one entry of a leaf, and walks the bucket in it if there is one.
func (w *walker) item(n *page.Node, i int, p *packer, depth int) error {
	key, value := int64(n.KeySize(i)), int64(n.ValueSize(i))
	w.tally.ContentBytes += key
	if !n.IsBucket(i) {
		w.tally.Keys++
		w.tally.ContentBytes += value
		p.leaf(key, value, false)
		return nil
	}
	w.tally.Buckets++
	b, err := n.Bucket(i)
	if err != nil {
		return err
	}
	if b.Root == 0 {
		w.tally.InlineBuckets++
		w.tally.Keys += int64(b.Inline.Count)
		w.tally.ContentBytes += b.Inline.Used() - page.HeaderSize - int64(b.Inline.Count)*page.ElementSize
		p.leaf(key, value, true)
		return w.ordered(&b.Inline, nil, nil)
	}
	child := w.packer()
	defer func() { w.packers = append(w.packers, child) }()
	if err := w.tree(b.Root, child, nil, nil, depth+1); err != nil {
		return err
	}
	value, inline := child.inline()
	if !inline {
		w.tally.PackedPages += child.finish()
	}
	p.leaf(key, value, true)
	return nil
}

// pageSet is a set of pages below a bound.
type pageSet struct {
	bits  []uint64
	count int64
}

func newPageSet(n page.ID) *pageSet { return &pageSet{bits: make([]uint64, (n+63)/64)} }

func (s *pageSet) has(id page.ID) bool { return s.bits[id/64]&(1<<(id%64)) != 0 }

// each calls f with every page in the set, ascending.
func (s *pageSet) each(f func(page.ID)) {
	for i, word := range s.bits {
		for ; word != 0; word &= word - 1 {
			f(page.ID(i*64 + bits.TrailingZeros64(word)))
		}
	}
}

// add returns false where the page is in the set already.
func (s *pageSet) add(id page.ID) bool {
	if s.has(id) {
		return false
	}
	s.bits[id/64] |= 1 << (id % 64)
	s.count++
	return true
}
