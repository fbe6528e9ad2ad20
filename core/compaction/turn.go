package compaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

// turn is the work of a run on one store.
type turn struct {
	runner     *Runner
	run        string
	request    Request
	store      config.Store
	configured string // name of store, or of the pattern or directory that found it
	// place is where the store is when links are followed; for an owner's its
	// socket and name.
	place string
	// pace is the store's limit, and rank its I/O priority: both may change.
	pace *sdk.Pace
	rank rank
	// repaced is set when the limit has changed since the last progress.
	repaced atomic.Bool
	// parts are the stores of the request that this turn belongs to.
	parts []*requested

	ctx    context.Context
	cancel context.CancelCauseFunc
	ticket *ticket       // place in the queue, then slot
	done   chan struct{} // closed when result is final
	// progress is that of the compaction under way; nil while there is none.
	progress atomic.Pointer[event.Progress]

	// What follows belongs to the goroutine of take.

	result history.Result
	past   history.Past
	// decided is set for a turn that had its verdict before it began.
	decided *verdict
	slotted bool
	// before is the first measurement, latest the last; measured says that there
	// is one.
	before, latest sdk.Fragmentation
	measured       bool
	// lost is set when the connection of an attempt was lost and nobody has
	// looked at the store since, doubt when an attempt may not have ended.
	lost, doubt bool
	// calling is open while a compaction that was given up goes on.
	calling <-chan struct{}
}

// defaultStall is for a store without a StallTimeout.
const defaultStall = 5 * time.Minute

func stallTimeout(store config.Store) time.Duration {
	if store.StallTimeout <= 0 {
		return defaultStall
	}
	return store.StallTimeout
}

// newTurn registers and queues a turn. Err is what has gone wrong already.
func (r *Runner) newTurn(ctx context.Context, run string, req Request, configured, store config.Store, err error) *turn {
	t := &turn{
		runner: r, run: run, request: req, store: store, configured: cmp.Or(store.FoundBy, configured.Name), place: placeOf(store),
		pace: sdk.NewPace(store.LimitBytesPerSecond),
		rank: rank{priority: store.IOPriority},
		done: make(chan struct{}),
		result: history.Result{
			Store: store.Name, Plugin: store.Plugin, Run: run, Owner: store.Owner,
			Path: cmp.Or(store.Path, store.Owner, store.Glob, store.OwnerDir),
		},
	}
	if store.Name != t.configured {
		t.result.Configured = t.configured
	}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	switch {
	case errors.Is(err, errNoFiles):
		t.decided = &verdict{outcome: history.Skipped, code: history.CodeNoFiles, reason: noFiles(store)}
		if store.OwnerDir != "" {
			t.decided.outcome, t.decided.code = history.Deferred, history.CodeOwnerAway
		}
	case err != nil:
		t.decided = &verdict{outcome: history.Failed, code: history.CodeError, reason: err.Error(), err: err}
	}
	if t.decided != nil {
		return t
	}
	if other := r.active.add(t); other != nil {
		t.decided = &verdict{outcome: history.Skipped, code: history.CodeAlreadyRunning, reason: "already running: " + other.busyWith(store.Name)}
		return t
	}
	r.catchUp(t)
	t.ticket = r.slots.queue(store.Group)
	return t
}

// placeOf follows the links on the way to a store.
func placeOf(store config.Store) string {
	if store.Owner != "" {
		return store.Owner + "\x00" + ownersName(store)
	}
	if store.Path == "" {
		return ""
	}
	if place, err := filepath.EvalSymlinks(store.Path); err == nil {
		return place
	}
	return store.Path // its backend says what is wrong
}

// busyWith says why a store that this turn is busy with has to wait.
func (t *turn) busyWith(store string) string {
	text := "it is in run " + t.run
	if t.ended() {
		text = fmt.Sprintf("the compaction of run %s was given up and has not ended", t.run)
	}
	if t.store.Name != store {
		text = fmt.Sprintf("store %s is the same database, and %s", t.store.Name, text)
	}
	return text
}

