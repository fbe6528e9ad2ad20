package compaction_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// What becomes of a store whose compaction ended out of sight.
func TestLostConnection(t *testing.T) {
	shrunk := sdk.Fragmentation{TotalBytes: 9 * mib, AllocatedBytes: 8 * mib, LiveBytes: 8 * mib, ReclaimableBytes: 1}
	for _, test := range []struct {
		name     string
		backend  *backend
		acquire  func(n int, store string) error
		store    func(s *config.Store)
		want     history.Outcome
		code     string
		attempts int
		calls    string
		resolved bool
	}{
		{
			name: "looked at, worth it still, compacted", backend: &backend{compact: sequence(errLost)},
			want: history.Compacted, code: "worthwhile", attempts: 2, calls: "measure sweep compact sweep measure sweep compact", resolved: true,
		},
		{
			name: "looked at, had done its work", backend: &backend{compact: sequence(errLost), fragmentation: measures(fragmented, shrunk)},
			want: history.Compacted, code: history.CodeLost, attempts: 1, calls: "measure sweep compact sweep measure", resolved: true,
		},
		{
			name: "looked at, not worth it any more for other reasons",
			backend: &backend{compact: sequence(errLost), fragmentation: measures(fragmented, sdk.Fragmentation{
				TotalBytes: 24 * mib, AllocatedBytes: 20 * mib, LiveBytes: 20 * mib,
			})},
			want: history.Failed, code: history.CodeLost, attempts: 1, calls: "measure sweep compact sweep measure", resolved: true,
		},
		{
			name: "lost again", backend: &backend{compact: sequence(errLost, errLost)},
			want: history.Unknown, code: history.CodeLost, attempts: 2, calls: "measure sweep compact sweep measure sweep compact",
		},
		{
			name: "looked at, then fails for other reasons", backend: &backend{compact: sequence(errLost, errFleeting)},
			store: func(s *config.Store) { s.Retry.Attempts = 2 },
			acquire: func(n int, _ string) error {
				if n > 2 {
					return errNoProgram
				}
				return nil
			},
			want: history.Failed, code: history.CodeError, attempts: 2, calls: "measure sweep compact sweep measure sweep compact", resolved: true,
		},
		{
			name: "the first goes on", backend: &backend{compact: sequence(errLost, errBusy)},
			want: history.Unknown, code: history.CodeLost, attempts: 2, calls: "measure sweep compact sweep measure sweep compact",
		},
		{
			name: "the plugin does not come back", backend: &backend{compact: sequence(errLost)},
			acquire: func(n int, _ string) error {
				if n > 1 {
					return errNoProgram
				}
				return nil
			},
			want: history.Unknown, code: history.CodeLost, attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "the store cannot be measured", backend: &backend{compact: sequence(errLost), fragmentation: measures(fragmented, errCorrupt)},
			want: history.Unknown, code: history.CodeLost, attempts: 1, calls: "measure sweep compact sweep measure",
		},
		{
			name: "no retry configured", backend: &backend{compact: sequence(errLost)},
			store: func(s *config.Store) { s.Retry.Attempts = 0 },
			want:  history.Unknown, code: history.CodeLost, attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "an owner, which may go on", backend: &backend{compact: sequence(errLost)},
			store: func(s *config.Store) { s.Plugin, s.Path, s.Owner = "", "", "/run/app.sock" },
			want:  history.Unknown, code: history.CodeLost, attempts: 1, calls: "measure sweep compact",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
				store := w.store("a", test.backend)
				if test.store != nil {
					test.store(&store)
				}
				w.clients.acquire = test.acquire
				r := w.run(store).Results[0]
				if r.Outcome != test.want || r.Code != test.code || r.Attempts != test.attempts {
					t.Errorf("got %s (%s) after %d attempts, want %s (%s) after %d: %s", r.Outcome, r.Code, r.Attempts, test.want, test.code, test.attempts, r.Reason)
				}
				if got := strings.Join(test.backend.called(), " "); got != test.calls {
					t.Errorf("the backend was called for %q, want %q", got, test.calls)
				}
				if past := w.past("a"); past.Unresolved == test.resolved {
					t.Errorf("past is %+v, want resolved = %t", past, test.resolved)
				}
				if r.Outcome == history.Unknown && (r.TotalBytesAfter != 0 || r.Error == "") {
					t.Errorf("an unknown result claims to know: %+v", r)
				}
				if r.Code == history.CodeLost && r.Outcome == history.Compacted && (r.ReclaimedBytes != 12*mib || r.TotalBytesAfter != 9*mib || r.Verified) {
					t.Errorf("got %+v", r)
				}

				// The next run looks before it does anything, and then knows.
				if test.resolved {
					return
				}
				w.clients.acquire = nil
				next := &backend{fragmentation: measures(dense)}
				w.clients.backends["a"] = sdk.Guard(next)
				time.Sleep(6 * time.Hour)
				if r := w.run(store).Results[0]; r.Outcome != history.Skipped {
					t.Errorf("next run: %+v", r)
				}
				if got := next.called(); !slices.Equal(got, []string{"sweep", "measure"}) {
					t.Errorf("the next run called for %v", got)
				}
				if past := w.past("a"); past.Unresolved {
					t.Errorf("after the next run the past is %+v", past)
				}
			})
		})
	}
}

