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
	// mute: its backend answered no question beside it any more. It may go on.
	mute
)

// called is a call that has ended, or was given up.
type called struct {
	err    error
	ending ending
	// stalled is set for a hung call that made no progress before.
	stalled bool
	// over is closed when the call has really ended.
	over <-chan struct{}
}

// givenUp says whether the call may still go on.
func (c called) givenUp() bool { return c.ending == hung || c.ending == mute }

// call runs f in a goroutine of its own. When f does not call beat for the time
// of stall, or ctx ends, the context of f is cancelled; when f does not return
// within the grace after that it is given up. It is at once when the backend,
// where it can be asked beside the call, does not answer: nobody would hear that
// it is to stop.
func (r *Runner) call(ctx context.Context, lease Lease, stall time.Duration, f func(ctx context.Context, beat func()) error) called {
	inner, stopCall := context.WithCancel(ctx)
	defer stopCall()
	listening, stopListening := context.WithCancel(context.WithoutCancel(ctx))
	defer stopListening()
	began := r.clock.Now()
	var last atomic.Int64 // time of the last sign of life, as a time.Duration since began
	beat := func() { last.Store(int64(r.clock.Now().Sub(began))) }

	var err error
	over := make(chan struct{})
	go func() {
		defer close(over)
		err = protect(func() error { return f(inner, beat) })
	}()

	silenced := make(chan struct{})
	if answering, ok := lease.(Answering); ok {
		go r.listen(listening, answering, &last, silenced)
	}
	result := called{over: over}
	for wait := stall; wait > 0; {
		timeout, stop := r.clock.After(wait)
		select {
		case <-over:
			stop()
			result.err = err
			return result
		case <-silenced:
			stop()
			result.ending = mute
			return result
		case <-ctx.Done():
			stop()
			wait = 0
		case <-timeout:
			wait = stall - (r.clock.Now().Sub(began) - time.Duration(last.Load()))
			result.stalled = wait <= 0
		}
	}
	stopCall()
	timeout, stop := r.clock.After(r.grace)
	defer stop()
	select {
	case <-over:
		result.err = err
		if result.stalled {
			result.ending = stalled
		}
	case <-silenced:
		result.ending = mute
	case <-timeout:
		result.ending = hung
	}
	return result
}

// A backend is asked beside a call whether it is there, pulse after it has
// answered. It is not when it has left so many questions in a row unanswered,
// without a sign of progress meanwhile.
const (
	pulse      = 5 * time.Second
	unanswered = 2
)

// listen closes silenced when the backend does not answer any more. It ends with
// ctx. Last changes with each sign of progress.
func (r *Runner) listen(ctx context.Context, backend Answering, last *atomic.Int64, silenced chan<- struct{}) {
	for missed := 0; missed < unanswered; {
		if missed == 0 && !r.sleep(ctx, pulse) {
			return
		}
		heard := last.Load()
		answers := backend.Answers(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case answers, last.Load() != heard:
			missed = 0
		default:
			missed++
		}
	}
	close(silenced)
}

// sleep returns false when ctx has ended before d has passed.
func (r *Runner) sleep(ctx context.Context, d time.Duration) bool {
	over, stop := r.clock.After(d)
	defer stop()
	select {
	case <-over:
		return true
	case <-ctx.Done():
		return false
	}
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
