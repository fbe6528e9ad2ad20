// Package schedule says when a store is next due. It is pure: the clock and
// the randomness are passed in.
package schedule

import "time"

// Settings are when one store is looked at: every so often, or by a cron
// expression, and within windows where there are any.
type Settings struct {
	// Every is the interval; used when Cron is empty.
	Every time.Duration
	// Cron is a five-field expression, in Zone. What clocks skip when they go
	// forward is left out; what they show twice when they go back counts once,
	// unless the hour is "*".
	Cron string
	Zone *time.Location // nil means time.Local
	// Jitter (0 to 1) spreads an interval's runs: each is up to so much of
	// Every late.
	Jitter float64
	// StartDelay is the least time between the host's start and the first run.
	StartDelay time.Duration
	// Windows are when compaction is allowed; none means always.
	Windows []Window
}

// Window is a part of the week.
type Window struct {
	// Days on which it opens; none means every day.
	Days []time.Weekday
	// From and To are minutes since midnight in Zone; To at or before From
	// means the next day. A time that clocks skip is the moment of the change,
	// one that they show twice is the first.
	From, To int
	Zone     *time.Location // nil means that of the Settings
}