// ended says whether the result is final.
func (t *turn) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// take waits for a slot and does the work; when it returns the result is final.
func (t *turn) take() {
	defer t.cancel(nil)
	v, err := verdict{}, error(nil)
	if t.decided != nil {
		v = *t.decided
		t.result.StartedAt = t.runner.clock.Now()
	} else {
		err = protect(func() error {
			v = t.work()
			return nil
		})
	}
	var p *panicError
	if errors.As(err, &p) {
		v = verdict{outcome: history.Failed, code: history.CodeError, reason: err.Error(), err: err}
		if t.lost || t.doubt {
			v.outcome = history.Unknown
		}
	}
	t.giveBack()
	t.conclude(v)
	close(t.done)
	t.leave()
	t.tellEnded()
}

// requested is a store of a request, or a pattern.
type requested struct {
	name string
	// open is how many of its turns have not ended.
	open atomic.Int64
}

func (t *turn) belongsTo(r *requested) {
	if !slices.Contains(t.parts, r) {
		t.parts = append(t.parts, r)
		r.open.Add(1)
	}
}

// tellEnded tells whoever made the request which of its stores are done.
func (t *turn) tellEnded() {
	for _, r := range t.parts {
		if r.open.Add(-1) > 0 || t.request.Ended == nil {
			continue
		}
		err := protect(func() error {
			t.request.Ended(r.name)
			return nil
		})
		var p *panicError
		if errors.As(err, &p) {
			t.runner.logger.Error("panic in who was told that a store is done", "store", r.name, "panic", p.value, "stack", string(p.stack))
		}
	}
}

// leave lets other runs have the store, as soon as a call that was given up has
// ended.
func (t *turn) leave() {
	if t.calling == nil {
		t.runner.active.remove(t)
		return
	}
	go func() {
		<-t.calling
		t.runner.logger.Info("a call that was given up has ended", "store", t.store.Name, "run", t.run)
		t.runner.active.remove(t)
	}()
}

// giveBack returns the slot.
func (t *turn) giveBack() {
	if t.slotted {
		t.slotted = false
		t.runner.slots.release(t.ticket, t.result.Attempts > 0)
	}
}

// conclude completes, publishes and records the result.
func (t *turn) conclude(v verdict) {
	r := &t.result
	r.Outcome, r.Code, r.Reason = v.outcome, v.code, v.reason
	if v.err != nil {
		r.Error, r.Hint = v.err.Error(), sdk.HintOf(v.err)
	}
	var p *panicError
	if errors.As(v.err, &p) {
		t.runner.logger.Error("panic during a run", "store", t.store.Name, "panic", p.value, "stack", string(p.stack))
	}
	r.FinishedAt = t.runner.clock.Now()
	if v.outcome != history.Compacted && v.outcome != history.NoOp && !r.StartedAt.IsZero() {
		r.DurationMS = r.FinishedAt.Sub(r.StartedAt).Milliseconds()
	}
	// At once, while no other run has the store: a run may last for hours, and
	// what a later one finds must not be followed by what this one found before.
	t.runner.record("a result", func() error { return t.runner.history.AddResult(*r) })
	published := *r
	t.runner.bus.Publish(event.Event{
		Name: eventOf(v.outcome), Run: t.run, Store: r.Store, Plugin: r.Plugin, Message: message(published), Result: &published,
	})
	t.log()
}

// message is what an event says of a result.
func message(r history.Result) string {
	if r.Outcome != history.Compacted {
		return r.Reason
	}
	took := func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
	text := fmt.Sprintf("%s given back in %s", sdk.FormatBytes(r.ReclaimedBytes), took(r.DurationMS))
	if r.PauseMS > 0 {
		text += fmt.Sprintf(", writers held up for %s", took(r.PauseMS))
	}
	return text + "; " + r.Reason
}

