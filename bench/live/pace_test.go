package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever waits for a request that takes long is late with those that follow,
// and that counts as their latency.
func TestLatencyCountsFromWhenARequestIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Millisecond)
		defer cancel()
		s := &schedule{began: time.Now(), rate: 100}
		calls := 0
		made, err := s.work(ctx, timerClock{}, func() error {
			if calls++; calls == 3 {
				time.Sleep(35 * time.Millisecond)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []time.Duration
		for _, one := range made {
			got = append(got, one.latency())
		}
		const ms = time.Millisecond
		want := []time.Duration{0, 0, 35 * ms, 25 * ms, 15 * ms, 5 * ms, 0, 0, 0, 0}
		if !slices.Equal(got, want) {
			t.Errorf("latencies %v, want %v", got, want)
		}
		if late := made[3].begun.Sub(made[3].due); late != 25*ms {
			t.Errorf("the request after the long one began %v late, want %v", late, 25*ms)
		}
	})
}

// Two who make requests share one schedule.
func TestRequestsAreMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second-time.Millisecond)
		defer cancel()
		s := &schedule{began: time.Now(), rate: 50}
		results := make(chan []sample)
		for range 2 {
			go func() {
				made, err := s.work(ctx, timerClock{}, func() error { time.Sleep(30 * time.Millisecond); return nil })
				if err != nil {
					t.Error(err)
				}
				results <- made
			}()
		}
		all := slices.Concat(<-results, <-results)
		slices.SortFunc(all, func(a, b sample) int { return a.due.Compare(b.due) })
		if len(all) != 50 {
			t.Errorf("%d requests, want 50", len(all))
		}
		for i, one := range all {
			if !one.due.Equal(s.due(int64(i))) || one.latency() != 30*time.Millisecond {
				t.Errorf("request %d was due at %v and took %v", i, one.due.Sub(s.began), one.latency())
			}
		}
	})
}

func TestScheduleDoesNotDrift(t *testing.T) {
	s := &schedule{began: time.Unix(0, 0), rate: 7}
	if got := s.due(7 * 86400).Sub(s.began); got != 24*time.Hour {
		t.Errorf("a day's requests take %v", got)
	}
	if got := s.due(3).Sub(s.began); got != 3*time.Second/7 {
		t.Errorf("the fourth is due after %v", got)
	}
}

func TestAFailedRequestEndsTheWork(t *testing.T) {
	s := &schedule{began: time.Now(), rate: 1000}
	failed := errors.New("failed")
	made, err := s.work(t.Context(), timerClock{}, func() error { return failed })
	if !errors.Is(err, failed) || len(made) != 0 {
		t.Errorf("%d requests made, error %v", len(made), err)
	}
}

// The clock that is used is neither early nor stops waiting when ctx does not end.
func TestClock(t *testing.T) {
	c, stop, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, wait := range []time.Duration{-time.Second, 0, 300 * time.Microsecond, 120 * time.Millisecond} {
		at := c.now().Add(wait)
		if err := c.until(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if early := at.Sub(c.now()); early > 0 {
			t.Errorf("to wait for %v ended %v early", wait, early)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.until(ended, c.now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestSpan(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	samples := []sample{
		{due: at(0), done: at(9)},    // before
		{due: at(5), done: at(10)},   // into it
		{due: at(12), done: at(13)},  // within
		{due: at(20), done: at(90)},  // out of it
		{due: at(5), done: at(90)},   // over it
		{due: at(21), done: at(100)}, // after
	}
	s := span{at(10), at(20)}
	if got := s.of(samples); !slices.Equal(got, samples[1:5]) {
		t.Errorf("waited for during the span: %v", got)
	}
}
