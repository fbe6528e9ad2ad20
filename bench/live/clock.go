package main

import (
	"context"
	"time"
)

// timerClock waits with Go's timers, which may be a millisecond late where
// nothing else goes on.
type timerClock struct{}

func (timerClock) now() time.Time { return time.Now() }

func (timerClock) until(ctx context.Context, at time.Time) error {
	wait := time.Until(at)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

var _ clock = timerClock{}
