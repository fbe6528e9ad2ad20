package punch

import (
	"context"
	"fmt"
	"iter"
	"math/bits"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// lookEvery is after how many nodes the end of the context is looked for.
const lookEvery = 64

// reach returns the pages that the trees of one meta take, overflow pages
// included. It reads their tables of entries, and neither keys nor values.
//
// It goes from height to height, and through each in the order of the pages,
// so that a disk is read forwards. A page that is met twice is damage, which is
// also what ends the walk where pages lead to each other in a circle. What it
// holds in memory is three bits for each page of the file.
func reach(ctx context.Context, file *page.File) (*pageSet, error) {
	w := &reacher{file: file, reached: newPageSet(file.Meta.HighWater)}
	height, below := newPageSet(file.Meta.HighWater), newPageSet(file.Meta.HighWater)
	height.add(file.Meta.Root)
	for height.count > 0 {
		for id := range height.all() {
			if w.nodes++; w.nodes%lookEvery == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err := w.node(id, below); err != nil {
				return nil, err
			}
		}
		height.clear()
		height, below = below, height
	}
	return w.reached, nil
}

type reacher struct {
	file    *page.File
	reached *pageSet
	nodes   int
	buf     page.Buffer
}

// node marks the pages of one node, and adds to below those that it leads to.
func (w *reacher) node(id page.ID, below *pageSet) error {
	n, err := w.file.Node(id, false, &w.buf)
	if err != nil {
		return err
	}
	for i := range n.Pages {
		if !w.reached.add(id + page.ID(i)) {
			return twice(id + page.ID(i))
		}
	}
	for i := range n.Count {
		var to page.ID
		switch {
		case !n.Leaf:
			to = n.Child(i)
		case n.IsBucket(i):
			b, err := n.Bucket(i)
			if err != nil {
				return err
			}
			if b.Root == 0 {
				continue // an inline bucket holds no other
			}
			to = b.Root
		default:
			continue
		}
		if to < 2 || to >= w.file.Meta.HighWater {
			return damage(to, "is referenced by page %d but lies outside of 2 to %d", id, w.file.Meta.HighWater-1)
		}
		if w.reached.has(to) || !below.add(to) {
			return twice(to)
		}
	}
	return nil
}

func damage(id page.ID, format string, args ...any) error {
	return &page.Error{Page: id, Problem: fmt.Sprintf(format, args...)}
}

func twice(id page.ID) error { return damage(id, "is referenced twice") }

// pageSet is a set of pages below a bound. Adding and going through it cost no
// more than the part of the file between its first and its last page.
type pageSet struct {
	words     []uint64
	count     int64
	low, high int // no bit is set outside of these words, high excluded
}

func newPageSet(bound page.ID) *pageSet {
	return &pageSet{words: make([]uint64, (bound+63)/64)}
}

func (s *pageSet) has(id page.ID) bool { return s.words[id/64]&(1<<(id%64)) != 0 }

// add returns false where the page is in the set already.
func (s *pageSet) add(id page.ID) bool {
	if s.has(id) {
		return false
	}
	word := int(id / 64)
	if s.count == 0 {
		s.low, s.high = word, word+1
	}
	s.low, s.high = min(s.low, word), max(s.high, word+1)
	s.words[word] |= 1 << (id % 64)
	s.count++
	return true
}

// all goes through the set in ascending order.
func (s *pageSet) all() iter.Seq[page.ID] {
	return func(yield func(page.ID) bool) {
		for i := s.low; i < s.high; i++ {
			for word := s.words[i]; word != 0; word &= word - 1 {
				if !yield(page.ID(i*64 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

func (s *pageSet) clear() {
	clear(s.words[s.low:s.high])
	s.count, s.low, s.high = 0, 0, 0
}