// waitForCancel is a compaction that makes no progress and cleans up as it
// should.
func waitForCancel(ctx context.Context) (sdk.CompactResult, error) {
	<-ctx.Done()
	return sdk.CompactResult{}, ctx.Err()
}

func TestStall(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: func(ctx context.Context, n int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			if n > 1 {
				return success, nil
			}
			report(sdk.Progress{Phase: "copy", Done: 1, Total: 9})
			time.Sleep(4 * time.Minute)
			report(sdk.Progress{Phase: "copy", Done: 2, Total: 9})
			return waitForCancel(ctx)
		}}
		began := time.Now()
		r := w.run(w.store("a", b)).Results[0]
		if r.Outcome != history.Compacted || r.Attempts != 2 {
			t.Errorf("got %+v", r)
		}
		if took, want := time.Since(began), 9*time.Minute+30*time.Second; took != want {
			t.Errorf("took %v, want %v: five minutes after the last progress, then the delay", took, want)
		}
	})
}

func TestStallTwice(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: func(ctx context.Context, _ int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
			return waitForCancel(ctx)
		}}
		r := w.run(w.store("a", b)).Results[0]
		if r.Outcome != history.Failed || r.Code != history.CodeStalled || r.Attempts != 2 || !strings.Contains(r.Error, "no progress for 5m0s") {
			t.Errorf("got %+v", r)
		}
	})
}

// A remote call that is cancelled ends at once on this side; that the other side
// goes on shows when the store is locked.
func TestStallThatGoesOn(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: func(ctx context.Context, n int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
			if n == 1 {
				return waitForCancel(ctx)
			}
			return sdk.CompactResult{}, errBusy
		}}
		r := w.run(w.store("a", b)).Results[0]
		if r.Outcome != history.Unknown || r.Attempts != 2 || !w.past("a").Unresolved {
			t.Errorf("got %+v", r)
		}
	})
}

// However long it takes, what makes progress is no stall.
func TestSlowIsNoStall(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: func(_ context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			for i := range 100 {
				time.Sleep(4*time.Minute + 59*time.Second)
				report(sdk.Progress{Phase: "copy", Done: int64(i)})
			}
			return success, nil
		}}
		if r := w.run(w.store("a", b)).Results[0]; r.Outcome != history.Compacted || r.Attempts != 1 {
			t.Errorf("got %+v", r)
		}
	})
}

