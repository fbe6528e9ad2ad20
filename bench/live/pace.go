package main

import (
	"context"
	"sync/atomic"
	"time"
)

// clock is the time, and how to wait for it.
type clock interface {
	now() time.Time
	// until returns at that time. Being late, it returns at once, and looks at
	// nothing; else its error is the context's.
	until(ctx context.Context, at time.Time) error
}

// sample is one request.
type sample struct {
	// due is when it was to begin, whether somebody was there to make it or not.
	due, begun, done time.Time
}

// latency counts from when the request was due: what a caller would have waited
// who comes at that time, whoever is being served then.
func (s sample) latency() time.Duration { return s.done.Sub(s.due) }

// span of time.
type span struct{ from, to time.Time }

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// of returns the samples that were waited for during any part of the span.
func (s span) of(samples []sample) (within []sample) {
	for _, one := range samples {
		if !one.due.After(s.to) && !one.done.Before(s.from) {
			within = append(within, one)
		}
	}
	return within
}

// schedule says when requests are due. It goes on whether they are made in time
// or not, and whoever makes them takes the next one: so requests that have to
// wait are late, and not left out.
type schedule struct {
	began time.Time
	rate  int // requests per second
	taken atomic.Int64
}

// due is when request i is.
func (s *schedule) due(i int64) time.Time {
	rate := int64(s.rate)
	whole, rest := i/rate, i%rate
	return s.began.Add(time.Duration(whole)*time.Second + time.Duration(rest)*time.Second/time.Duration(rate))
}

// work makes requests as they are due, until ctx ends, and returns those made:
// all that it has taken and that were due by then.
func (s *schedule) work(ctx context.Context, c clock, request func() error) ([]sample, error) {
	var made []sample
	for ctx.Err() == nil {
		due := s.due(s.taken.Add(1) - 1)
		switch err := c.until(ctx, due); {
		case err == nil:
		case ctx.Err() != nil:
			return made, nil //nolint:nilerr // it is how the work ends
		default:
			return made, err
		}
		begun := c.now()
		if err := request(); err != nil {
			return made, err
		}
		made = append(made, sample{due: due, begun: begun, done: c.now()})
	}
	return made, nil
}
