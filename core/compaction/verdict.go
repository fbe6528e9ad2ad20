package compaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// What ends a turn or a call before its time.
var (
	// errAsked: somebody cancelled the work on the store.
	errAsked = errors.New("somebody asked for it")
	// errSilent: a backend does not answer a question.
	errSilent = errors.New("no answer")
	// errStalled: a compaction makes no progress.
	errStalled = errors.New("no progress")
	// errHung: a backend does not end a call that was cancelled.
	errHung = errors.New("the backend does not end the call")
)

// verdict is what an attempt has come to.
type verdict struct {
	outcome history.Outcome
	code    string
	// reason is a sentence.
	reason string
	// err is nil where nothing went wrong.
	err error
	// again is set when another attempt may do better.
	again bool
}

// question is what a verdict on an error depends on beside it.
type question struct {
	ctx   context.Context
	store config.Store
	// found is set for a file that a pattern has found, or an owner's store that
	// was discovered.
	found bool
}

// judge says what an error means that came before anything was changed.
// Acquiring is set when the backend could not even be reached.
func (q question) judge(err error, acquiring bool) verdict {
	switch {
	case q.isCancelled(err):
		return verdict{outcome: history.Cancelled, code: history.CodeCancelled, reason: "cancelled before anything was changed" + q.byWhom(), err: err}
	case q.store.Owner != "" && (acquiring && isAway(err) || errors.Is(err, sdk.ErrConnection)):
		return verdict{
			outcome: history.Deferred, code: history.CodeOwnerAway, err: err,
			reason: "owner away: nobody answers on " + q.store.Owner,
		}
	case !acquiring && q.vanished(err):
		reason := "the file is gone"
		if q.store.Owner != "" {
			reason = "its owner does not have it any more"
		}
		return verdict{outcome: history.Skipped, code: history.CodeVanished, reason: reason}
	case errors.Is(err, sdk.ErrBusy):
		return verdict{outcome: history.Deferred, code: history.CodeLocked, reason: "locked: " + err.Error(), err: err}
	case errors.Is(err, sdk.ErrNoSpace):
		return verdict{outcome: history.Deferred, code: history.CodeNoSpace, reason: "not enough disk space: " + err.Error(), err: err}
	}
	return verdict{outcome: history.Failed, code: history.CodeError, reason: err.Error(), err: err, again: retryable(err)}
}

// judgeCompact says what the error of a Compact means. After doubt, that is an
// earlier attempt of which nobody knows whether it has ended, a store that is
// locked may be locked by that one.
func (q question) judgeCompact(c called, doubt bool) verdict {
	silent := fmt.Errorf("%w for %s", errStalled, stallTimeout(q.store))
	switch {
	case c.ending == mute:
		return verdict{
			outcome: history.Unknown, code: history.CodeLost, err: muteError("compact the store"),
			reason: "the process that compacts it has ceased to answer; the store is looked at again before anything else is done to it",
		}
	case c.ending == hung && c.stalled:
		return verdict{
			outcome: history.Unknown, code: history.CodeStalled, err: errHung,
			reason: silent.Error() + ", and it did not end when it was cancelled; the store is left alone until it does",
		}
	case c.ending == hung:
		return verdict{
			outcome: history.Unknown, code: history.CodeLost, err: errHung,
			reason: "the compaction did not end when it was cancelled; the store is left alone until it does",
		}
	case errors.Is(c.err, sdk.ErrConnection):
		return verdict{
			outcome: history.Unknown, code: history.CodeLost, err: c.err, again: q.store.Owner == "",
			reason: "the connection was lost during the compaction; the store is looked at again before anything else is done to it",
		}
	case c.ending == stalled:
		return verdict{
			outcome: history.Failed, code: history.CodeStalled, err: silent, again: true,
			reason: silent.Error() + ", so it was cancelled",
		}
	case q.isCancelled(c.err):
		return verdict{
			outcome: history.Cancelled, code: history.CodeCancelled, err: c.err,
			reason: "cancelled during the compaction" + q.byWhom() + "; nothing in the store is lost",
		}
	case errors.Is(c.err, sdk.ErrBusy) && doubt:
		return verdict{
			outcome: history.Unknown, code: history.CodeLost, err: c.err,
			reason: "locked after an attempt whose end nobody saw, and which may still run: " + c.err.Error(),
		}
	}
	return q.judge(c.err, false)
}

// muteError is that of a call whose backend does not answer beside it either.
func muteError(doing string) error {
	return sdk.Errorf(sdk.ErrConnection, "%s: the process at the other end does not answer any more", doing).
		WithHint("it may hang or be stopped: look at it, or restart it")
}

// isCancelled says whether an error is the end of the turn. A deadline that
// somebody else has set is a failure.
func (q question) isCancelled(err error) bool {
	return errors.Is(err, sdk.ErrCancelled) || errors.Is(err, context.Canceled) ||
		q.ctx.Err() != nil && sdk.IsCancelled(err)
}

// byWhom says who has cancelled a call, if it was not this host: an owner that
// ends, or a plugin whose process is told to. That is no failure, and not made up
// for by another attempt: the signal that ends a plugin is, as a rule, about to
// end the host too.
func (q question) byWhom() string {
	switch {
	case q.ctx.Err() != nil:
		return ""
	case q.store.Owner != "":
		return " by its owner"
	}
	return " by its plugin, as when the plugin's process is told to end"
}

// vanished says whether a file that a pattern has found is gone, or an owner's
// store that was discovered.
func (q question) vanished(err error) bool {
	if !q.found || !errors.Is(err, sdk.ErrNotFound) {
		return false
	}
	if q.store.Owner != "" {
		return true // whatever is missing, its owner has told
	}
	_, statErr := os.Lstat(q.store.Path)
	return errors.Is(statErr, fs.ErrNotExist)
}

func retryable(err error) bool {
	var p *panicError
	if errors.As(err, &p) {
		return false
	}
	var typed *sdk.Error
	return sdk.Retryable(err) || errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &typed)
}
