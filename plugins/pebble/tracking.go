package pebble

import (
	"context"
	"sync"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// tracking tells the reader of what was before, which parts of it Pebble's compactions
// reach: what they leave alone needs no comparing.
type tracking struct {
	mu      sync.Mutex
	changed sync.Cond
	spans   []engine.KeyRange
	all     bool // whatever they reach
	ended   bool
}

func newTracking(all bool) *tracking {
	t := &tracking{all: all}
	t.changed.L = &t.mu
	return t
}

// begins takes a compaction that begins. It is called with Pebble's lock held.
func (t *tracking) begins(info pebbledb.CompactionInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, level := range info.Input {
		for _, table := range level.Tables {
			t.spans = append(t.spans, engine.KeyRange{Start: table.Smallest.UserKey, End: table.Largest.UserKey})
		}
	}
	t.changed.Signal()
}

// rest lets the reader go on with all that is left.
func (t *tracking) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = true
	t.changed.Signal()
}

// end says that no more compactions begin.
func (t *tracking) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.changed.Signal()
}

// left are the spans that nobody has read.
func (t *tracking) left() []engine.KeyRange {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spans
}

// next waits until there is more to read, and says whether there is. With all set it
// is everything.
func (t *tracking) next() (spans []engine.KeyRange, all, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.spans) == 0 && !t.all && !t.ended {
		t.changed.Wait()
	}
	spans, t.spans = t.spans, nil
	return spans, t.all, len(spans) > 0 || t.all
}

// read adds up what was before where compactions reach, or in all of the window.
func (t *tracking) read(ctx context.Context, pinned *engine.Pinned, w engine.Window, cover *engine.Cover, began func(raw int64), report func(bytes int64) error) (err error) {
	defer func() {
		if cerr := pinned.Close(); err == nil {
			err = cerr
		}
	}()
	add := func(parts []engine.Window, raw int64) error {
		began(raw)
		for _, p := range parts {
			if err := pinned.AddPoints(ctx, p.Start, p.Upper, report); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		spans, all, more := t.next()
		for _, span := range spans {
			if err := add(cover.Take(span.Start, span.End)); err != nil {
				return err
			}
		}
		if all {
			if err := add(cover.TakeAll(w)); err != nil {
				return err
			}
		}
		if all || !more {
			break
		}
	}
	// They are cut where parts end, which are known now.
	for _, p := range cover.Taken() {
		if err := pinned.AddRangeKeys(ctx, p.Start, p.Upper); err != nil {
			return err
		}
	}
	return nil
}
