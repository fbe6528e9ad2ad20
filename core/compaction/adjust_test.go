package compaction_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// paced is a backend that works as fast as its pace lets it, and fails first as
// often as it is told to.
type paced struct {
	*backend
	bytes    int64
	failures int
}

func newPaced(bytes int64, failures int) sdk.Backend {
	p := &paced{backend: &backend{}, bytes: bytes, failures: failures}
	p.compact = func(ctx context.Context, n int, req sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
		err := req.Pace.Wait(ctx, p.bytes)
		if err == nil && n <= p.failures {
			err = errors.New("the disk hiccuped")
		}
		return success, err
	}
	return sdk.Guard(p)
}

func (p *paced) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := p.backend.Describe(ctx)
	d.Capabilities.LimitsRate = true
	return d, err
}

// A new limit holds at once for what is under way, and for its later attempts.
func TestAdjust(t *testing.T) {
	const rate, bytes = 100, 6000 // a minute's work
	limited := func(name string, bytesPerSecond int64) config.Store {
		store := newStore(name, "")
		store.LimitBytesPerSecond = bytesPerSecond
		return store
	}
	pattern := func(bytesPerSecond int64) config.Store {
		store := limited("logs", bytesPerSecond)
		store.Glob = "/anywhere/*.db"
		return store
	}
	for _, c := range []struct {
		name     string
		store    string
		failures int
		changed  []config.Store // after half a minute
		want     time.Duration
	}{
		{"nothing is changed", "a", 0, nil, 59900 * time.Millisecond}, // 100 ms are saved up
		{"another store is", "a", 0, []config.Store{limited("b", 0), pattern(0)}, 59900 * time.Millisecond},
		{"the same limit", "a", 0, []config.Store{limited("a", rate)}, 59900 * time.Millisecond},
		{"faster", "a", 0, []config.Store{limited("b", 1), limited("a", 10*rate)}, 32990 * time.Millisecond},
		{"slower", "a", 0, []config.Store{limited("a", rate/5)}, 179500 * time.Millisecond},
		{"without", "a", 0, []config.Store{limited("a", 0)}, 30 * time.Second},
		{"without, in the second attempt too", "a", 1, []config.Store{limited("a", 0)}, 60 * time.Second},
		{"a file of a pattern", "logs/a.db", 0, []config.Store{pattern(0)}, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
				write(t, w.dir+"/logs/x")
				store := w.store(c.store, &backend{})
				store.LimitBytesPerSecond = rate
				store.Retry.Delay = 30 * time.Second
				w.clients.backends[c.store] = newPaced(bytes, c.failures)
				time.AfterFunc(30*time.Second, func() { w.runner.Adjust(c.changed) })
				began := time.Now()
				run := w.run(store)
				if got := time.Since(began); got != c.want {
					t.Errorf("took %s, want %s", got, c.want)
				}
				if outcome := run.Results[0].Outcome; outcome != history.Compacted {
					t.Errorf("outcome: %+v", run.Results[0])
				}
			})
		})
	}
}

// Whoever has read the configuration before the change and begins after it gets
// what the change has brought.
func TestAdjustJustBefore(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		read := w.store("a", &backend{})
		read.LimitBytesPerSecond = 100
		w.clients.backends["a"] = newPaced(6000, 0)
		for _, rate := range []int64{50, 1000} {
			changed := read
			changed.LimitBytesPerSecond = rate
			w.runner.Adjust([]config.Store{changed})
		}
		began := time.Now()
		w.run(read)
		if got, want := time.Since(began), 5990*time.Millisecond; got != want {
			t.Errorf("took %s, want %s", got, want)
		}
	})
}

// So does a new I/O priority, and in the pause between two attempts nobody is
// told of it.
func TestAdjustPriority(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		store := w.store("a", &backend{})
		store.LimitBytesPerSecond, store.IOPriority = 100, sdk.IOIdle
		w.clients.backends["a"] = newPaced(6000, 1) // fails after a minute
		change := func(after time.Duration, to sdk.IOPriority) {
			time.AfterFunc(after, func() {
				changed := store
				changed.IOPriority = to
				w.runner.Adjust([]config.Store{changed})
			})
		}
		change(30*time.Second, sdk.IONormal)
		change(40*time.Second, sdk.IONormal)
		change(70*time.Second, sdk.IOIdle) // in the pause
		change(3*time.Hour, sdk.IONormal)  // when all is over
		w.run(store)
		time.Sleep(4 * time.Hour)
		if got, want := w.clients.ranks, []sdk.IOPriority{sdk.IOIdle, sdk.IONormal, sdk.IOIdle}; !slices.Equal(got, want) {
			t.Errorf("the leases had %q, want %q", got, want)
		}
	})
}
