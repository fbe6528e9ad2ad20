package compaction

import "time"

// Clock is where time comes from.
type Clock interface {
	Now() time.Time
	// After sends the time once d has passed, unless stop is called before.
	After(d time.Duration) (c <-chan time.Time, stop func())
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) After(d time.Duration) (<-chan time.Time, func()) {
	timer := time.NewTimer(d)
	return timer.C, func() { timer.Stop() }
}
