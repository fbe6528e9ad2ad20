package bolt

import (
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// summer sums up what a walk visits.
type summer struct {
	meter *meter
	// open are the buckets that the walk is in, and sums what they hold so far,
	// the root's first.
	open []openBucket
	sums []content.Sum
}

type openBucket struct {
	name     []byte
	sequence uint64
}

func newSummer(m *meter) *summer { return &summer{meter: m, sums: make([]content.Sum, 1)} }

// file returns the sum of a file that was walked.
func (s *summer) file(meta page.Meta) content.Sum { return content.File(meta.Sequence, s.sums[0]) }

func (s *summer) put(key, value []byte) { s.sums[len(s.sums)-1].Put(key, value) }

func (s *summer) enter(name []byte, sequence uint64) {
	s.open = append(s.open, openBucket{name, sequence})
	s.sums = append(s.sums, content.Sum{})
}

func (s *summer) leave() {
	last := len(s.open) - 1
	bucket, within := s.open[last], s.sums[last+1]
	s.open, s.sums = s.open[:last], s.sums[:last+1]
	s.sums[last].Bucket(bucket.name, bucket.sequence, within)
}

// Node implements walk.Visitor.
func (s *summer) Node(n *page.Node, _ int) error { return s.meter.add(n.Bytes(), n.Bytes(), 0) }

// Item implements walk.Visitor.
func (s *summer) Item(n *page.Node, i int) error {
	key, value, err := n.Item(i)
	if err != nil {
		return err
	}
	s.put(key, value)
	return nil
}

// Enter implements walk.Visitor.
func (s *summer) Enter(n *page.Node, i int, b *page.Bucket) error {
	name, err := n.Key(i)
	if err != nil {
		return err
	}
	s.enter(name, b.Sequence)
	return nil
}

// Leave implements walk.Visitor.
func (s *summer) Leave() error {
	s.leave()
	return nil
}

var _ walk.Visitor = (*summer)(nil)
