package sdk

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// took says how long something takes by the clock of the bubble.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// about allows for rounding only: the bubble's clock is exact.
func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if diff := got - want; diff < -time.Microsecond || diff > time.Microsecond {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func wait(t *testing.T, p *Pace, bytes int64) time.Duration {
	t.Helper()
	return took(func() {
		if err := p.Wait(t.Context(), bytes); err != nil {
			t.Errorf("wait: %v", err)
		}
	})
}

func TestPaceKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace(1000)
		about(t, "what is saved up is free", wait(t, p, 100), 0)
		about(t, "half a second's worth", wait(t, p, 500), 500*time.Millisecond)
		for range 10 {
			about(t, "and each of ten pieces", wait(t, p, 10), 10*time.Millisecond)
		}
		time.Sleep(time.Minute)
		about(t, "a long rest saves up 100 ms only", wait(t, p, 1100), time.Second)
		time.Sleep(50 * time.Millisecond)
		about(t, "a short one what it was", wait(t, p, 100), 50*time.Millisecond)
	})
}

func TestPaceWithoutLimit(t *testing.T) {
	(*Pace)(nil).Set(7)
	if rate := (*Pace)(nil).Rate(); rate != 0 {
		t.Errorf("nil has a rate of %d", rate)
	}
	synctest.Test(t, func(t *testing.T) {
		for name, p := range map[string]*Pace{"nil": nil, "zero": {}, "of 0": NewPace(0), "of less": NewPace(-5)} {
			about(t, name, wait(t, p, 1<<62), 0)
			if rate := p.Rate(); rate != 0 {
				t.Errorf("%s: rate %d", name, rate)
			}
			over, cancel := context.WithCancel(t.Context())
			cancel()
			if err := p.Wait(over, 1); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: with a context that has ended: %v", name, err)
			}
		}
	})
}

func TestPaceIsChanged(t *testing.T) {
	for _, c := range []struct {
		name           string
		rate, bytes    int64
		change         int64
		after, expects time.Duration // since the beginning, without credit
	}{
		{"faster", 100, 1000, 1000, time.Second, 1900 * time.Millisecond},
		{"slower", 1000, 2000, 100, time.Second, 11 * time.Second},
		{"no limit any more", 1, 1 << 40, 0, time.Second, time.Second},
		{"a negative one", 1, 1 << 40, -1, time.Second, time.Second},
		{"the same", 100, 1000, 100, time.Second, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPace(c.rate)
				p.Account(c.rate / 10) // use up what is saved
				time.AfterFunc(c.after, func() { p.Set(c.change) })
				about(t, "waited", wait(t, p, c.bytes), c.expects)
				if want := max(0, c.change); p.Rate() != want {
					t.Errorf("rate %d", p.Rate())
				}
			})
		})
	}
}

// What was done without a limit is not held against the one that follows.
func TestPaceFromNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace(0)
		about(t, "without", wait(t, p, 1<<40), 0)
		p.Set(1000)
		about(t, "with", wait(t, p, 1000), time.Second)
		p.Account(5000)
		p.Set(0)
		p.Set(1000)
		about(t, "and again", wait(t, p, 1000), time.Second)
	})
}

func TestPaceWakesWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		about(t, "waited", took(func() { err = NewPace(1).Wait(ctx, 1<<62) }), time.Second)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
	})
}

// Naps let a backend tell of its progress while it waits.
// Who waits between two pieces of work, as a backend is told to, is heard of all
// the while: it is not stalled.
func TestPaceKeepsProgressAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.description.Capabilities.LimitsRate = true
		f.compact = func(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
			if err := req.Pace.Wait(ctx, 5_000); err != nil { // nothing to repeat yet
				return CompactResult{}, err
			}
			report(Progress{Phase: "copy", Done: 1, Total: 2, Unit: "pages"})
			err := req.Pace.Wait(ctx, 60_000) // a minute
			report(Progress{Phase: "copy", Done: 2, Total: 2, Unit: "pages"})
			return CompactResult{}, err
		}
		var silence time.Duration
		var last time.Time
		var steps []int64
		pace := NewPace(1000)
		_, err := Guard(f).Compact(t.Context(), CompactRequest{Store: newStore(t, "a"), Pace: pace}, func(p Progress) {
			if !last.IsZero() {
				silence = max(silence, time.Since(last))
			}
			last = time.Now()
			if len(steps) == 0 || steps[len(steps)-1] != p.Done {
				steps = append(steps, p.Done)
			}
			if p.Phase != "copy" || p.Total != 2 {
				t.Errorf("progress %+v", p)
			}
		})
		if err != nil || silence == 0 || silence >= time.Second {
			t.Errorf("silent for %s (%v)", silence, err)
		}
		if !slices.Equal(steps, []int64{1, 2}) {
			t.Errorf("progress went %v", steps)
		}
		if pace.alive.Load() != nil {
			t.Error("the pace still tells of a call that has ended")
		}
	})
}

func TestPaceNaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace(1000)
		p.Account(100 + 250)
		var naps []bool
		about(t, "all naps", took(func() {
			for due := false; !due; naps = append(naps, due) {
				var err error
				if due, err = p.Nap(t.Context(), 100*time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
		}), 250*time.Millisecond)
		if len(naps) != 3 || naps[0] || naps[1] || !naps[2] {
			t.Errorf("due after each: %v", naps)
		}
	})
}

// Several goroutines have the rate together, and none waits for ever.
func TestPaceIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace(1000)
		p.Account(100)
		began := time.Now()
		ended := make(chan time.Duration)
		for range 4 {
			go func() {
				for range 25 {
					if err := p.Wait(t.Context(), 10); err != nil {
						t.Error(err)
					}
				}
				ended <- time.Since(began)
			}()
		}
		var last time.Duration
		for range 4 {
			last = max(last, <-ended)
		}
		about(t, "1000 bytes by four", last, time.Second)
	})
}

func BenchmarkPaceWithoutLimit(b *testing.B) {
	p := NewPace(0)
	for b.Loop() {
		if err := p.Wait(b.Context(), 4096); err != nil {
			b.Fatal(err)
		}
	}
}
