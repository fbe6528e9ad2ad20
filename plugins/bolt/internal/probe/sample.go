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

// sampler walks all trees height by height and reads some nodes of each, chosen
// evenly, and about limit in all. What it counts is weighted by how many nodes
// each one stands for.
type sampler struct {
	file    *page.File
	fill    float64
	picture *picture
	random  *rand.Rand
	budget  int     // nodes to read in all, about
	inUse   float64 // pages in use, 0 where that is not known

	reserve int                  // nodes for draw alone
	left    int                  // nodes that may still be read
	limit   int                  // of nodes at the height that is being read
	whole   bool                 // no node was left out so far
	depth   int                  // heights that were read
	seen    map[page.ID]struct{} // nodes that were read
	sampled int64
	buckets []*sampledBucket
}

// ref is a page to be read, and the bucket that it belongs to.
type ref struct {
	id     page.ID
	bucket *sampledBucket
}

type sampledBucket struct {
	sums
	first   float64 // how many buckets it stands for itself
	large   bool    // stands for others, and has more than smallBucket pages at a height
	partial bool    // pages of it were left out
	weight  float64 // how many pages each of its pages at this height stands for
}

func newSampler(file *page.File, fill float64, budget int, p *picture) *sampler {
	return &sampler{
		file: file, fill: fill, picture: p, budget: budget, left: budget, whole: true,
		seen: make(map[page.ID]struct{}),
		// Any fixed seed will do: the same file gives the same answer.
		random: rand.New(rand.NewPCG(1, 2)),
	}
}

func (s *sampler) bucket(weight float64) *sampledBucket {
	b := &sampledBucket{first: weight, weight: weight}
	s.buckets = append(s.buckets, b)
	return b
}

// all reads the sample.
func (s *sampler) all() error {
	sizes, pages, err := s.plan()
	if err != nil {
		return err
	}
	if pages < s.inUse/2 {
		s.reserve = s.budget / 2
		s.left -= s.reserve
	}
	for refs := []ref{{s.file.Meta.Root, s.bucket(1)}}; len(refs) > 0; s.depth++ {
		if s.left < -s.budget/8 {
			s.whole = false
			break
		}
		s.limit = s.share(refs, sizes)
		if refs, err = s.height(s.choose(refs)); err != nil {
			return err
		}
	}
	return nil
}

// choose leaves about as many refs as may be read. A bucket that is entitled to
// a piece of its own is sampled by itself, and so are all where they are few:
// what stands for one must not be taken from another. The rest is sampled
// together, small buckets as a whole, since they cannot share pages.
func (s *sampler) choose(refs []ref) []ref {
	buckets := byBucket(refs)
	for _, b := range buckets {
		if of := b[0].bucket; of.first > 1 && len(b) > smallBucket {
			of.large = true
		}
	}
	if len(refs) <= s.limit {
		return refs
	}
	s.whole = false
	var chosen []ref
	var rest [][]ref
	restLength := 0
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
		pick := s.within(i, n, len(units))
		for j := i * len(units) / n; j < (i+1)*len(units)/n; j++ {
			if j == pick {
				chosen = append(chosen, units[j]...)
			} else {
				units[j][0].bucket.partial = true
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
		if err := s.node(&n, r.bucket); err != nil {
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
		if below, err = s.leaf(&n, &pack, r.bucket, below); err != nil {
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
	switch value, inline := p.inline(); {
	case b.partial:
		b.packed += b.weight * p.partial()
	case !inline:
		b.packed += b.weight * float64(p.finish())
	default: // it becomes a part of its parent's entry
		b.packed += b.weight * float64(value) / float64(p.rule.Limit())
	}
}

// node counts a node. Reading none twice is what ends the walk in a file whose
// pages lead to each other in a circle.
func (s *sampler) node(n *page.Node, b *sampledBucket) error {
	if _, ok := s.seen[n.ID]; ok {
		return &page.Error{Page: n.ID, Problem: "is referenced twice"}
	}
	s.seen[n.ID] = struct{}{}
	s.sampled++
	s.left--
	used := b.node(n, b.weight)
	s.picture.node(n, used)
	return nil
}

// leaf gives a leaf's entries to p and adds the roots of its buckets to below.
func (s *sampler) leaf(n *page.Node, p *packer, b *sampledBucket, below []ref) ([]ref, error) {
	return below, b.leaf(n, p, b.weight, func(root page.ID) {
		below = append(below, ref{root, s.bucket(b.weight)})
	})
}
