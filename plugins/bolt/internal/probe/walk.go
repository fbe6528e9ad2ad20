package probe

import (
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

// counter counts what a walk visits, and packs it.
type counter struct {
	pageSize int
	fill     float64
	tally    Tally
	nodes    int64    // read so far
	picture  *picture // nil if not wanted
	open     []bucket // from the root to the current one
	packers  []*packer
}

type bucket struct {
	name   int64 // size of its key, in bytes
	packer *packer
}

func newCounter(meta page.Meta, fill float64, p *picture) *counter {
	c := &counter{pageSize: meta.PageSize, fill: fill, picture: p}
	c.begin(0)
	return c
}

func (c *counter) begin(name int64) {
	p := new(packer)
	if n := len(c.packers); n > 0 {
		p, c.packers = c.packers[n-1], c.packers[:n-1]
	}
	p.reset(c.pageSize, c.fill)
	c.open = append(c.open, bucket{name, p})
}

// end takes the current bucket away.
func (c *counter) end() bucket {
	last := len(c.open) - 1
	b := c.open[last]
	c.open, c.packers = c.open[:last], append(c.packers, b.packer)
	return b
}

// finish returns the tally of a whole file.
func (c *counter) finish() Tally {
	c.tally.PackedPages += c.end().packer.finish()
	return c.tally
}

// Node implements walk.Visitor.
func (c *counter) Node(n *page.Node, depth int) error {
	used := n.Used()
	c.nodes++
	c.tally.UsedBytes += used
	c.tally.OverflowPages += int64(n.Pages - 1)
	if n.Leaf {
		c.tally.LeafPages += int64(n.Pages)
		c.tally.LeafUsedBytes += used
		c.tally.Depth = max(c.tally.Depth, depth)
	} else {
		c.tally.BranchPages += int64(n.Pages)
	}
	c.picture.node(n, used)
	return nil
}

// Item implements walk.Visitor.
func (c *counter) Item(n *page.Node, i int) error {
	key, value := int64(n.KeySize(i)), int64(n.ValueSize(i))
	c.tally.Keys++
	c.tally.ContentBytes += key + value
	c.open[len(c.open)-1].packer.leaf(key, value, false)
	return nil
}

// Enter implements walk.Visitor.
func (c *counter) Enter(n *page.Node, i int, b *page.Bucket) error {
	name := int64(n.KeySize(i))
	c.tally.Buckets++
	c.tally.ContentBytes += name
	if b.Root == 0 {
		c.tally.InlineBuckets++
	}
	c.begin(name)
	return nil
}

// Leave implements walk.Visitor.
func (c *counter) Leave() error {
	b := c.end()
	value, inline := b.packer.inline()
	if !inline {
		c.tally.PackedPages += b.packer.finish()
	}
	c.open[len(c.open)-1].packer.leaf(b.name, value, true)
	return nil
}
