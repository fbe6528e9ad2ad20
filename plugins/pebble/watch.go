package pebble

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/sdk"
)

const (
	// reportEvery is how often a call looks at its work, and tells of it.
	reportEvery = 100 * time.Millisecond
	// cancelGrace is how long Pebble may go on with what nothing interrupts after
	// the call was cancelled: opening a store for writing, and a flush.
	cancelGrace = 500 * time.Millisecond
)

// errLeft ends work whose call has returned.
var errLeft = errors.New("nobody waits for this any more")

// watch stands between a call and its work. The work has a goroutine of its own,
// since Pebble may never give that one back: Open retries a flush for ever, and
// after some errors none of its goroutines may go on.
type watch struct {
	// stuck holds the first error that the work cannot come back from.
	stuck chan error
	// flushing is set while Pebble opens the store for writing, and while a flush
	// is waited for that a compaction asked for: nothing interrupts either.
	flushing atomic.Bool
	// left is set once the call returns without its work.
	left atomic.Bool
	// broken is set once what Pebble has open can be neither used nor closed.
	broken atomic.Bool
}

func newWatch() *watch { return &watch{stuck: make(chan error, 1)} }

// leave lets the call return with the error.
func (w *watch) leave(err error) {
	w.left.Store(true)
	select {
	case w.stuck <- err:
	default: // one is enough
	}
}

// breakDown is leave for work that will not end, and not be cleared up either.
func (w *watch) breakDown(err error) {
	w.broken.Store(true)
	w.leave(err)
}

// park is breakDown by the work itself, which goes no further. The goroutine may be
// one of Pebble's own, where a panic would end the process, and it may hold
// mutexes, which must stay held: it waits for ever, and the call returns without
// it. The store recovers when another process opens it.
func (w *watch) park(err error) {
	w.breakDown(err)
	select {}
}

// wait returns nil when done is closed, or the error that the work is stuck with.
// It calls beat now and then.
func (w *watch) wait(ctx context.Context, done <-chan struct{}, beat func()) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var cancelled time.Time
	for {
		select {
		case <-done:
			select {
			case err := <-w.stuck: // the work was left before it ended
				return err
			default:
				return nil
			}
		case err := <-w.stuck:
			return err
		case <-tick.C:
		}
		switch {
		case ctx.Err() == nil:
			beat()
		case cancelled.IsZero():
			cancelled = time.Now()
		case w.flushing.Load() && time.Since(cancelled) > cancelGrace:
			w.leave(ctx.Err())
		}
	}
}

// apart does work in a goroutine of its own. When it returns stuck, the error
// says why, and the work may go on for ever.
func apart[T any](ctx context.Context, w *watch, beat func(), work func() (T, error)) (result T, stuck bool, err error) {
	type outcome struct {
		result T
		err    error
	}
	var out outcome
	done := make(chan struct{})
	go func() {
		defer func() {
			if p := recover(); p != nil {
				hclog.FromContext(ctx).Error("backend panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				w.breakDown(sdk.Errorf(sdk.ErrInternal, "the backend panicked: %v", p).
					WithHint("the stack is in the log; please report it"))
				return // done stays open: what it would tell is not there
			}
			close(done)
		}()
		out.result, out.err = work()
	}()
	if err := w.wait(ctx, done, beat); err != nil {
		return result, true, err
	}
	return out.result, false, out.err
}

// fatalError is what Pebble cannot go on from.
type fatalError struct {
	message string
	cause   error // may be nil
}

func newFatalError(format string, args ...any) *fatalError {
	e := &fatalError{message: "pebble cannot go on: " + fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			e.cause = err
		}
	}
	return e
}

func (e *fatalError) Error() string { return e.message }
func (e *fatalError) Unwrap() error { return e.cause }
