package rebuild

import (
	"bytes"
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

const (
	// chunkBytes is how much is read before it is handed on.
	chunkBytes = 1 << 20
	// chunkEntries is for small keys, whose entries take more room than they do.
	chunkEntries = 8 << 10
	// chunksAhead is how many chunks reading may be ahead of writing.
	chunksAhead = 2
)

// chunk is a run of entries, whose keys and values lie in one buffer.
type chunk struct {
	data    []byte // never grown
	entries []entry
}

// entry is a position of an iterator.
type entry struct {
	key []byte
	// point is set where the key has a value.
	point bool
	value []byte
	// spanChanged is set where the range keys are others than at the entry before;
	// span are those from here on, or nil for none.
	spanChanged bool
	span        *span
}

// bytes of keys and values.
func (e entry) bytes() int64 {
	n := len(e.value)
	if e.point {
		n += len(e.key)
	}
	if e.span != nil {
		for _, k := range e.span.keys {
			n += len(k.Suffix) + len(k.Value)
		}
	}
	return int64(n)
}

// span is range keys with the bounds that they share, the end exclusive.
type span struct {
	start, end []byte
	keys       []pebbledb.RangeKeyData
}

// reading goes through a store in a goroutine of its own.
type reading struct {
	chunks   chan *chunk // closed when it ends
	spare    chan *chunk // that were written
	done     chan struct{}
	err      error
	panicked any
}

func newReading() *reading {
	return &reading{
		chunks: make(chan *chunk, chunksAhead),
		spare:  make(chan *chunk, chunksAhead+2), // all that there are
		done:   make(chan struct{}),
	}
}

func (r *reading) run(ctx context.Context, store pebbledb.Reader) {
	defer close(r.done)
	defer close(r.chunks)
	defer func() { r.panicked = recover() }()
	r.err = r.read(ctx, store)
}

// wait returns how reading ended. A panic, which may come of the store's comparer or
// merger, comes out here.
func (r *reading) wait() error {
	<-r.done
	if p := r.panicked; p != nil {
		r.panicked = nil // it comes out once
		panic(p)
	}
	return r.err
}

func (r *reading) read(ctx context.Context, store pebbledb.Reader) (err error) {
	it, err := store.NewIterWithContext(ctx, &pebbledb.IterOptions{KeyTypes: pebbledb.IterKeyTypePointsAndRanges})
	if err != nil {
		return fmt.Errorf("iterate: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	c := r.fresh(0)
	for valid := it.First(); valid; valid = it.Next() {
		var e entry
		var value []byte
		var ranges bool
		e.point, ranges = it.HasPointAndRange()
		if e.point {
			if value, err = it.ValueAndErr(); err != nil {
				return err
			}
		}
		if need := len(it.Key()) + len(value); len(c.data)+need > cap(c.data) || len(c.entries) == chunkEntries {
			if err := r.hand(ctx, c); err != nil {
				return err
			}
			c = r.fresh(need)
		}
		e.key, e.value = c.copy(it.Key()), c.copy(value)
		if e.spanChanged = it.RangeKeyChanged(); e.spanChanged && ranges {
			e.span = spanOf(it)
		}
		c.entries = append(c.entries, e)
	}
	if err := it.Error(); err != nil {
		return err
	}
	return r.hand(ctx, c)
}

// hand passes a chunk on, or returns the error of a context that has ended.
func (r *reading) hand(ctx context.Context, c *chunk) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r.chunks <- c:
		return nil
	}
}

// fresh returns an empty chunk with room for an entry, one that was written if there
// is any.
func (r *reading) fresh(least int) *chunk {
	select {
	case c := <-r.spare:
		c.entries = c.entries[:0]
		if c.data = c.data[:0]; cap(c.data) >= least {
			return c
		}
	default:
	}
	return &chunk{data: make([]byte, 0, max(least, chunkBytes))}
}

// giveBack lets a chunk be used again.
func (r *reading) giveBack(c *chunk) {
	select {
	case r.spare <- c:
	default: // one was larger than usual, and another took its place
	}
}

func (c *chunk) copy(b []byte) []byte {
	from := len(c.data)
	c.data = append(c.data, b...)
	return c.data[from:len(c.data):len(c.data)]
}

func spanOf(it *pebbledb.Iterator) *span {
	start, end := it.RangeBounds()
	s := &span{start: bytes.Clone(start), end: bytes.Clone(end)}
	for _, k := range it.RangeKeys() {
		s.keys = append(s.keys, pebbledb.RangeKeyData{Suffix: bytes.Clone(k.Suffix), Value: bytes.Clone(k.Value)})
	}
	return s
}