// A call that does not end keeps its store, but neither the run nor the backend.
func TestHungCall(t *testing.T) {
	inBubble(t, compaction.Config{CancelGrace: 20 * time.Second}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		b := &backend{compact: func(_ context.Context, n int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			if n > 1 {
				return success, nil
			}
			<-end
			report(sdk.Progress{Phase: "late"})
			return success, nil
		}}
		store, other := w.store("a", b), w.store("b", &backend{})
		began := time.Now()
		run := w.run(store, other)
		r := run.Results[0]
		if r.Outcome != history.Unknown || r.Code != history.CodeStalled || r.Attempts != 1 || r.TotalBytesAfter != 0 {
			t.Errorf("got %+v", r)
		}
		if took, want := time.Since(began), 5*time.Minute+20*time.Second; took != want {
			t.Errorf("took %v, want %v", took, want)
		}
		if run.Results[1].Outcome != history.Compacted {
			t.Errorf("the other store: %+v", run.Results[1])
		}
		if n := w.clients.balance(); n != 0 {
			t.Errorf("%d leases are held for a call that was given up", n)
		}
		if n := w.clients.discarded; n != 1 {
			t.Errorf("%d backends were discarded, want the one that hangs", n)
		}
		if running := w.runner.Running(); len(running) != 0 {
			t.Errorf("runs %v are said to go on", running)
		}

		if r := w.run(store).Results[0]; r.Outcome != history.Skipped || r.Code != history.CodeAlreadyRunning || !strings.Contains(r.Reason, "given up") {
			t.Errorf("while it goes on: %+v", r)
		}
		if n, err := w.runner.Cancel(t.Context(), "a"); n != 0 || err != nil {
			t.Errorf("cancelled %d (%v) of what was given up", n, err)
		}
		if !w.past("a").Unresolved {
			t.Error("another run has resolved what goes on")
		}
		close(end)
		synctest.Wait()
		time.Sleep(2 * time.Hour)
		if r := w.run(store).Results[0]; r.Outcome != history.Compacted {
			t.Errorf("after it has ended: %+v", r)
		}
		for _, e := range w.events.events {
			if e.Progress != nil && e.Progress.Phase == "late" {
				t.Error("progress of a call that was given up was published")
			}
		}
	})
}

// A backend that does not answer while nothing is at stake has failed.
func TestHungMeasurement(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		defer close(end)
		b := &backend{fragmentation: func(int, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
			<-end
			return fragmented, nil
		}}
		store := w.store("a", b)
		store.Retry.Attempts = 0
		r := w.run(store).Results[0]
		if r.Outcome != history.Failed || r.Attempts != 0 || !strings.Contains(r.Reason, "no answer for 5m0s") {
			t.Errorf("got %+v", r)
		}
		if n := w.clients.discarded; n != 1 {
			t.Errorf("%d backends were discarded, want the one that does not answer", n)
		}
	})
}

// Cancelling one store waits for its backend to clean up, and leaves the others.
func TestCancelOneStore(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		cleaned := false
		b := &backend{compact: func(ctx context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			report(sdk.Progress{Phase: "copy", Done: 3, Total: 9, Unit: "bytes"})
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			cleaned = true
			return sdk.CompactResult{}, ctx.Err()
		}}
		stores := []config.Store{w.store("a", b), w.store("b", &backend{})}
		var run history.Run
		var running sync.WaitGroup
		running.Go(func() { run = w.run(stores...) })
		synctest.Wait()
		if active := w.runner.Active(); len(active) != 1 || active["a"].Done != 3 {
			t.Errorf("active: %v", active)
		}
		if got := w.runner.Running(); len(got) != 1 {
			t.Errorf("running: %v", got)
		}
		n, err := w.runner.Cancel(t.Context(), "a")
		if n != 1 || err != nil || !cleaned {
			t.Errorf("cancelled %d (%v), cleaned up: %t", n, err, cleaned)
		}
		running.Wait()
		if r := run.Results[0]; r.Outcome != history.Cancelled || r.Code != history.CodeCancelled || !strings.Contains(r.Reason, "somebody asked") {
			t.Errorf("got %+v", r)
		}
		if run.Results[1].Outcome != history.Compacted {
			t.Errorf("the other store: %+v", run.Results[1])
		}
		if n, err := w.runner.Cancel(t.Context(), ""); n != 0 || err != nil {
			t.Errorf("cancelled %d (%v) of nothing", n, err)
		}
		if active := w.runner.Active(); len(active) != 0 {
			t.Errorf("active afterwards: %v", active)
		}
	})
}

