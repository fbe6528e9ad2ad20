package compaction

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// ending is how a call of a backend came to its end.
type ending int

const (
	// returned: it ended by itself, or when it was cancelled from outside.
	returned ending = iota
	// stalled: it gave no sign of life, was cancelled and ended then.
	stalled
	// hung: it was cancelled and did not end. It may go on.
	hung
)

// called is a call that has ended, or was given up.
type called struct {
	err    error
	ending ending
	// stalled is set for a hung call that gave no sign of life before.
	stalled bool
	// over is closed when the call has really ended.
	over <-chan struct{}
}

// call runs f in a goroutine of its own. When f does not call beat for the time
// of stall, or ctx ends, the context of f is cancelled; when f does not return
// within the grace after that it is given up.
func (r *Runner) call(ctx context.Context, stall time.Duration, f func(ctx context.Context, beat func()) error) called {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	began := r.clock.Now()
	var last atomic.Int64 // time of the last sign of life, as a time.Duration since began
	beat := func() { last.Store(int64(r.clock.Now().Sub(began))) }

	var err error
	over := make(chan struct{})
	go func() {
		defer close(over)
		err = protect(func() error { return f(inner, beat) })
	}()

	result := called{over: over}
	for wait := stall; wait > 0; {
		timeout, stop := r.clock.After(wait)
		select {
		case <-over:
			stop()
			result.err = err
			return result
		case <-ctx.Done():
			stop()
			wait = 0
		case <-timeout:
			wait = stall - (r.clock.Now().Sub(began) - time.Duration(last.Load()))
			result.stalled = wait <= 0
		}
	}
	cancel()
	timeout, stop := r.clock.After(r.grace)
	defer stop()
	select {
	case <-over:
		result.err = err
		if result.stalled {
			result.ending = stalled
		}
	case <-timeout:
		result.ending = hung
	}
	return result
}

// panicError is a panic turned into an error.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("the host panicked: %v", e.value) }

// protect turns a panic of f into an error.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return f()
}
