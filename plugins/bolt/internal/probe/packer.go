package probe

import "github.com/wringdb/wring/plugins/bolt/internal/page"

// minPerNode is how many entries bbolt puts into a node at least when it
// splits one (common.MinKeysPerPage), whatever their size.
const minPerNode = 2

// A packer foretells how many pages a bucket's tree takes once its entries
// have been put in key order: it splits as bbolt's node.split does.
type packer struct {
	pageSize  int64
	threshold int64 // of bytes in a node after a split
	levels    []level
	total     int64 // bytes of all entries of the lowest level
	entries   int64
	nested    bool // an entry is a bucket
}

// level holds what has not been split off yet at one height of a tree.
type level struct {
	open  []entry
	bytes int64 // of the node that open would make
	nodes int64 // split off so far
	pages int64 // that those take
	done  int64 // bytes of entries in those
}

type entry struct {
	size int64 // with its header
	key  int64
}

func (p *packer) reset(pageSize int, fill float64) {
	p.pageSize, p.threshold = int64(pageSize), int64(float64(pageSize)*fill)
	p.total, p.entries, p.nested = 0, 0, false
	for i := range p.levels {
		p.levels[i] = level{open: p.levels[i].open[:0]}
	}
	p.levels = p.levels[:0]
}

// leaf adds the next entry of the bucket.
func (p *packer) leaf(key, value int64, bucket bool) {
	size := page.ElementSize + key + value
	p.total += size
	p.entries++
	p.nested = p.nested || bucket
	p.add(0, entry{size: size, key: key})
}

func (p *packer) add(height int, e entry) {
	if height == len(p.levels) {
		if height < cap(p.levels) {
			p.levels = p.levels[:height+1]
		} else {
			p.levels = append(p.levels, level{})
		}
		p.levels[height] = level{open: p.levels[height].open[:0], bytes: page.HeaderSize}
	}
	l := &p.levels[height]
	l.open = append(l.open, e)
	l.bytes += e.size
	for {
		n := p.splitAt(l, false)
		if n == 0 {
			return
		}
		p.closeNode(height, n)
		l = &p.levels[height] // closing may have added a level
	}
}

// splitAt returns how many of the open entries bbolt would split off now, or 0.
// It waits for as many more entries as the decision needs, unless at the end.
func (p *packer) splitAt(l *level, end bool) int {
	if len(l.open) <= 2*minPerNode || l.bytes < p.pageSize {
		return 0
	}
	size := int64(page.HeaderSize)
	for i := range len(l.open) - minPerNode {
		if i >= minPerNode && size+l.open[i].size > p.threshold {
			return i
		}
		size += l.open[i].size
	}
	if end {
		return len(l.open) - minPerNode - 1
	}
	return 0
}

// closeNode makes a node of the first n open entries.
func (p *packer) closeNode(height, n int) {
	l := &p.levels[height]
	size, first := int64(page.HeaderSize), l.open[0]
	for _, e := range l.open[:n] {
		size += e.size
	}
	l.open = l.open[:copy(l.open, l.open[n:])]
	l.bytes -= size - page.HeaderSize
	l.nodes++
	l.done += size - page.HeaderSize
	l.pages += (size + p.pageSize - 1) / p.pageSize
	p.add(height+1, entry{size: page.ElementSize + first.key, key: first.key})
}

// inline says whether the bucket fits into its parent's entry, and with how
// many bytes of value (Bucket.inlineable).
func (p *packer) inline() (value int64, ok bool) {
	size := page.HeaderSize + p.total
	if p.nested || size > p.pageSize/4 {
		return page.BucketHeaderSize, false
	}
	return page.BucketHeaderSize + size, true
}

// finish returns the pages of the whole tree; the root's leaf is there even
// when it is empty.
func (p *packer) finish() int64 {
	if p.entries == 0 {
		return 1
	}
	var pages int64
	for height := 0; height < len(p.levels); height++ {
		for {
			n := p.splitAt(&p.levels[height], true)
			if n == 0 {
				break
			}
			p.closeNode(height, n)
		}
		// The root is the level that makes one node only.
		if p.levels[height].nodes > 0 || height < len(p.levels)-1 {
			p.closeNode(height, len(p.levels[height].open))
			pages += p.levels[height].pages
			continue
		}
		return pages + (p.levels[height].bytes+p.pageSize-1)/p.pageSize
	}
	return pages
}

// partial returns the pages that the entries so far take as a part of a larger
// tree: the last node of each level counts by what it holds.
func (p *packer) partial() float64 {
	var pages float64
	for _, l := range p.levels {
		rest := float64(l.bytes-page.HeaderSize) / float64(p.threshold-page.HeaderSize)
		if l.nodes > 0 {
			rest = float64(l.bytes-page.HeaderSize) / float64(l.done) * float64(l.pages)
		}
		pages += float64(l.pages) + rest
	}
	return pages
}
