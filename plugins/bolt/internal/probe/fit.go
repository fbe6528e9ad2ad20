package probe

import (
	"slices"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// usualError is by how much a sample may miss the number of pages in use without
// anything being amiss.
const usualError = 0.1

// fit makes what was found agree with the number of pages in use, which the
// freelist tells.
//
// Where they are far apart there are large buckets among many small ones: since
// all look alike until their roots have been read, too few were found, or too
// many. Those that were found then stand for what the small ones leave. Where
// none was, any pages do.
func (s *sampler) fit() (sums, error) {
	small, large := s.found()
	found := small
	found.add(&large, 1)
	if s.whole || s.inUse == 0 {
		return found, nil
	}
	off, missed := found.pages()/s.inUse-1, s.inUse-small.pages()
	switch {
	case max(off, -off) <= usualError || missed < 0:
		found.scale(s.inUse / found.pages())
		return found, nil
	case large.pages() > missed/2:
		small.add(&large, missed/large.pages())
		return small, nil
	}
	drawn, err := s.draw()
	if err != nil || drawn.leafUsed == 0 {
		found.scale(s.inUse / found.pages())
		return found, err
	}
	// The small buckets are among them, but were packed as if they were one.
	drawn.packed += small.packed - small.leafUsed*drawn.packed/drawn.leafUsed
	return drawn, nil
}

// found is what was counted in small and in large buckets.
func (s *sampler) found() (small, large sums) {
	for _, b := range s.buckets {
		if b.large {
			large.add(&b.sums, 1)
		} else {
			small.add(&b.sums, 1)
		}
	}
	return small, large
}

// draw reads some of the pages in use, wherever they belong, and counts them for
// all.
func (s *sampler) draw() (sums, error) {
	ids, err := s.drawIDs(max(s.reserve+s.left, s.budget/8, minSample))
	if err != nil {
		return sums{}, err
	}
	var (
		total sums
		buf   page.Buffer
		pack  packer
	)
	pack.reset(s.file.Meta.PageSize, s.fill)
	for _, id := range ids {
		n, err := s.file.Node(id, false, &buf)
		if err == nil {
			s.sampled++
			s.picture.node(&n, total.node(&n, 1))
		}
		if err == nil && n.Leaf {
			err = total.leaf(&n, &pack, 1, func(page.ID) {})
		}
		// What is no node is in the midst of a large value.
		if err != nil && !isDamage(err) {
			return total, err
		}
	}
	total.packed = pack.partial()
	if total.pages() > 0 {
		total.scale(s.inUse / total.pages())
	}
	return total, nil
}

// mostDraws bounds the search for pages in use where nearly all are free.
const mostDraws = 1 << 20

// drawIDs draws up to n pages that are in use, in the order of the file.
func (s *sampler) drawIDs(n int) ([]page.ID, error) {
	meta := s.file.Meta
	list, err := s.file.Freelist(false)
	if err != nil {
		return nil, err
	}
	taken := walk.NewPages(meta.HighWater)
	take := func(id page.ID) error { taken.Add(id); return nil }
	if err := s.file.EachFree(take); err != nil {
		return nil, err
	}
	for i := range list.Pages {
		taken.Add(meta.Freelist + page.ID(i))
	}
	var ids []page.ID
	for range mostDraws {
		if len(ids) == n {
			break
		}
		if id := 2 + page.ID(s.random.Uint64N(uint64(meta.HighWater-2))); taken.Add(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
