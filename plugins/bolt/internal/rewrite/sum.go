package rewrite

import (
	"os"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// summer sums up what a walk visits.
type summer struct {
	meter  *Meter
	behind *behind
	// open are the buckets that the walk is in, and sums what they hold so far,
	// the root's first.
	open []openBucket
	sums []content.Sum
}

type openBucket struct {
	name     []byte
	sequence uint64
}

func newSummer(m *Meter, mapping *page.Mapping) *summer {
	return &summer{meter: m, behind: &behind{mapping: mapping, every: forgetEvery}, sums: make([]content.Sum, 1)}
}

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
func (s *summer) Node(n *page.Node, _ int) error {
	s.behind.read(n.Bytes())
	return s.meter.Add(n.Bytes(), n.Bytes(), 0)
}

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

// SumUp reads all content of a file in a state, and returns its sum and the
// pages that it lies on. Phase is what the progress is called.
func SumUp(source *os.File, meta page.Meta, phase string, m *Meter) (content.Sum, *walk.Pages, error) {
	file := &page.File{R: source, Meta: meta}
	total := meta.Bytes()
	if meta.Freelist != page.NoFreelist {
		list, err := file.Freelist(false)
		if err != nil {
			return content.Sum{}, nil, err
		}
		total -= list.Count * int64(meta.PageSize)
	}
	m.Begin(phase, "bytes", total)
	mapping, err := page.Map(source, meta.Bytes())
	if err != nil {
		return content.Sum{}, nil, err
	}
	defer m.unmap(mapping)
	file.Data = mapping.Data
	s := newSummer(m, mapping)
	var reached *walk.Pages
	if err := fault.Contain("read "+source.Name(), func() (err error) {
		reached, err = walk.Walk(file, s)
		return err
	}); err != nil {
		return content.Sum{}, nil, err
	}
	m.End()
	return s.file(meta), reached, nil
}
