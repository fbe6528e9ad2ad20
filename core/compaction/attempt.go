package compaction

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

// attempt looks at the store, decides, and compacts it if that is the decision.
func (t *turn) attempt() verdict {
	a, err := t.runner.acquire(t.ctx, t.store)
	if err != nil {
		return t.unseen(t.question().judge(err, true))
	}
	defer a.giveBack()
	defer t.rank.hold(a.lease)()
	t.result.Plugin, t.result.Engine = a.plugin(), a.description.Engine

	f, err := t.look(a)
	if err != nil {
		return t.unseen(t.question().judge(err, false))
	}
	lost := t.lost
	t.lost = false // somebody has looked
	d := t.runner.decide(t.store, t.past, &f, t.request.Manual, t.request.Force)
	if d.Action != policy.Compact {
		if lost {
			return t.settled(f, d)
		}
		v := fromPolicy(d)
		if given := t.result.ReclaimedBytes; given > 0 {
			v.reason += fmt.Sprintf("; the attempt before has given %s back", sdk.FormatBytes(given))
		}
		return v
	}
	if err := t.tidy(a); err != nil {
		return t.question().judge(err, false)
	}
	return t.compact(a, d)
}

// unseen is the verdict on an attempt that could not look at the store: after a
// lost connection it is as unknown as before.
func (t *turn) unseen(v verdict) verdict {
	if !t.lost {
		return v
	}
	return verdict{
		outcome: history.Unknown, code: history.CodeLost, err: v.err, again: v.again,
		reason: "the connection was lost during the compaction, and the store could not be looked at since: " + v.reason,
	}
}

// settled is the verdict after a lost connection when nothing is left to do: a store
// that has shrunk was compacted. A backend that replaces a store has verified the new one
// before; one that works in place may not have come to it.
func (t *turn) settled(f sdk.Fragmentation, d policy.Decision) verdict {
	if given := t.before.AllocatedBytes - f.AllocatedBytes; given > 0 && d.Action == policy.Skip {
		t.result.ReclaimedBytes = given
		t.result.TotalBytesAfter = f.TotalBytes
		return verdict{
			outcome: history.Compacted, code: history.CodeLost,
			reason: "the connection was lost during the compaction, which had done its work all the same, but nobody heard whether it was verified: " + d.Reason,
		}
	}
	return verdict{
		outcome: history.Failed, code: history.CodeLost, err: sdk.ErrConnection,
		reason: "the connection was lost during the compaction; looked at again: " + d.Reason,
	}
}

// look measures the store, after sweeping one that may have been left in the
// middle of something.
func (t *turn) look(a *access) (sdk.Fragmentation, error) {
	if t.lost || t.doubt || t.past.Unresolved {
		if err := t.tidy(a); err != nil {
			return sdk.Fragmentation{}, err
		}
	}
	f, err := a.look(t.ctx, sdk.DepthSampled)
	if err != nil {
		return f, err
	}
	t.runner.sample(t.store.Name, f)
	t.latest = f
	if !t.measured {
		t.before, t.measured = f, true
	}
	t.result.Path = a.path()
	t.result.TotalBytesBefore, t.result.TotalBytesAfter = t.before.TotalBytes, t.before.TotalBytes
	t.result.PredictedBytes = t.before.ReclaimableBytes
	if t.result.Attempts > 0 { // which may have given something back
		t.result.TotalBytesAfter = f.TotalBytes
		t.result.ReclaimedBytes = max(0, t.before.AllocatedBytes-f.AllocatedBytes)
	}
	return f, nil
}

// tidy sweeps. That it cannot is no reason to leave the store alone, unless the
// backend is gone or somebody must look first.
func (t *turn) tidy(a *access) error {
	removed, err := a.tidy(t.ctx)
	if len(removed) > 0 {
		t.runner.logger.Info("removed leftovers of a compaction that died", "store", t.store.Name, "files", removed)
	}
	var p *panicError
	if err == nil || t.ctx.Err() != nil || t.lost || errors.Is(err, sdk.ErrConnection) || errors.Is(err, errSilent) || errors.As(err, &p) {
		return err
	}
	t.runner.logger.Warn("leftovers of compactions are not all removed", "store", t.store.Name, "error", err, "hint", sdk.HintOf(err))
	return nil
}