// eventOf is the event that tells about an outcome. What is not there to say
// cancelled and unknown is said by the result that comes with it.
func eventOf(o history.Outcome) event.Name {
	switch o {
	case history.Compacted, history.NoOp:
		return event.CompactionComplete
	case history.Skipped:
		return event.CompactionSkipped
	case history.Deferred:
		return event.CompactionDeferred
	case history.Failed, history.Cancelled, history.Unknown:
	}
	return event.CompactionFailed
}

func (t *turn) log() {
	args := []any{"store", t.result.Store, "outcome", t.result.Outcome, "reason", t.result.Reason, "run", t.run}
	switch t.result.Outcome {
	case history.Failed, history.Unknown:
		t.runner.logger.Warn("store not compacted", args...)
	case history.Skipped:
		t.runner.logger.Debug("store not compacted", args...)
	case history.Deferred, history.Cancelled:
		t.runner.logger.Info("store not compacted", args...)
	case history.NoOp:
		t.runner.logger.Info("store needs no compaction", args...)
	case history.Compacted:
		t.runner.logger.Info("store compacted", append(args, "reclaimed", sdk.FormatBytes(t.result.ReclaimedBytes))...)
	}
}

// work makes attempts until one is final.
func (t *turn) work() verdict {
	if !t.enter() {
		return t.notReached()
	}
	if t.request.Paused != nil && t.request.Paused(t.store.Name, t.configured) {
		return verdict{outcome: history.Cancelled, code: history.CodeNotReached, reason: "its schedule was paused before its turn"}
	}
	t.result.StartedAt = t.runner.clock.Now()
	t.past = t.runner.past(t.store.Name)
	// Before the backend is troubled: what keeps a store in quarantine may be
	// what brings a backend down.
	if d := t.runner.decide(t.store, t.past, nil, t.request.Manual, t.request.Force); d.Code == "quarantined" {
		return fromPolicy(d)
	}
	for attempt := 0; ; attempt++ {
		v := t.attempt()
		if t.ctx.Err() != nil && v.outcome == history.Cancelled {
			return t.cancelled(v)
		}
		if !v.again || attempt >= t.store.Retry.Attempts {
			return v
		}
		t.runner.logger.Warn("attempt failed, trying again", "store", t.store.Name, "run", t.run, "reason", v.reason, "after", t.store.Retry.Delay)
		if !t.pause(t.store.Retry.Delay) {
			if v.outcome != history.Unknown {
				v.outcome, v.code = history.Cancelled, history.CodeCancelled
				v.reason = "cancelled while waiting to try again: " + v.reason
			}
			return v
		}
	}
}

// enter waits for a slot.
func (t *turn) enter() bool {
	t.slotted = t.runner.slots.wait(t.ctx, t.ticket) == nil
	return t.slotted
}

// pause gives the slot to others for a while.
func (t *turn) pause(d time.Duration) bool {
	t.giveBack()
	if d > 0 {
		over, stop := t.runner.clock.After(d)
		defer stop()
		select {
		case <-over:
		case <-t.ctx.Done():
			return false
		}
	}
	t.ticket = t.runner.slots.requeue(t.ticket)
	return t.enter()
}

func (t *turn) notReached() verdict {
	return verdict{outcome: history.Cancelled, code: history.CodeNotReached, reason: "cancelled before the store's turn (" + t.why() + ")"}
}

func (t *turn) cancelled(v verdict) verdict {
	v.reason += " (" + t.why() + ")"
	return v
}

func (t *turn) why() string {
	if errors.Is(context.Cause(t.ctx), errAsked) {
		return errAsked.Error()
	}
	return "the run was ended"
}

func fromPolicy(d policy.Decision) verdict {
	outcome := history.Skipped
	if d.Action == policy.Defer {
		outcome = history.Deferred
	}
	return verdict{outcome: outcome, code: d.Code, reason: d.Reason}
}
