package engine

import (
	"context"
	"sync"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// NoteSingleKey is for people, about a step that has no width.
const NoteSingleKey = "versions of a single key stay: its comparer knows no next key"

// RoomFor is how many bytes must be free for a step beside its input, which goes when
// its output is in place.
func RoomFor(stepBytes int64) int64 { return stepBytes + stepBytes/10 }

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

// Compact does the step, and calls beat every so often meanwhile; see Await.
func (k KeyRange) Compact(ctx context.Context, db *pebbledb.DB, every time.Duration, beat func() error) error {
	return Await(ctx, every, beat, func(ctx context.Context) error {
		return db.Compact(ctx, k.Start, k.End, false)
	})
}

// cancelGrace is how long work may take to notice that it is cancelled. Pebble
// does at once, unless it waits for writers that it holds up itself.
const cancelGrace = 500 * time.Millisecond

// Await does work in a goroutine of its own and calls beat every so often
// meanwhile: an error of beat cancels the work. A cancelled call returns even if
// its work does not. A panic of the work comes out in the caller's goroutine.
func Await(ctx context.Context, every time.Duration, beat func() error, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := apart(func() error { return work(ctx) })
	tick := time.NewTicker(every)
	defer tick.Stop()
	var late <-chan time.Time
	var failed error
	ended := ctx.Done()
	for {
		select {
		case o := <-finished:
			if failed != nil {
				return failed
			}
			return o.result()
		case <-ended:
			late, ended = time.After(cancelGrace), nil
		case <-late:
			if failed == nil {
				failed = ctx.Err()
			}
			return failed
		case <-tick.C:
			if failed != nil {
				continue
			}
			if failed = beat(); failed != nil {
				cancel()
			}
		}
	}
}

// Beside begins work in a goroutine of its own, and returns what waits for its end, as
// often as it is called. A panic of the work comes out there.
func Beside(work func() error) (wait func() error) {
	finished := apart(work)
	last := sync.OnceValue(func() outcome { return <-finished })
	return func() error { return last().result() }
}

// outcome of work in a goroutine of its own.
type outcome struct {
	err      error
	panicked any
}

func (o outcome) result() error {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}

func apart(work func() error) <-chan outcome {
	finished := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panicked = recover()
			finished <- o
		}()
		o.err = work()
	}()
	return finished
}
