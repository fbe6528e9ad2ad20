package probe

import (
	"math/rand/v2"

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

// sampler walks all trees height by height and reads at most limit nodes of
// each height, chosen evenly. What it counts is weighted by how many nodes
// each one stands for.
type sampler struct {
	file    *page.File
	fill    float64
	limit   int
	picture *picture
	random  *rand.Rand

	weight  float64              // of a node at this height
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

type sampledBucket struct{ partial bool }

// all returns what the trees hold, extrapolated.
func (s *sampler) all() (Estimate, error) {
	s.weight, s.seen = 1, make(map[page.ID]struct{})
	// Any fixed seed will do: the same file gives the same answer.
	s.random = rand.New(rand.NewPCG(1, 2))
	refs, depth := []ref{{s.file.Meta.Root, new(sampledBucket)}}, 0
	for ; len(refs) > 0; depth++ {
		var err error
		if refs, err = s.height(s.choose(refs)); err != nil {
			return Estimate{}, err
		}
	}
	whole, round := s.weight == 1, func(f float64) int64 { return int64(f + 0.5) }
	return Estimate{
		Tally: Tally{
			Buckets: round(s.sum.buckets), InlineBuckets: round(s.sum.inline), Keys: round(s.sum.keys),
			BranchPages: round(s.sum.branches), LeafPages: round(s.sum.leaves), OverflowPages: round(s.sum.overflow),
			UsedBytes: round(s.sum.used), LeafUsedBytes: round(s.sum.leafUsed), ContentBytes: round(s.sum.content),
			Depth: depth, PackedPages: round(s.sum.packed),
		},
		Sampled: s.sampled,
		Whole:   whole,
	}, nil
}

// choose leaves about as many refs as may be read. Buckets of few pages stay
// whole, for they cannot share pages; larger ones are sampled in pieces. Each
// unit is as likely to be chosen as any other, and they are spread evenly.
func (s *sampler) choose(refs []ref) []ref {
	if len(refs) <= s.limit {
		return refs
	}
	units := cut(refs)
	n := max(1, len(units)*s.limit/len(refs))
	chosen := make([]ref, 0, s.limit)
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
	s.weight *= float64(len(refs)) / float64(len(chosen))
	return chosen
}

// cut divides refs into the units of a sample.
func cut(refs []ref) [][]ref {
	var units [][]ref
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].bucket == refs[0].bucket {
			n++
		}
		if n > smallBucket {
			for ; n > pieceLength; n -= pieceLength {
				units, refs = append(units, refs[:pieceLength]), refs[pieceLength:]
			}
		}
		units, refs = append(units, refs[:n]), refs[n:]
	}
	return units
}

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
		if err := s.node(&n); err != nil {
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
		if below, err = s.leaf(&n, &pack, below); err != nil {
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
		s.sum.packed += s.weight * p.partial()
	case !inline:
		s.sum.packed += s.weight * float64(p.finish())
	}
}

// node counts a node. Reading none twice is what ends the walk in a file whose
// pages lead to each other in a circle.
func (s *sampler) node(n *page.Node) error {
	if _, ok := s.seen[n.ID]; ok {
		return twice(n.ID)
	}
	s.seen[n.ID] = struct{}{}
	s.sampled++
	used := n.Used()
	s.sum.used += s.weight * float64(used)
	s.sum.overflow += s.weight * float64(n.Pages-1)
	if n.Leaf {
		s.sum.leaves += s.weight * float64(n.Pages)
		s.sum.leafUsed += s.weight * float64(used)
	} else {
		s.sum.branches += s.weight * float64(n.Pages)
	}
	s.picture.node(n, used)
	return nil
}

// leaf gives a leaf's entries to p and adds the roots of its buckets to below.
func (s *sampler) leaf(n *page.Node, p *packer, below []ref) ([]ref, error) {
	for i := range n.Count {
		key, value := int64(n.KeySize(i)), int64(n.ValueSize(i))
		p.leaf(key, value, n.IsBucket(i))
		s.sum.content += s.weight * float64(key)
		if !n.IsBucket(i) {
			s.sum.keys += s.weight
			s.sum.content += s.weight * float64(value)
			continue
		}
		s.sum.buckets += s.weight
		b, err := n.Bucket(i)
		if err != nil {
			return nil, err
		}
		if b.Root != 0 {
			below = append(below, ref{b.Root, new(sampledBucket)})
			continue
		}
		s.sum.inline += s.weight
		s.sum.keys += s.weight * float64(b.Inline.Count)
		s.sum.content += s.weight * float64(b.Inline.Used()-page.HeaderSize-int64(b.Inline.Count)*page.ElementSize)
	}
	return below, nil
}
