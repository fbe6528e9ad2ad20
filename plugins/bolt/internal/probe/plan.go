package probe

import (
	"math"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// A plan is made by planShare of the sample, from up to planNodes nodes of each
// height.
const (
	planShare = 1.0 / 8
	planNodes = 16
)

// plan guesses how many nodes there are at each height, without which a sample
// would spend itself on the heights above those where the content is, and how
// many pages they take.
func (s *sampler) plan() (sizes []float64, pages float64, err error) {
	var (
		buf  page.Buffer
		ids  = []page.ID{s.file.Meta.Root}
		size = 1.0
	)
	most := max(1, min(planNodes, s.budget/64))
	end := s.budget - int(planShare*float64(s.budget))
	for len(ids) > 0 && s.left > end {
		sizes = append(sizes, size)
		n := min(most, len(ids))
		var below []page.ID
		for i := range n {
			id := ids[s.within(i, n, len(ids))]
			node, err := s.file.Node(id, false, &buf)
			if err != nil {
				return nil, 0, err
			}
			pages += size / float64(n) * float64(node.Pages)
			if below, err = appendBelow(below, &node); err != nil {
				return nil, 0, err
			}
		}
		s.left -= n
		size *= float64(len(below)) / float64(n)
		ids = below
	}
	return sizes, pages, nil
}

// within chooses one of the ith of n equal parts of so many.
func (s *sampler) within(i, n, all int) int {
	low, high := i*all/n, (i+1)*all/n
	return low + s.random.IntN(high-low)
}

// appendBelow adds the nodes that a node leads to.
func appendBelow(ids []page.ID, n *page.Node) ([]page.ID, error) {
	for i := range n.Count {
		if !n.Leaf {
			ids = append(ids, n.Child(i))
			continue
		}
		if !n.IsBucket(i) {
			continue
		}
		b, err := n.Bucket(i)
		if err != nil {
			return nil, err
		}
		if b.Root != 0 {
			ids = append(ids, b.Root)
		}
	}
	return ids, nil
}

// share is how many nodes of the next height may be read. It grows with the
// square root of how many there are: what is known of few has to be as exact as
// what is known of many. Something is left for heights that the plan has not
// come to.
func (s *sampler) share(refs []ref, sizes []float64) int {
	if len(refs) <= minSample {
		return minSample
	}
	var here, below float64
	for _, r := range refs {
		here += r.bucket.weight
	}
	here = math.Sqrt(here)
	for _, size := range sizes[min(s.depth+1, len(sizes)):] {
		below += math.Sqrt(size)
	}
	below = max(below, planShare*here)
	return max(minSample, int(float64(s.left)*here/(here+below)))
}
