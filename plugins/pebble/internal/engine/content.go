package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	pebbledb "github.com/cockroachdb/pebble/v2"
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
}

// ReadContent reads a whole store in key order. Two stores have equal digests if
// and only if a reader cannot tell them apart, but for collisions of xxh64:
// each part goes in with its length before it, and with a byte for its kind.
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

// Sum adds content up, key range by key range. The digest does not depend on
// where one iterator ends and the next begins.
type Sum struct {
	compare pebbledb.Compare
	// renew is how many bytes one iterator reads: for as long as it lives, it
	// keeps the tables that it began with from being removed.
	renew int64

	hash    *xxhash.Digest
	content Content
	// spanEnd is where the range keys end that went in last.
	spanEnd []byte
}

// NewSum makes one that reads with a new iterator after about renew bytes, or
// with a single one for each range when that is 0; then compare may be nil.
func NewSum(compare pebbledb.Compare, renew int64) *Sum {
	return &Sum{compare: compare, renew: renew, hash: xxhash.New()}
}

// Content is the sum so far.
func (s *Sum) Content() Content {
	c := s.content
	c.Digest = fmt.Sprintf("xxh64:%016x", s.hash.Sum64())
	return c
}

// Add reads from lower to upper (exclusive); nil is no bound. It calls report now
// and then with the bytes so far, all ranges together, and ends with its error.
func (s *Sum) Add(ctx context.Context, r pebbledb.Reader, lower, upper []byte, report func(bytes int64) error) error {
	s.spanEnd = nil
	for resumed := false; ; resumed = true {
		next, err := s.read(ctx, r, lower, upper, resumed, report)
		if err != nil {
			return err
		}
		if next == nil {
			return report(s.content.Bytes)
		}
		lower = next
	}
}

// Begin opens what Add would read, content as of now, and returns what reads it:
// whatever happens to the store between the two, and meanwhile, is not seen. The
// tables as of now stay on the disk until it has returned; it must be called.
func (s *Sum) Begin(ctx context.Context, r pebbledb.Reader, lower, upper []byte) (read func(report func(bytes int64) error) error, err error) {
	it, err := iterate(ctx, r, lower, upper)
	if err != nil {
		return nil, err
	}
	return func(report func(bytes int64) error) error {
		s.spanEnd = nil
		if _, err := s.consume(ctx, it, false, report); err != nil {
			return err
		}
		return report(s.content.Bytes)
	}, nil
}

func iterate(ctx context.Context, r pebbledb.Reader, lower, upper []byte) (*pebbledb.Iterator, error) {
	it, err := r.NewIterWithContext(ctx, &pebbledb.IterOptions{
		KeyTypes: pebbledb.IterKeyTypePointsAndRanges, LowerBound: lower, UpperBound: upper,
	})
	if err != nil {
		return nil, fmt.Errorf("iterate: %w", err)
	}
	return it, nil
}

// read takes one iterator as far as it may go, and returns where to go on.
func (s *Sum) read(ctx context.Context, r pebbledb.Reader, lower, upper []byte, resumed bool, report func(bytes int64) error) (next []byte, err error) {
	it, err := iterate(ctx, r, lower, upper)
	if err != nil {
		return nil, err
	}
	return s.consume(ctx, it, resumed, report)
}

// consume is read with an iterator that is open, and closes it.
func (s *Sum) consume(ctx context.Context, it *pebbledb.Iterator, resumed bool, report func(bytes int64) error) (next []byte, err error) {
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	began, told := s.content.Bytes, s.content.Bytes
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
		point, span := it.HasPointAndRange()
		if span && it.RangeKeyChanged() {
			s.addSpan(it, resumed && n == 1)
		}
		if point {
			value, err := it.ValueAndErr()
			if err != nil {
				return nil, err
			}
			s.content.Items++
			s.content.Bytes += int64(len(it.Key()) + len(value))
			writeParts(s.hash, 'p', it.Key(), value)
		}
	}
	return nil, it.Error()
}

// addSpan adds range keys. Where reading was resumed in the middle of their
// range, they are in already.
func (s *Sum) addSpan(it *pebbledb.Iterator, resumed bool) {
	from, to := it.RangeBounds()
	if resumed && s.spanEnd != nil && s.compare(s.spanEnd, from) > 0 {
		return
	}
	if s.renew > 0 {
		s.spanEnd = append(s.spanEnd[:0], to...)
	}
	for _, k := range it.RangeKeys() {
		s.content.Items++
		s.content.Bytes += int64(len(k.Suffix) + len(k.Value))
		writeParts(s.hash, 'r', from, to, k.Suffix, k.Value)
	}
}

// writeParts never fails: a hash takes everything.
func writeParts(sum io.Writer, kind byte, parts ...[]byte) {
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	from := 0
	for _, part := range parts {
		n := binary.PutUvarint(head[1:], uint64(len(part)))
		_, _ = sum.Write(head[from : 1+n])
		_, _ = sum.Write(part)
		from = 1 // the kind goes in once
	}
}
