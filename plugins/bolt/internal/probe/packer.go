package probe

import (
	"github.com/wringdb/wring/plugins/bolt/internal/pack"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// A packer foretells how many pages a bucket's tree takes once its entries
// have been put in key order. It does what package writer does, with sizes in
// the place of keys and values.
type packer struct {
	rule   pack.Rule
	levels []level
	nested bool // an entry is a bucket
}

// level is what has not been closed yet at one height of a tree.
type level struct {
	open, held node
	pages      int64 // of the nodes that have been closed
	closed     int64 // bytes of entries in those
}

// node counts entries and bytes, the header's included. The keys of the first
// entry and of the last are what a parent and a neighbour need.
type node struct {
	entries, used, first, last int64
}

func (n *node) add(size, key int64) {
	if n.entries == 0 {
		n.first = key
	}
	n.entries++
	n.used += size
	n.last = key
}

func emptyNode() node { return node{used: page.HeaderSize} }

func (p *packer) reset(pageSize int, fill float64) {
	p.rule, p.nested = pack.New(pageSize, fill), false
	p.levels = append(p.levels[:0], level{open: emptyNode()})
}

// leaf adds the next entry of the bucket.
func (p *packer) leaf(key, value int64, bucket bool) {
	p.nested = p.nested || bucket
	p.add(0, pack.EntrySize(key, value), key)
}

func (p *packer) add(height int, size, key int64) {
	if height == len(p.levels) {
		p.levels = append(p.levels, level{open: emptyNode()})
	}
	l := &p.levels[height]
	least := int64(1)
	if height > 0 {
		least = pack.MinChildren
	}
	if l.open.entries >= least && !p.rule.Joins(l.open.used, int(l.open.entries), size) {
		l.held, l.open = l.open, emptyNode()
	}
	l.open.add(size, key)
	if l.held.entries > 0 && l.open.entries >= least {
		p.closeHeld(height)
	}
}

func (p *packer) closeHeld(height int) {
	l := &p.levels[height]
	held := l.held
	l.held = node{}
	p.close(height, held)
}

func (p *packer) close(height int, n node) {
	l := &p.levels[height]
	l.pages += p.rule.Pages(n.used)
	l.closed += n.used - page.HeaderSize
	p.add(height+1, pack.EntrySize(n.first, 0), n.first)
}

// inline says whether the bucket lies within its parent's entry, and with how
// many bytes of value.
func (p *packer) inline() (value int64, ok bool) {
	used := p.levels[0].open.used
	if p.nested || len(p.levels) > 1 || !p.rule.Inline(used) {
		return page.BucketHeaderSize, false
	}
	return page.BucketHeaderSize + used, true
}

// finish returns the pages of the whole tree; the root's leaf is there even
// when it is empty.
func (p *packer) finish() int64 {
	var pages int64
	for height := 0; ; height++ {
		p.levels[height].balance()
		if p.levels[height].held.entries > 0 {
			p.closeHeld(height)
		}
		l := &p.levels[height]
		if height == len(p.levels)-1 {
			return pages + l.pages + p.rule.Pages(l.open.used)
		}
		p.close(height, l.open)
		pages += p.levels[height].pages
	}
}

// balance moves what the last node of a level needs to have enough children, or
// makes the last two one.
func (l *level) balance() {
	if l.held.entries == 0 || l.open.entries >= pack.MinChildren {
		return
	}
	size := pack.EntrySize(l.held.last, 0)
	if l.held.entries == pack.MinChildren {
		l.open.used += l.held.used - page.HeaderSize
		l.open.entries += l.held.entries
		l.open.first = l.held.first
		l.held = node{}
		return
	}
	l.held.used -= size
	l.held.entries--
	l.open.used += size
	l.open.entries++
	l.open.first = l.held.last
}

// partial returns the pages that the entries so far take as a part of a larger
// tree: the last node of each level counts by what it holds.
func (p *packer) partial() float64 {
	var pages float64
	for _, l := range p.levels {
		rest := float64(l.open.used+l.held.used) / float64(p.rule.Limit())
		if l.closed > 0 {
			rest = float64(l.open.used-page.HeaderSize+max(0, l.held.used-page.HeaderSize)) / float64(l.closed) * float64(l.pages)
		}
		pages += float64(l.pages) + rest
	}
	return pages
}
