package compaction_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

// How long a phase will still take follows from what it has done in its time.
func TestProgressHasAnETA(t *testing.T) {
	steps := []struct {
		after time.Duration
		p     sdk.Progress
		want  time.Duration
	}{
		{0, sdk.Progress{Phase: "copy", Done: 20, Total: 120}, 0},
		{900 * time.Millisecond, sdk.Progress{Phase: "copy", Done: 30, Total: 120}, 0}, // too early to say
		{1100 * time.Millisecond, sdk.Progress{Phase: "copy", Done: 40, Total: 120}, 8 * time.Second},
		{2 * time.Second, sdk.Progress{Phase: "copy", Done: 100, Total: 120}, time.Second},
		{time.Second, sdk.Progress{Phase: "copy", Done: 120, Total: 120}, 0},
		{time.Second, sdk.Progress{Phase: "verify", Done: 50, Total: 100}, 0}, // begins anew
		{5 * time.Second, sdk.Progress{Phase: "verify", Done: 75, Total: 100}, 5 * time.Second},
		{time.Second, sdk.Progress{Phase: "sync", Done: 0, Total: 10}, 0},
		{5 * time.Second, sdk.Progress{Phase: "sync", Done: 0, Total: 10}, 0}, // nothing done yet
		{5 * time.Second, sdk.Progress{Phase: "sync", Done: 5}, 0},            // of nobody knows how much
		{5 * time.Second, sdk.Progress{Phase: "sync", Done: 5, Total: math.MaxInt64}, 0},
	}
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var active []time.Duration
		b := &backend{}
		b.compact = func(_ context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			for _, step := range steps {
				time.Sleep(step.after)
				report(step.p)
				active = append(active, time.Duration(w.runner.Active()["a"].ETAMS)*time.Millisecond)
			}
			return success, nil
		}
		store := w.store("a", &backend{})
		w.clients.backends["a"] = b // not guarded: it may say what it likes
		w.run(store)
		var told []*event.Progress
		for _, e := range w.events.events {
			if e.Progress != nil {
				told = append(told, e.Progress)
			}
		}
		if len(told) != len(steps) {
			t.Fatalf("%d events for %d steps", len(told), len(steps))
		}
		for i, step := range steps {
			if got := time.Duration(told[i].ETAMS) * time.Millisecond; got != step.want || active[i] != step.want {
				t.Errorf("step %d: %s left, %s in the status, want %s", i, got, active[i], step.want)
			}
		}
	})
}

// The estimate is for the rate of the last seconds, and begins anew when the
// limit changes.
func TestETAFollowsTheRate(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		store := w.store("a", &backend{})
		store.LimitBytesPerSecond = 1
		b := &backend{}
		b.compact = func(_ context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			done := int64(0)
			work := func(seconds, rate int64) {
				for range seconds {
					time.Sleep(time.Second)
					done += rate
					report(sdk.Progress{Phase: "copy", Done: done, Total: 1_000_000})
				}
			}
			wantRate := func(when string, rate int64) {
				t.Helper()
				want := time.Duration(1_000_000-done) * time.Second / time.Duration(max(rate, 1))
				if rate == 0 {
					want = 0
				}
				if got := time.Duration(w.runner.Active()["a"].ETAMS) * time.Millisecond; got != want.Truncate(time.Millisecond) {
					t.Errorf("%s: %s left, want %s", when, got, want)
				}
			}
			report(sdk.Progress{Phase: "copy", Total: 1_000_000})
			work(600, 100)
			wantRate("after ten slow minutes", 100)
			work(10, 1000)
			wantRate("after ten fast seconds", 1000)
			changed := store
			changed.LimitBytesPerSecond = 2
			w.runner.Adjust([]config.Store{changed})
			work(1, 10)
			wantRate("at once after a new limit", 0)
			work(2, 10)
			wantRate("two seconds after it", 10)
			return success, nil
		}
		w.clients.backends["a"] = b // not guarded, which would refuse the limit
		w.run(store)
	})
}
