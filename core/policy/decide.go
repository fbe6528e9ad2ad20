package policy

import (
	"fmt"
	"time"

	"github.com/wringdb/wring/sdk"
)

// How far low yields raise the bar: each doubles it, up to maxDoublings times,
// and each look that skips a store for it alone takes one doubling back. So a
// store that promises what it does not hold is compacted at every fourth look
// in the end, and one that has changed is found out. A ratio is not raised
// beyond maxRaisedRatio, since one above 100 % could never be reached again.
const (
	maxDoublings   = 3
	maxRaisedRatio = 0.9
)

// The codes of what a measurement can reach, and of one that would reach the
// thresholds if they were not raised.
const (
	maxFree    = "max_free"
	worthwhile = "worthwhile"
	lowYield   = "low_yield"
)

// Decide says what to do with a store now, and why. The checks, in order; the
// first that applies decides:
//
//  1. quarantine: too many failures in a row → defer (not when Manual)
//  2. thresholds: not enough to give back → skip (not when Force). Reaching
//     MaxFree is enough, always; otherwise MinRatio and MinReclaim must both be
//     reached
//  3. min gap: compacted too recently → skip (not when Manual)
//  4. raised thresholds: compactions gave back much less than predicted, so
//     MinRatio and MinReclaim are multiplied → skip (not when Force)
//  5. window: closed → defer (not when Force)
//
// Thresholds come before min gap and window, so that those two are only said of
// a store that is worth compacting. Raised ones come after the min gap, so that
// a skip for them is for them alone.
func Decide(s Settings, in Input) Decision {
	in.ReclaimableBytes = max(in.ReclaimableBytes, 0)
	if !in.Manual && s.QuarantineAfter > 0 && in.ConsecutiveFailures >= s.QuarantineAfter {
		return Decision{Defer, "quarantined", fmt.Sprintf(
			"%d runs in a row have failed, which ends the automatic attempts: when the cause is mended, lift this with `wring compact %s`",
			in.ConsecutiveFailures, in.nameOr("NAME"))}
	}
	worth := weigh(s, in)
	if worth.Action != Compact && worth.Code != lowYield && !in.Force {
		return worth
	}
	if gap, left := sinceLast(s, in); left > 0 && !in.Manual {
		return Decision{Skip, "min_gap", fmt.Sprintf(
			"its last complete compaction began %s ago, less than the %s between two compactions of a store: worth another look from %s",
			span(gap), span(s.MinGap), moment(in.Now.Add(left)))}
	}
	if worth.Action != Compact && !in.Force {
		return worth
	}
	switch {
	case !in.WindowOpen && !in.Force:
		return Decision{Defer, "window", worth.Reason + ", but " + closed(in)}
	case worth.Action != Compact:
		return Decision{Compact, "forced", "forced, although " + worth.Reason}
	case !in.WindowOpen:
		return Decision{Compact, "forced", worth.Reason + "; forced, although " + closed(in)}
	}
	return worth
}

// weigh holds what was measured against the thresholds.
func weigh(s Settings, in Input) Decision {
	raise := raiseFor(in)
	bar := s.raised(raise)
	plain := s.reachedBy(in)
	switch reached := bar.reachedBy(in); {
	case reached == maxFree:
		return Decision{Compact, maxFree, fmt.Sprintf("%s reaches max_free of %s, from which the ratio does not matter",
			figures(in), sdk.FormatBytes(bar.MaxFree))}
	case reached == worthwhile:
		return Decision{Compact, worthwhile, fmt.Sprintf("%s reaches the threshold of %s and %s%s",
			figures(in), percent(bar.MinRatio), sdk.FormatBytes(bar.MinReclaim), raisedBy(raise, in))}
	case plain != "":
		return Decision{Skip, lowYield, fmt.Sprintf("%s would be enough, but after %s, up to %d times as much is asked for, halved by each such skip: %s",
			figures(in), lowYields(in.LowYields), raise, bar.asked())}
	case in.ReclaimableBytes > 0 && !(in.Ratio >= s.MinRatio): // so that NaN is below
		return Decision{Skip, "below_ratio", figures(in) + " is below " + s.missing(in)}
	case in.ReclaimableBytes > 0:
		return Decision{Skip, "below_bytes", figures(in) + " is below " + s.missing(in)}
	}
	return Decision{Skip, "below_bytes", figures(in) + ", so compaction would give nothing back"}
}

// raiseFor returns by how much MinRatio and MinReclaim are multiplied.
func raiseFor(in Input) int64 {
	return 1 << max(0, min(in.LowYields, maxDoublings)-in.LowYieldSkips)
}

// raised returns the settings with MinRatio and MinReclaim times as high.
// MaxFree stays: it is the most that is ever left lying about.
func (s Settings) raised(times int64) Settings {
	if times > 1 {
		s.MinRatio = max(s.MinRatio, min(s.MinRatio*float64(times), maxRaisedRatio))
		s.MinReclaim = multiply(s.MinReclaim, times)
	}
	return s
}

// multiply stops at a size that no store has, instead of overflowing.
func multiply(n, times int64) int64 {
	const most = 1 << 62
	if n > most/times {
		return most
	}
	return n * times
}

// reachedBy returns the code of what in reaches, or "".
func (s Settings) reachedBy(in Input) string {
	switch {
	case in.ReclaimableBytes == 0:
		return "" // whatever the thresholds: compaction would never end
	case s.MaxFree > 0 && in.ReclaimableBytes >= s.MaxFree:
		return maxFree
	case in.Ratio >= s.MinRatio && in.ReclaimableBytes >= s.MinReclaim:
		return worthwhile
	}
	return ""
}

// sinceLast returns how long ago the last completed compaction began and how
// much of the min gap is left: from its beginning, so that a schedule as long as
// the gap keeps to it. One in the future is no reason to wait: the clock was
// wrong, then or now, perhaps by years.
func sinceLast(s Settings, in Input) (gap, left time.Duration) {
	if in.LastCompletedAt.IsZero() || in.LastCompletedAt.After(in.Now) {
		return 0, 0
	}
	gap = in.Now.Sub(in.LastCompletedAt)
	return gap, s.MinGap - gap
}
