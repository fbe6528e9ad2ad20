package engine

import (
	"context"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// NoteSingleKey is for people, about a step that has no width.
const NoteSingleKey = "versions of a single key stay: its comparer knows no next key"

// Widen makes a step that begins where it ends one that Pebble takes. It is false
// where the comparer has no key that comes next.
func (k KeyRange) Widen(comparer *pebbledb.Comparer) (KeyRange, bool) {
	if comparer.Compare(k.Start, k.End) < 0 {
		return k, true
	}
	k.End = successor(comparer, k.End)
	return k, k.End != nil
}

// successor returns a key right behind the given one, or nil where the comparer
// has none.
func successor(comparer *pebbledb.Comparer, key []byte) []byte {
	if comparer.ImmediateSuccessor == nil || (comparer.Split != nil && comparer.Split(key) != len(key)) {
		return nil
	}
	return comparer.ImmediateSuccessor(nil, key)
}

// Compact does the step, and calls beat every so often meanwhile: its error ends
// the wait, and what has not begun of the step is not begun then. A panic comes
// out in the caller's goroutine.
func (k KeyRange) Compact(ctx context.Context, db *pebbledb.DB, every time.Duration, beat func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		err      error
		panicked any
	}
	finished := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panicked = recover()
			finished <- o
		}()
		o.err = db.Compact(ctx, k.Start, k.End, false)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case o := <-finished:
			if o.panicked != nil {
				panic(o.panicked)
			}
			return o.err
		case <-tick.C:
			if err := beat(); err != nil {
				return err
			}
		}
	}
}
