package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

const (
	// checkEvery is how many keys are read between two looks at the context.
	checkEvery = 1024
	// reportBytes is how many bytes are read, at most, until it is told.
	reportBytes = 256 << 10
)

// Content is what a reader of a store sees, in sum.
type Content struct {
	Digest string
	Items  int64 // keys, and range keys
	Bytes  int64 // of keys and values
	// Attributes is set when values have short attributes, which are kept for those that
	// lie apart from their keys.
	Attributes bool
}

// ReadContent reads a whole store in key order. Two stores have equal digests if
// and only if a reader cannot tell them apart, but for collisions: the digest is
// the sum of a hash for each item, into which each part of it goes with its length
// before it, after a byte for its kind.
func ReadContent(ctx context.Context, db pebbledb.Reader, report func(bytes int64)) (Content, error) {
	s := NewSum(nil, 0)
	err := s.Add(ctx, db, nil, nil, func(bytes int64) error {
		report(bytes)
		return nil
	})
	if err != nil {
		return Content{}, err
	}
	return s.Content(), nil
}

// Sum adds content up, key range by key range. The digest depends neither on the
// order of those nor on where one iterator ends and the next begins.
type Sum struct {
	// compare may be nil; then the order of keys is not checked.
	compare pebbledb.Compare
	// renew is how many bytes one iterator reads: for as long as it lives, it
	// keeps the tables that it began with from being removed.
	renew int64

	hash    uint64
	content Content
	item    []byte // room for one
}

// NewSum makes one that reads with a new iterator after about renew bytes, or
// with a single one for each range when that is 0.
func NewSum(compare pebbledb.Compare, renew int64) *Sum {
	return &Sum{compare: compare, renew: renew}
}

// Content is the sum so far.
func (s *Sum) Content() Content {
	c := s.content
	c.Digest = fmt.Sprintf("xxh64:%016x", s.hash)
	return c
}

// Merge adds what another has summed up.
func (s *Sum) Merge(other *Sum) {
	s.hash += other.hash
	s.content.Items += other.content.Items
	s.content.Bytes += other.content.Bytes
}

// Add reads from lower to upper (exclusive); nil is no bound. It calls report now
// and then with the bytes so far, all ranges together, and ends with its error.
func (s *Sum) Add(ctx context.Context, r pebbledb.Reader, lower, upper []byte, report func(bytes int64) error) error {
	if err := s.AddRangeKeys(ctx, r, lower, upper); err != nil {
		return err
	}
	return s.AddPoints(ctx, r, lower, upper, report)
}

// AddPoints is Add without the range keys.
func (s *Sum) AddPoints(ctx context.Context, r pebbledb.Reader, lower, upper []byte, report func(bytes int64) error) error {
	for {
		it, err := iterate(ctx, r, pebbledb.IterKeyTypePointsOnly, lower, upper)
		if err != nil {
			return err
		}
		next, err := s.points(ctx, it, report)
		if cerr := it.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		if next == nil {
			return report(s.content.Bytes)
		}
		lower = next
	}
}

// AddRangeKeys is Add of nothing but range keys, cut off at the bounds.
func (s *Sum) AddRangeKeys(ctx context.Context, r pebbledb.Reader, lower, upper []byte) error {
	it, err := iterate(ctx, r, pebbledb.IterKeyTypeRangesOnly, lower, upper)
	if err != nil {
		return err
	}
	err = s.rangeKeys(ctx, it)
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}

// Pinned is a part of a store as it was at some time: whatever happens to the store
// since, and meanwhile, is not seen. Its tables stay on the disk until it is closed.
type Pinned struct {
	sum            *Sum
	points, ranges *pebbledb.Iterator
}

// Pin opens what Add would read, all of it.
func (s *Sum) Pin(ctx context.Context, r pebbledb.Reader) (*Pinned, error) {
	points, err := iterate(ctx, r, pebbledb.IterKeyTypePointsOnly, nil, nil)
	if err != nil {
		return nil, err
	}
	ranges, err := iterate(ctx, r, pebbledb.IterKeyTypeRangesOnly, nil, nil)
	if err != nil {
		return nil, errors.Join(err, points.Close())
	}
	return &Pinned{sum: s, points: points, ranges: ranges}, nil
}

// AddRangeKeys is that of the sum.
func (p *Pinned) AddRangeKeys(ctx context.Context, lower, upper []byte) error {
	p.ranges.SetBounds(lower, upper)
	return p.sum.rangeKeys(ctx, p.ranges)
}

// AddPoints is that of the sum.
func (p *Pinned) AddPoints(ctx context.Context, lower, upper []byte, report func(bytes int64) error) error {
	p.points.SetBounds(lower, upper)
	if _, err := p.sum.points(ctx, p.points, report); err != nil {
		return err
	}
	return report(p.sum.content.Bytes)
}

// Close gives the tables free.
func (p *Pinned) Close() error { return errors.Join(p.points.Close(), p.ranges.Close()) }

func iterate(ctx context.Context, r pebbledb.Reader, kind pebbledb.IterKeyType, lower, upper []byte) (*pebbledb.Iterator, error) {
	it, err := r.NewIterWithContext(ctx, &pebbledb.IterOptions{KeyTypes: kind, LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("iterate: %w", err)
	}
	return it, nil
}

// points takes an iterator as far as it may go, and returns where to go on.
func (s *Sum) points(ctx context.Context, it *pebbledb.Iterator, report func(bytes int64) error) (next []byte, err error) {
	began, told := s.content.Bytes, s.content.Bytes
	var last []byte
	for valid, n := it.First(), 1; valid; valid, n = it.Next(), n+1 {
		if n%checkEvery == 0 || s.content.Bytes-told >= reportBytes {
			told = s.content.Bytes
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := report(told); err != nil {
				return nil, err
			}
		}
		if s.renew > 0 && s.content.Bytes-began >= s.renew {
			return bytes.Clone(it.Key()), nil
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if s.compare != nil {
			if n > 1 && s.compare(last, it.Key()) >= 0 {
				return nil, sdk.Errorf(sdk.ErrCorrupt, "the key %.64q comes after %.64q", it.Key(), last).
					WithHint("restore the store from a backup")
			}
			last = append(last[:0], it.Key()...)
		}
		if hasAttribute(it) {
			s.content.Attributes = true
		}
		s.content.Bytes += int64(len(it.Key()) + len(value))
		s.add('p', it.Key(), value)
	}
	return nil, it.Error()
}

// rangeKeys takes all range keys of an iterator.
func (s *Sum) rangeKeys(ctx context.Context, it *pebbledb.Iterator) error {
	for valid := it.First(); valid; valid = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := it.RangeBounds()
		for _, k := range it.RangeKeys() {
			s.content.Bytes += int64(len(k.Suffix) + len(k.Value))
			s.add('r', from, to, k.Suffix, k.Value)
		}
	}
	return it.Error()
}

func (s *Sum) add(kind byte, parts ...[]byte) {
	item := append(s.item[:0], kind)
	for _, part := range parts {
		item = binary.AppendUvarint(item, uint64(len(part)))
		item = append(item, part...)
	}
	s.item = item
	s.hash += xxhash.Sum64(item)
	s.content.Items++
}
