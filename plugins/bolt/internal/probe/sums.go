package probe

import "github.com/wringdb/wring/plugins/bolt/internal/page"

// sums is what was counted in a part of the trees, each node as often as there
// are nodes that it stands for.
type sums struct {
	buckets, inline, keys      float64
	branches, leaves, overflow float64 // pages; the overflow is part of both
	used, leafUsed, content    float64 // bytes
	packed                     float64 // pages
}

// pages of the trees.
func (s *sums) pages() float64 { return s.branches + s.leaves }

// node counts a branch or a leaf without its entries, and returns its used
// bytes.
func (s *sums) node(n *page.Node, weight float64) int64 {
	used := n.Used()
	s.used += weight * float64(used)
	s.overflow += weight * float64(n.Pages-1)
	if n.Leaf {
		s.leaves += weight * float64(n.Pages)
		s.leafUsed += weight * float64(used)
	} else {
		s.branches += weight * float64(n.Pages)
	}
	return used
}

// leaf counts the entries of a leaf, gives them to p, and calls bucket with the
// root of each bucket that has pages of its own.
func (s *sums) leaf(n *page.Node, p *packer, weight float64, bucket func(root page.ID)) error {
	for i := range n.Count {
		key, value := int64(n.KeySize(i)), int64(n.ValueSize(i))
		p.leaf(key, value, n.IsBucket(i))
		s.content += weight * float64(key)
		if !n.IsBucket(i) {
			s.keys += weight
			s.content += weight * float64(value)
			continue
		}
		s.buckets += weight
		b, err := n.Bucket(i)
		if err != nil {
			return err
		}
		if b.Root != 0 {
			bucket(b.Root)
			continue
		}
		s.inline += weight
		s.keys += weight * float64(b.Inline.Count)
		s.content += weight * float64(b.Inline.Used()-page.HeaderSize-int64(b.Inline.Count)*page.ElementSize)
	}
	return nil
}

func (s *sums) scale(factor float64) { s.add(s, factor-1) }

// add adds other, as many times as factor says.
func (s *sums) add(other *sums, factor float64) {
	to, from := s.all(), other.all()
	for i := range to {
		*to[i] += factor * *from[i]
	}
}

func (s *sums) all() [10]*float64 {
	return [10]*float64{
		&s.buckets, &s.inline, &s.keys, &s.branches, &s.leaves, &s.overflow,
		&s.used, &s.leafUsed, &s.content, &s.packed,
	}
}

// tally rounds the sums. None is below zero, whatever was taken away.
func (s *sums) tally(depth int) Tally {
	round := func(f float64) int64 { return int64(max(0, f) + 0.5) }
	return Tally{
		Buckets: round(s.buckets), InlineBuckets: round(s.inline), Keys: round(s.keys),
		BranchPages: round(s.branches), LeafPages: round(s.leaves), OverflowPages: round(s.overflow),
		UsedBytes: round(s.used), LeafUsedBytes: round(s.leafUsed), ContentBytes: round(s.content),
		Depth: depth, PackedPages: round(s.packed),
	}
}
