package probe

import (
	"math/rand/v2"
	"slices"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// How pages are sampled: a bucket of up to smallBucket pages at one height as
// a whole, a larger one in pieces of pieceLength neighbours.
const (
	smallBucket = 64
	pieceLength = 8
)

// Estimate is what a sample says of all trees.
type Estimate struct {
	Tally
	// Sampled is how many nodes were read.
	Sampled int64
	// Whole is set when no node was left out.
	Whole bool
}

// sampler walks all trees height by height and reads some nodes of each, chosen
// evenly, and about limit in all. What it counts is weighted by how many nodes
// each one stands for.
//
// Its weak spot is a huge bucket among thousands of small ones: until their roots
// have been read they look alike, and it may not be among those chosen.
type sampler struct {
	file    *page.File
	fill    float64
	limit   int // of nodes at the height that is being read
	left    int // nodes that may still be read
	picture *picture
	random  *rand.Rand

	whole   bool                 // no node was left out so far
	seen    map[page.ID]struct{} // nodes that were read
	sampled int64
	sum     struct {
		buckets, inline, keys, branches, leaves, overflow float64
		used, leafUsed, content, packed                   float64
	}
}

// ref is a page to be read, and the bucket that it belongs to.
type ref struct {
	id     page.ID
	bucket *sampledBucket
}

type sampledBucket struct {
	partial bool    // pages of it were left out
	weight  float64 // how many pages each of its pages at this height stands for
}

// all returns what the trees hold, extrapolated.
func (s *sampler) all() (Estimate, error) {
	s.whole, s.seen = true, make(map[page.ID]struct{})
	// Any fixed seed will do: the same file gives the same answer.
	s.random = rand.New(rand.NewPCG(1, 2))
	refs, depth := []ref{{s.file.Meta.Root, &sampledBucket{weight: 1}}}, 0
	for ; len(refs) > 0; depth++ {
		var err error
		if s.limit, err = s.share(refs); err != nil {
			return Estimate{}, err
		}
		if refs, err = s.height(s.choose(refs)); err != nil {
			return Estimate{}, err
		}
	}
	round := func(f float64) int64 { return int64(f + 0.5) }
	return Estimate{
		Tally: Tally{
			Buckets: round(s.sum.buckets), InlineBuckets: round(s.sum.inline), Keys: round(s.sum.keys),
			BranchPages: round(s.sum.branches), LeafPages: round(s.sum.leaves), OverflowPages: round(s.sum.overflow),
			UsedBytes: round(s.sum.used), LeafUsedBytes: round(s.sum.leafUsed), ContentBytes: round(s.sum.content),
			Depth: depth, PackedPages: round(s.sum.packed),
		},
		Sampled: s.sampled,
		Whole:   s.whole,
	}, nil
}

// share is how many nodes of a height may be read, of those that may be read
// yet. Branches need few, since each tells of a hundred nodes below; where there
// is a bucket more heights follow. What a height is like is seen from one node.
func (s *sampler) share(refs []ref) (int, error) {
	if len(refs) <= minSample {
		return minSample, nil
	}
	n, err := s.file.Node(refs[len(refs)/2].id, false, new(page.Buffer))
	if err != nil {
		return 0, err
	}
	part := s.left
	switch {
	case !n.Leaf:
		part /= 8
	case hasBucket(&n):
		part /= 2
	}
	return max(part, minSample), nil
}

func hasBucket(n *page.Node) bool {
	for i := range n.Count {
		if n.IsBucket(i) {
			return true
		}
	}
	return false
}

// choose leaves about as many refs as may be read. A bucket that is entitled to
// a piece of its own is sampled by itself, and so are all where they are few:
// what stands for one must not be taken from another. The rest is sampled
// together, small buckets as a whole, since they cannot share pages.
func (s *sampler) choose(refs []ref) []ref {
	if len(refs) <= s.limit {
		return refs
	}
	s.whole = false
	var chosen []ref
	var rest [][]ref
	restLength := 0
	buckets := byBucket(refs)
	few := len(buckets)*2*pieceLength <= s.limit
	for _, b := range buckets {
		n := len(b) * s.limit / len(refs)
		switch {
		case n < pieceLength && !few:
			restLength += len(b)
			if len(b) > smallBucket {
				rest = append(rest, pieces(b)...)
			} else {
				rest = append(rest, b)
			}
		default:
			chosen = append(chosen, s.pick(pieces(b), len(b), max(n, pieceLength))...)
		}
	}
	return append(chosen, s.pick(rest, restLength, restLength*s.limit/len(refs))...)
}

// pick chooses units with about n of all total refs, spread evenly and each as
// likely as any other, and makes what they are part of stand for the rest.
func (s *sampler) pick(units [][]ref, total, n int) []ref {
	if total <= n {
		return slices.Concat(units...)
	}
	n = max(1, len(units)*n/total)
	var chosen []ref
	for i := range n {
		low, high := i*len(units)/n, (i+1)*len(units)/n
		pick := low + s.random.IntN(high-low)
		for j, unit := range units[low:high] {
			if low+j == pick {
				chosen = append(chosen, unit...)
			} else {
				unit[0].bucket.partial = true
			}
		}
	}
	for _, b := range byBucket(chosen) {
		b[0].bucket.weight *= float64(total) / float64(len(chosen))
	}
	return chosen
}

// byBucket divides refs where the bucket changes.
func byBucket(refs []ref) [][]ref {
	var groups [][]ref
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].bucket == refs[0].bucket {
			n++
		}
		groups, refs = append(groups, refs[:n]), refs[n:]
	}
	return groups
}

