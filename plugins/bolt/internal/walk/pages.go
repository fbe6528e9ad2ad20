package walk

import (
	"math/bits"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Pages is a set of pages below a bound.
type Pages struct {
	bits  []uint64
	count int64
}

// NewPages makes an empty set of pages below n.
func NewPages(n page.ID) *Pages { return &Pages{bits: make([]uint64, (n+63)/64)} }

// Count of the pages in the set.
func (s *Pages) Count() int64 { return s.count }

// Has says whether a page is in the set.
func (s *Pages) Has(id page.ID) bool { return s.bits[id/64]&(1<<(id%64)) != 0 }

// Add returns false where the page is in the set already.
func (s *Pages) Add(id page.ID) bool {
	if s.Has(id) {
		return false
	}
	s.bits[id/64] |= 1 << (id % 64)
	s.count++
	return true
}

// CheckFree makes sure that the freelist, if the file has one, names no page
// that was reached, and none twice: the next writer would put two things there.
func CheckFree(file *page.File, reached *Pages) error {
	if file.Meta.Freelist == page.NoFreelist {
		return nil
	}
	free := NewPages(file.Meta.HighWater)
	return file.EachFree(func(id page.ID) error {
		switch {
		case reached.Has(id):
			return &page.Error{Page: id, Problem: "is in use and on the freelist"}
		case !free.Add(id):
			return &page.Error{Page: id, Problem: "is on the freelist twice"}
		}
		return nil
	})
}

// Each calls f with every page in the set, ascending.
func (s *Pages) Each(f func(page.ID)) {
	for i, word := range s.bits {
		for ; word != 0; word &= word - 1 {
			f(page.ID(i*64 + bits.TrailingZeros64(word)))
		}
	}
}
