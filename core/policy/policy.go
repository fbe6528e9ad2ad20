// Package policy decides whether a store is worth compacting now. It is pure:
// what it knows is in its arguments, the clock included.
package policy

import "time"

// Settings are one store's thresholds. The zero value of an optional bound
// switches it off.
type Settings struct {
	// MinRatio (0 to 1) and MinReclaim (bytes) must both be reached.
	MinRatio   float64
	MinReclaim int64
	// MaxFree, when set, is the amount of reclaimable bytes from which a store
	// is compacted whatever its ratio.
	MaxFree int64
	// MinGap is the least time between two compactions of the store that both
	// came to an end; what failed, or was cancelled, is left to the schedule.
	// MaxFree does not pass over it.
	MinGap time.Duration
	// QuarantineAfter is how many failed runs in a row end the automatic
	// attempts, until a person asks for one; 0 never does.
	QuarantineAfter int
}

// Input is what is known about a store now.
type Input struct {
	// Name of the store, for sentences; may be empty.
	Name string
	Now  time.Time
	// What was measured, in allocated bytes.
	AllocatedBytes   int64
	ReclaimableBytes int64
	Ratio            float64

	// The past, as in history.Past.
	LastCompletedAt     time.Time
	ConsecutiveFailures int
	LowYields           int
	LowYieldSkips       int

	// WindowOpen is false outside the store's windows; WindowOpens is then the
	// next opening (zero: never).
	WindowOpen  bool
	WindowOpens time.Time

	// Manual is set when a person asked: quarantine and min gap do not apply,
	// thresholds and windows do.
	Manual bool
	// Force passes over thresholds and windows, never over safety, and without
	// Manual not over quarantine and min gap.
	Force bool
}

// Action is what to do with a store.
type Action string

const (
	// Compact it now.
	Compact Action = "compact"
	// Skip it: not worth it.
	Skip Action = "skip"
	// Defer it: worth it perhaps, but not now.
	Defer Action = "defer"
)

// Decision is what to do and why.
type Decision struct {
	Action Action
	// Code is the reason for programs: worthwhile, max_free, forced,
	// below_ratio, below_bytes, low_yield, min_gap, window, quarantined.
	Code string
	// Reason is the same as a sentence for people.
	Reason string
}