// compact calls Compact once.
func (t *turn) compact(a *access, d policy.Decision) verdict {
	t.result.Attempts++
	t.runner.record("the beginning of a compaction", func() error { return t.runner.history.BeginCompaction(t.result) })
	message := d.Reason
	if t.result.Attempts > 1 {
		message = fmt.Sprintf("attempt %d: %s", t.result.Attempts, d.Reason)
	}
	t.runner.bus.Publish(event.Event{
		Name: event.CompactionStarted, Run: t.run, Store: t.store.Name, Plugin: t.result.Plugin, Message: message,
	})
	req := sdk.CompactRequest{
		Store: a.target, Mode: t.store.Mode, Options: sdk.Options(fit(t.store, a.description.Options).Options),
		Limits: sdk.Limits{BytesPerSecond: t.pace.Rate()}, Pace: t.pace,
	}
	t.progress.Store(&event.Progress{})
	progress := &reporter{turn: t}
	var done sdk.CompactResult
	c := t.runner.call(t.ctx, a.lease, stallTimeout(t.store), func(ctx context.Context, beat func()) error {
		ctx = hclog.WithContext(ctx, t.runner.logger)
		result, err := a.lease.Backend().Compact(ctx, req, func(p sdk.Progress) { beat(); progress.report(p) })
		if err == nil {
			done = result
		}
		return err
	})
	progress.close()
	t.progress.Store(nil)
	if !c.givenUp() && c.err == nil {
		return t.compacted(d, done)
	}
	v := t.question().judgeCompact(c, t.doubt)
	if c.ending == returned && v.outcome != history.Unknown && progress.wrote() {
		v.reason += t.partly(a)
	}
	if c.givenUp() {
		a.hung, t.calling = true, c.over
	}
	if v.outcome == history.Unknown {
		t.lost = true
		t.result.TotalBytesAfter = 0 // nobody knows
	}
	// A remote call that stalled ends here before it ends there.
	t.doubt = t.doubt || t.lost || c.ending == stalled
	return v
}

// lookAfter is how long a look may take at a store whose compaction ended early.
const lookAfter = time.Second

// partly says what a compaction that ended early has given back: a backend that works in
// place keeps what it has done.
func (t *turn) partly(a *access) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), lookAfter)
	defer cancel()
	hung := a.hung
	f, err := a.look(ctx, sdk.DepthQuick)
	a.hung = hung // the compaction has ended, whatever becomes of this
	given := t.before.AllocatedBytes - f.AllocatedBytes
	if err != nil || given <= 0 {
		return ""
	}
	t.result.TotalBytesAfter, t.result.ReclaimedBytes = f.TotalBytes, given
	return fmt.Sprintf("; %s were given back until then, and stay so", sdk.FormatBytes(given))
}

func (t *turn) question() question {
	return question{ctx: t.ctx, store: t.store, found: t.store.Name != t.configured}
}

// pauseMS rounds up: writers that were held up for less than a millisecond were
// held up all the same.
func pauseMS(pause time.Duration) int64 {
	return (pause + time.Millisecond - 1).Milliseconds()
}

// compacted fills in the result of a compaction that has succeeded.
func (t *turn) compacted(d policy.Decision, done sdk.CompactResult) verdict {
	r := &t.result
	r.TotalBytesBefore, r.TotalBytesAfter = done.Before.TotalBytes, done.After.TotalBytes
	r.ReclaimedBytes = done.ReclaimedBytes
	if r.Attempts > 1 {
		// The attempt before may have given something back, or left something.
		r.TotalBytesBefore = t.before.TotalBytes
		r.ReclaimedBytes = t.before.AllocatedBytes - done.After.AllocatedBytes
	}
	r.DurationMS, r.PauseMS = done.Duration.Milliseconds(), pauseMS(done.Pause)
	r.Mode = done.Mode
	if v := done.Verification; v != nil {
		if v.DigestBefore != v.DigestAfter || v.ItemsBefore != v.ItemsAfter {
			// The sdk refuses this; a backend need not be made with it.
			err := sdk.Errorf(sdk.ErrInternal, "the content differs: %d items with digest %s before, %d with %s after",
				v.ItemsBefore, v.DigestBefore, v.ItemsAfter, v.DigestAfter).
				WithHint("look at the store before using it, and report this to the backend's author")
			return verdict{outcome: history.Failed, code: history.CodeError, reason: err.Error(), err: err}
		}
		r.Verified, r.Items, r.Digest = true, v.ItemsAfter, v.DigestAfter
	}
	t.runner.sampleCompacted(t.store.Name, t.latest, done)
	v := verdict{outcome: history.Compacted, code: d.Code, reason: d.Reason}
	if done.NoOp {
		v = verdict{outcome: history.NoOp, code: history.CodeNoOp, reason: d.Reason + "; the backend found nothing to do"}
	}
	if done.Note != "" {
		v.reason += "; " + done.Note
	}
	return v
}