// The end of a run's context cancels what is under way and what was to come.
func TestEndOfRun(t *testing.T) {
	for name, cancel := range map[string]func(w *world, end func()) int{
		"context":    func(_ *world, end func()) int { end(); return 3 },
		"cancel all": func(w *world, _ func()) int { n, _ := w.runner.Cancel(context.Background(), ""); return n },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
				b := &backend{compact: func(ctx context.Context, _ int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
					return waitForCancel(ctx)
				}}
				never := &backend{}
				stores := []config.Store{w.store("a", b), w.store("b", never), w.store("c", never)}
				ctx, end := context.WithCancel(t.Context())
				defer end()
				var run history.Run
				var running sync.WaitGroup
				running.Go(func() { run = w.request(ctx, compaction.Request{Stores: stores}) })
				synctest.Wait()
				if n := cancel(w, end); n != 3 {
					t.Errorf("cancelled %d, want 3", n)
				}
				running.Wait()
				for i, want := range []string{history.CodeCancelled, history.CodeNotReached, history.CodeNotReached} {
					if r := run.Results[i]; r.Outcome != history.Cancelled || r.Code != want {
						t.Errorf("%s: %+v", r.Store, r)
					}
				}
				if calls := never.called(); len(calls) != 0 {
					t.Errorf("stores after the end: %v", calls)
				}
				if past := w.past("b"); past != (history.Past{}) {
					t.Errorf("past of a store that was not reached: %+v", past)
				}
				if n := w.events.count(event.RunComplete); n != 1 {
					t.Errorf("%d times run_complete", n)
				}
			})
		})
	}
}

// A cancelled compaction whose backend does not end is unknown, and cancelling
// does not wait for ever.
func TestCancelHungCall(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		defer close(end)
		b := &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
			<-end
			return success, nil
		}}
		store := w.store("a", b)
		var run history.Run
		var running sync.WaitGroup
		running.Go(func() { run = w.run(store) })
		synctest.Wait()
		if n, err := w.runner.Cancel(t.Context(), "a"); n != 0 || err != nil {
			t.Errorf("cancelled %d (%v)", n, err)
		}
		running.Wait()
		if r := run.Results[0]; r.Outcome != history.Unknown || r.Code != history.CodeLost {
			t.Errorf("got %+v", r)
		}
	})
}

// A compaction that has just succeeded when it is cancelled has succeeded.
func TestSuccessDespiteCancel(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: func(ctx context.Context, _ int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
			<-ctx.Done()
			return success, nil
		}}
		w.clients.backends["a"] = b
		store := newStore("a", "/nowhere/a.db")
		var run history.Run
		var running sync.WaitGroup
		running.Go(func() { run = w.run(store) })
		synctest.Wait()
		if n, err := w.runner.Cancel(t.Context(), "a"); n != 0 || err != nil {
			t.Errorf("cancelled %d (%v)", n, err)
		}
		running.Wait()
		if r := run.Results[0]; r.Outcome != history.Compacted {
			t.Errorf("got %+v", r)
		}
	})
}

// Cancelling between two attempts ends the wait. What was unknown stays so.
func TestCancelBetweenAttempts(t *testing.T) {
	for _, test := range []struct {
		first error
		want  history.Outcome
		count int
	}{
		{errFleeting, history.Cancelled, 1},
		{errLost, history.Unknown, 0},
	} {
		t.Run(string(test.want), func(t *testing.T) {
			inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
				store := w.store("a", &backend{compact: sequence(test.first)})
				var run history.Run
				var running sync.WaitGroup
				running.Go(func() { run = w.run(store) })
				synctest.Wait()
				began := time.Now()
				if n, err := w.runner.Cancel(t.Context(), "a"); n != test.count || err != nil {
					t.Errorf("cancelled %d (%v), want %d", n, err, test.count)
				}
				running.Wait()
				if time.Since(began) != 0 {
					t.Errorf("took %v", time.Since(began))
				}
				if r := run.Results[0]; r.Outcome != test.want || r.Attempts != 1 || r.Error != test.first.Error() {
					t.Errorf("got %+v", r)
				}
			})
		})
	}
}