func pieces(refs []ref) [][]ref { return slices.Collect(slices.Chunk(refs, pieceLength)) }

// height reads the nodes and returns those one level below.
func (s *sampler) height(refs []ref) ([]ref, error) {
	var (
		below []ref
		buf   page.Buffer
		pack  packer
		open  *sampledBucket // whose leaves pack holds
	)
	for i, r := range refs {
		n, err := s.file.Node(r.id, false, &buf)
		if err != nil {
			return nil, err
		}
		if err := s.node(&n, r.bucket.weight); err != nil {
			return nil, err
		}
		if !n.Leaf {
			for j := range n.Count {
				below = append(below, ref{n.Child(j), r.bucket})
			}
			continue
		}
		if open != r.bucket {
			pack.reset(s.file.Meta.PageSize, s.fill)
			open = r.bucket
		}
		if below, err = s.leaf(&n, &pack, r.bucket.weight, below); err != nil {
			return nil, err
		}
		if i+1 == len(refs) || refs[i+1].bucket != open {
			s.packed(&pack, open)
			open = nil
		}
	}
	return below, nil
}

// packed adds the pages that a bucket's entries will take.
func (s *sampler) packed(p *packer, b *sampledBucket) {
	switch _, inline := p.inline(); {
	case b.partial:
		s.sum.packed += b.weight * p.partial()
	case !inline:
		s.sum.packed += b.weight * float64(p.finish())
	}
}

// node counts a node. Reading none twice is what ends the walk in a file whose
// pages lead to each other in a circle.
func (s *sampler) node(n *page.Node, weight float64) error {
	if _, ok := s.seen[n.ID]; ok {
		return &page.Error{Page: n.ID, Problem: "is referenced twice"}
	}
	s.seen[n.ID] = struct{}{}
	s.sampled++
	s.left--
	used := n.Used()
	s.sum.used += weight * float64(used)
	s.sum.overflow += weight * float64(n.Pages-1)
	if n.Leaf {
		s.sum.leaves += weight * float64(n.Pages)
		s.sum.leafUsed += weight * float64(used)
	} else {
		s.sum.branches += weight * float64(n.Pages)
	}
	s.picture.node(n, used)
	return nil
}

// leaf gives a leaf's entries to p and adds the roots of its buckets to below.
func (s *sampler) leaf(n *page.Node, p *packer, weight float64, below []ref) ([]ref, error) {
	for i := range n.Count {
		key, value := int64(n.KeySize(i)), int64(n.ValueSize(i))
		p.leaf(key, value, n.IsBucket(i))
		s.sum.content += weight * float64(key)
		if !n.IsBucket(i) {
			s.sum.keys += weight
			s.sum.content += weight * float64(value)
			continue
		}
		s.sum.buckets += weight
		b, err := n.Bucket(i)
		if err != nil {
			return nil, err
		}
		if b.Root != 0 {
			below = append(below, ref{b.Root, &sampledBucket{weight: weight}})
			continue
		}
		s.sum.inline += weight
		s.sum.keys += weight * float64(b.Inline.Count)
		s.sum.content += weight * float64(b.Inline.Used()-page.HeaderSize-int64(b.Inline.Count)*page.ElementSize)
	}
	return below, nil
}
