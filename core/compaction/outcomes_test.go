package compaction_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/schedule"
	"github.com/wringdb/wring/sdk"
)

// Errors as backends give them.
var (
	errBusy       = sdk.Errorf(sdk.ErrBusy, "open a.db: locked by process 12").WithHint("stop process 12")
	errFull       = sdk.Errorf(sdk.ErrNoSpace, "needs 9.0 MiB, 1.0 MiB are free")
	errCorrupt    = sdk.Errorf(sdk.ErrCorrupt, "a.db: both meta pages are broken").WithHint("restore a backup")
	errLost       = sdk.Errorf(sdk.ErrConnection, "the plugin died: exit status 2")
	errFleeting   = &sdk.Error{Kind: sdk.ErrInternal, Message: "read a.db: input/output error", Retryable: true}
	errUntyped    = errors.New("something else")
	errNoProgram  = sdk.Errorf(sdk.ErrNotFound, "plugin fake: no program wring-plugin-fake").WithHint("install it")
	errOwnerAway  = sdk.Errorf(sdk.ErrConnection, "owner away: /run/app.sock: connection refused")
	errNoSuchFile = sdk.Errorf(sdk.ErrNotFound, "a.db: no such file")
)

// weekend is a window that is closed on the day on which bubbles begin, a
// Saturday.
var weekend = schedule.Settings{Windows: []schedule.Window{{Days: []time.Weekday{time.Sunday}, From: 60, To: 120, Zone: time.UTC}}}

// What a situation comes to, and how it is told. Calls are those of the
// backend, in order.
func TestOutcomes(t *testing.T) {
	retried := []event.Name{event.RunStarted, event.CompactionStarted, event.CompactionStarted}
	for _, test := range []struct {
		name    string
		backend *backend
		store   func(s *config.Store)
		acquire func(n int, store string) error
		past    func(w *world)
		request compaction.Request

		want     history.Outcome
		code     string
		reason   string // part of it
		attempts int
		calls    string
		events   []event.Name // without the last, which follows from the outcome
		took     time.Duration
		check    func(t *testing.T, r history.Result, p history.Past)
	}{
		{
			name: "worth it", backend: &backend{},
			want: history.Compacted, code: "worthwhile", reason: "12.0 MiB of 20.0 MiB", attempts: 1, calls: "measure sweep compact",
			check: func(t *testing.T, r history.Result, p history.Past) {
				want := history.Result{
					Store: "a", Plugin: "fake", Engine: "Fake", Path: r.Path, Outcome: history.Compacted, Code: r.Code, Reason: r.Reason,
					Attempts: 1, TotalBytesBefore: 24 * mib, TotalBytesAfter: 9 * mib, ReclaimedBytes: 12 * mib, PredictedBytes: 12 * mib,
					DurationMS: 3000, PauseMS: 2000, Mode: "rewrite", Verified: true, Items: 7, Digest: "xxh64:1",
					Run: r.Run, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
				}
				if r != want {
					t.Errorf("got  %+v\nwant %+v", r, want)
				}
				if p.LastSuccessAt.IsZero() || p.LastCompactionAt.IsZero() {
					t.Errorf("past is %+v", p)
				}
			},
		},
		{
			name: "not worth it", backend: &backend{fragmentation: measures(dense)},
			want: history.Skipped, code: "below_ratio", reason: "below", calls: "measure",
			check: func(t *testing.T, r history.Result, p history.Past) {
				if r.TotalBytesBefore != 8*mib || r.TotalBytesAfter != 8*mib || r.PredictedBytes != mib/8 {
					t.Errorf("result is %+v", r)
				}
				if p.LastSuccessAt.IsZero() || !p.LastCompactionAt.IsZero() {
					t.Errorf("past is %+v", p)
				}
			},
		},
		{
			name: "not worth it, forced", backend: &backend{fragmentation: measures(dense)},
			request: compaction.Request{Manual: true, Force: true},
			want:    history.Compacted, code: "forced", attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "nothing to do for the backend",
			backend: &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
				return sdk.CompactResult{NoOp: true, Note: "all pages are full"}, nil
			}},
			want: history.NoOp, code: history.CodeNoOp, reason: "all pages are full", attempts: 1, calls: "measure sweep compact",
			check: func(t *testing.T, r history.Result, p history.Past) {
				if r.Verified || p.LowYields != 1 {
					t.Errorf("result %+v, past %+v", r, p)
				}
			},
		},
		{
			name: "compacted a moment ago", backend: &backend{},
			past: func(w *world) { w.run(w.store("a", &backend{})) },
			want: history.Skipped, code: "min_gap", calls: "measure",
		},
		{
			name: "outside its window", backend: &backend{}, store: func(s *config.Store) { s.Schedule = weekend },
			want: history.Deferred, code: "window", calls: "measure",
		},
		{
			name: "outside its window, forced", backend: &backend{}, store: func(s *config.Store) { s.Schedule = weekend },
			request: compaction.Request{Manual: true, Force: true},
			want:    history.Compacted, code: "forced", attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "quarantined: the backend is not even asked", backend: &backend{},
			past: func(w *world) { w.failures("a", 5) },
			want: history.Deferred, code: "quarantined", reason: "wring compact a",
		},
		{
			name: "quarantined, but somebody asks for it", backend: &backend{},
			past:    func(w *world) { w.failures("a", 5) },
			request: compaction.Request{Manual: true},
			want:    history.Compacted, code: "worthwhile", attempts: 1, calls: "measure sweep compact",
			check: func(t *testing.T, _ history.Result, p history.Past) {
				if p.ConsecutiveFailures != 0 {
					t.Errorf("past is %+v", p)
				}
			},
		},
		{
			name: "locked while it is measured", backend: &backend{fragmentation: measures(errBusy)},
			want: history.Deferred, code: history.CodeLocked, reason: "process 12", calls: "measure",
		},
		{
			name: "locked", backend: &backend{compact: sequence(errBusy)},
			want: history.Deferred, code: history.CodeLocked, reason: "process 12", attempts: 1, calls: "measure sweep compact",
			check: func(t *testing.T, r history.Result, p history.Past) {
				if r.Hint != "stop process 12" || p.ConsecutiveFailures != 0 || !p.LastCompactionAt.IsZero() {
					t.Errorf("result %+v, past %+v", r, p)
				}
			},
		},
		{
			name: "disk full", backend: &backend{compact: sequence(errFull)},
			want: history.Deferred, code: history.CodeNoSpace, reason: "1.0 MiB are free", attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "damaged", backend: &backend{fragmentation: measures(errCorrupt)},
			want: history.Failed, code: history.CodeError, reason: "meta pages", calls: "measure",
			check: func(t *testing.T, r history.Result, p history.Past) {
				if r.Hint != "restore a backup" || !strings.Contains(r.Error, "meta pages") || p.ConsecutiveFailures != 1 {
					t.Errorf("result %+v, past %+v", r, p)
				}
			},
		},
		{
			name: "missing", backend: &backend{fragmentation: measures(errNoSuchFile)},
			want: history.Failed, code: history.CodeError, reason: "no such file", calls: "measure",
		},
		{
			name: "fails in a way that lasts", backend: &backend{compact: sequence(errCorrupt)},
			want: history.Failed, code: history.CodeError, attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "fails once", backend: &backend{compact: sequence(errFleeting)},
			want: history.Compacted, code: "worthwhile", attempts: 2, calls: "measure sweep compact measure sweep compact",
			events: retried, took: 30 * time.Second,
		},
		{
			name: "fails once, for reasons of no known kind", backend: &backend{compact: sequence(errUntyped)},
			want: history.Compacted, code: "worthwhile", attempts: 2, calls: "measure sweep compact measure sweep compact",
			events: retried, took: 30 * time.Second,
		},
		{
			name: "fails twice", backend: &backend{compact: sequence(errFleeting, errFleeting)},
			want: history.Failed, code: history.CodeError, reason: "input/output", attempts: 2,
			calls: "measure sweep compact measure sweep compact", events: retried, took: 30 * time.Second,
			check: func(t *testing.T, r history.Result, p history.Past) {
				if p.ConsecutiveFailures != 1 || r.DurationMS != 30_000 {
					t.Errorf("result %+v, past %+v", r, p)
				}
			},
		},
		{
			name: "no retry configured", backend: &backend{compact: sequence(errFleeting)},
			store: func(s *config.Store) { s.Retry = config.Retry{} },
			want:  history.Failed, code: history.CodeError, attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "no longer worth it at the second attempt", backend: &backend{compact: sequence(errFleeting), fragmentation: measures(fragmented, dense)},
			want: history.Skipped, code: "below_ratio", attempts: 1, calls: "measure sweep compact measure", took: 30 * time.Second,
			events: []event.Name{event.RunStarted, event.CompactionStarted},
		},
		{
			name: "plugin missing", backend: &backend{},
			acquire: func(int, string) error { return errNoProgram },
			want:    history.Failed, code: history.CodeError, reason: "wring-plugin-fake",
		},
		{
			name: "plugin comes up at the second attempt", backend: &backend{},
			acquire: func(n int, _ string) error {
				if n == 1 {
					return errLost
				}
				return nil
			},
			want: history.Compacted, code: "worthwhile", attempts: 1, calls: "measure sweep compact", took: 30 * time.Second,
		},
		{
			name: "plugin does not come up in time", backend: &backend{},
			acquire: func(int, string) error { return context.DeadlineExceeded },
			want:    history.Failed, code: history.CodeError, took: 30 * time.Second,
		},
		{
			name: "owner away", backend: &backend{},
			store:   func(s *config.Store) { s.Plugin, s.Path, s.Owner = "", "", "/run/app.sock" },
			acquire: func(int, string) error { return errOwnerAway },
			want:    history.Deferred, code: history.CodeOwnerAway, reason: "/run/app.sock",
			check: func(t *testing.T, r history.Result, p history.Past) {
				if r.Path != "/run/app.sock" || p.ConsecutiveFailures != 0 {
					t.Errorf("result %+v, past %+v", r, p)
				}
			},
		},
		{
			name: "owner goes while the store is measured", backend: &backend{fragmentation: measures(errLost)},
			store: func(s *config.Store) { s.Plugin, s.Path, s.Owner = "", "", "/run/app.sock" },
			want:  history.Deferred, code: history.CodeOwnerAway, calls: "measure",
		},
		{
			name: "connection lost while the store is measured", backend: &backend{fragmentation: measures(errLost, fragmented)},
			want: history.Compacted, code: "worthwhile", attempts: 1, calls: "measure measure sweep compact", took: 30 * time.Second,
		},
		{
			name: "the backend panics",
			backend: &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
				panic("boom")
			}},
			want: history.Failed, code: history.CodeError, reason: "boom", attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "the host panics", backend: &backend{},
			acquire: func(int, string) error { panic("oops") },
			want:    history.Failed, code: history.CodeError, reason: "oops",
		},
		{
			name: "cancelled by its owner", backend: &backend{compact: sequence(sdk.Errorf(sdk.ErrCancelled, "the owner stops"))},
			store: func(s *config.Store) { s.Owner, s.Plugin = "/run/app.sock", "" },
			want:  history.Cancelled, code: history.CodeCancelled, reason: "during the compaction by its owner; nothing", attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "cancelled by its plugin", backend: &backend{compact: sequence(sdk.Errorf(sdk.ErrCancelled, "told to end (SIGTERM)"))},
			want: history.Cancelled, code: history.CodeCancelled, reason: "by its plugin, as when the plugin's process is told to end; nothing", attempts: 1, calls: "measure sweep compact",
		},
		{
			name: "cancelled while it works in place",
			backend: &backend{
				compact:       inPlace(sdk.Errorf(sdk.ErrCancelled, "told to end (SIGTERM)")),
				fragmentation: shrinks(20*mib, 15*mib),
			},
			want: history.Cancelled, code: history.CodeCancelled, attempts: 1, calls: "measure sweep compact measure",
			reason: "nothing in the store is lost; 5.0 MiB were given back until then, and stay so",
			check: func(t *testing.T, r history.Result, _ history.Past) {
				if r.TotalBytesBefore != 20*mib || r.TotalBytesAfter != 15*mib || r.ReclaimedBytes != 5*mib || r.Verified {
					t.Errorf("result %+v", r)
				}
			},
		},
		{
			name: "fails in place, and then succeeds",
			backend: &backend{
				compact:       inPlace(errFleeting, nil),
				fragmentation: shrinks(20*mib, 15*mib, 15*mib),
			},
			want: history.Compacted, code: "worthwhile", attempts: 2, calls: "measure sweep compact measure measure sweep compact", took: 30 * time.Second,
			events: []event.Name{event.RunStarted, event.CompactionStarted, event.CompactionStarted},
			check: func(t *testing.T, r history.Result, _ history.Past) {
				if r.TotalBytesBefore != 20*mib || r.TotalBytesAfter != 9*mib || r.ReclaimedBytes != 12*mib || !r.Verified {
					t.Errorf("result %+v", r)
				}
			},
		},
		{
			name: "fails in place when it has done what there is to do",
			backend: &backend{
				compact:       inPlace(errFleeting),
				fragmentation: shrinks(20*mib, 8*mib, 8*mib),
			},
			want: history.Skipped, code: "below_bytes", attempts: 1, calls: "measure sweep compact measure measure", took: 30 * time.Second,
			reason: "the attempt before has given 12.0 MiB back",
			check: func(t *testing.T, r history.Result, _ history.Past) {
				if r.TotalBytesBefore != 20*mib || r.TotalBytesAfter != 8*mib || r.ReclaimedBytes != 12*mib || r.Verified {
					t.Errorf("result %+v", r)
				}
			},
		},
		{
			name: "cancelled by its plugin while it measures", backend: &backend{fragmentation: measures(sdk.ErrCancelled)},
			want: history.Cancelled, code: history.CodeCancelled, reason: "cancelled before anything was changed by its plugin, as when", calls: "measure",
		},
		{
			name: "wrong mode", backend: &backend{}, store: func(s *config.Store) { s.Mode = "squeeze" },
			want: history.Failed, code: history.CodeError, reason: "squeeze",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
				if test.past != nil {
					test.past(w)
				}
				w.events.events = nil
				store := w.store("a", test.backend)
				if test.store != nil {
					test.store(&store)
				}
				w.clients.acquire = test.acquire
				test.request.Stores = []config.Store{store}
				began := time.Now()
				run := w.request(w.quiet(), test.request)

				if took := time.Since(began); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				r := run.Results[0]
				if r.Outcome != test.want || r.Code != test.code || r.Attempts != test.attempts {
					t.Errorf("got %s (%s) after %d attempts, want %s (%s) after %d: %s", r.Outcome, r.Code, r.Attempts, test.want, test.code, test.attempts, r.Reason)
				}
				if r.Reason == "" || !strings.Contains(r.Reason, test.reason) {
					t.Errorf("reason %q does not say %q", r.Reason, test.reason)
				}
				// Told by error and hint exactly where something went wrong.
				switch r.Outcome {
				case history.Failed, history.Cancelled, history.Unknown:
					if r.Error == "" {
						t.Errorf("no error in %+v", r)
					}
				case history.Compacted, history.NoOp, history.Skipped:
					if r.Error != "" {
						t.Errorf("error in %+v", r)
					}
				case history.Deferred:
				}
				if got := strings.Join(test.backend.called(), " "); got != test.calls {
					t.Errorf("the backend was called for %q, want %q", got, test.calls)
				}

				want := test.events
				if want == nil {
					want = []event.Name{event.RunStarted}
					if test.attempts > 0 {
						want = append(want, event.CompactionStarted)
					}
				}
				last := map[history.Outcome]event.Name{
					history.Compacted: event.CompactionComplete, history.NoOp: event.CompactionComplete, history.Skipped: event.CompactionSkipped,
					history.Deferred: event.CompactionDeferred, history.Failed: event.CompactionFailed, history.Cancelled: event.CompactionFailed,
				}[test.want]
				want = append(slices.Clone(want), last, event.RunComplete)
				if got := w.events.names("a"); !slices.Equal(got, want) {
					t.Errorf("events are %v, want %v", got, want)
				}

				results, err := w.history.Results("a", 1)
				if err != nil || len(results) != 1 || results[0].Reason != r.Reason {
					t.Errorf("the history has %+v (%v)", results, err)
				}
				if test.check != nil {
					test.check(t, r, w.past("a"))
				}
			})
		})
	}
}

// inPlace writes something each time, and returns one error after the other; nil is
// success.
func inPlace(errs ...error) func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
	return func(_ context.Context, n int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
		report(sdk.Progress{Phase: "compact", BytesWritten: mib})
		return success, errs[n-1]
	}
}

// shrinks measures a store that is so large at one time after the other.
func shrinks(allocated ...int64) func(int, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	return func(n int, _ sdk.FragmentationRequest) (sdk.Fragmentation, error) {
		f := fragmented
		f.TotalBytes, f.AllocatedBytes = allocated[n-1], allocated[n-1]
		f.LiveBytes = min(f.LiveBytes, f.AllocatedBytes)
		f.ReclaimableBytes = f.AllocatedBytes - f.LiveBytes
		return f, nil
	}
}

// A store that failed twice is tried again when it is due again, not before.
func TestFailureWaitsForTheNextRun(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: sequence(errFleeting, errFleeting)}
		store := w.store("a", b)
		if r := w.run(store).Results[0]; r.Outcome != history.Failed || r.Attempts != 2 {
			t.Fatalf("first run: %+v", r)
		}
		time.Sleep(6 * time.Hour)
		if n := b.count("compact"); n != 2 {
			t.Fatalf("%d attempts before the next run, want 2", n)
		}
		if r := w.run(store).Results[0]; r.Outcome != history.Compacted || r.Attempts != 1 {
			t.Errorf("second run: %+v", r)
		}
	})
}

// Content that differs fails the compaction even where the backend does not
// notice; this one is not guarded.
func TestDifferentContent(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		store := w.store("a", &backend{})
		w.clients.backends["a"] = &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
			result := success
			result.Verification = &sdk.Verification{DigestBefore: "xxh64:1", DigestAfter: "xxh64:2", ItemsBefore: 7, ItemsAfter: 7}
			return result, nil
		}}
		r := w.run(store).Results[0]
		if r.Outcome != history.Failed || r.Verified || r.Hint == "" || !strings.Contains(r.Error, "xxh64:2") {
			t.Errorf("got %+v", r)
		}
	})
}

// A panic that no guard has caught is caught, and nothing to try again.
func TestUnguardedPanic(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		store := w.store("a", &backend{})
		b := &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
			panic("boom")
		}}
		w.clients.backends["a"] = b
		r := w.run(store).Results[0]
		if r.Outcome != history.Failed || r.Attempts != 1 || !strings.Contains(r.Error, "boom") {
			t.Errorf("got %+v", r)
		}
	})
}

// One store's trouble is not another's.
func TestPanicLeavesOtherStoresAlone(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		first, second := w.store("a", &backend{}), w.store("b", &backend{})
		w.clients.acquire = func(_ int, store string) error {
			if store == "a" {
				panic("oops")
			}
			return nil
		}
		run := w.run(first, second)
		if run.Results[0].Outcome != history.Failed || run.Results[1].Outcome != history.Compacted {
			t.Errorf("got %+v", run.Results)
		}
		// And it does not block its store for ever.
		w.clients.acquire = nil
		if r := w.request(t.Context(), compaction.Request{Stores: []config.Store{first}, Manual: true}).Results[0]; r.Outcome != history.Compacted {
			t.Errorf("afterwards: %+v", r)
		}
	})
}

// A history that cannot be written is no reason not to compact.
func TestBrokenHistory(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		store := w.store("a", &backend{})
		if err := w.history.Close(); err != nil {
			t.Fatal(err)
		}
		if r := w.run(store).Results[0]; r.Outcome != history.Compacted {
			t.Errorf("got %+v", r)
		}
	})
}

func TestRunTellsAboutItself(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		stores := []config.Store{w.store("a", &backend{}), w.store("b", &backend{fragmentation: measures(dense)})}
		stores = append(stores, stores[0]) // named twice
		run := w.request(t.Context(), compaction.Request{Stores: stores, Manual: true})
		if run.ID == "" || run.Trigger != history.Manual || run.ReclaimedBytes != 12*mib || len(run.Results) != 2 {
			t.Errorf("run is %+v", run)
		}
		kept, err := w.history.Run(run.ID)
		if err != nil || len(kept.Results) != 2 || kept.ReclaimedBytes != 12*mib {
			t.Errorf("the history has %+v (%v)", kept, err)
		}
		for _, e := range w.events.events {
			if e.Name == event.CompactionComplete && !strings.HasPrefix(e.Message, "12.0 MiB given back in 3s, writers held up for 2s; reclaimable") {
				t.Errorf("the compaction says %q", e.Message)
			}
		}
		last := w.events.events[len(w.events.events)-1]
		if last.Summary == nil || last.Summary.ID != run.ID || last.Summary.Results == nil || len(last.Summary.Results) != 0 ||
			last.Message != "2 stores: 1 compacted, 1 skipped; 12.0 MiB given back" {
			t.Errorf("the last event is %+v", last)
		}
		if next := w.run(stores[0]); next.ID == run.ID || next.Trigger != history.Scheduled {
			t.Errorf("the next run is %+v", next)
		}
		if _, err := w.runner.Run(t.Context(), compaction.Request{}); err == nil {
			t.Error("a run without stores was made")
		}
	})
}

// What the backend is asked for is what is configured.
func TestRequest(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var got sdk.CompactRequest
		b := &backend{compact: func(_ context.Context, _ int, req sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
			got = req
			return success, nil
		}}
		store := w.store("a", &backend{})
		w.clients.backends["a"] = b // not guarded, which would refuse the limit
		store.Mode, store.LimitBytesPerSecond, store.Options = "rewrite", 5*mib, map[string]any{"fill_percent": 0.9}
		w.run(store)
		if got.Store != (sdk.Store{Name: "a", Path: store.Path}) || got.Mode != "rewrite" ||
			got.Limits.BytesPerSecond != 5*mib || got.Options.Number("fill_percent") != 0.9 {
			t.Errorf("got %+v", got)
		}
	})
}

// The store of an owner is called what its owner calls it.
func TestOwnerListsItsStores(t *testing.T) {
	for _, test := range []struct {
		name   string
		stores []sdk.Store
		want   sdk.Store
	}{
		{name: "by name", stores: []sdk.Store{{Name: "other", Path: "/o"}, {Name: "queue", Path: "/q"}}, want: sdk.Store{Name: "queue", Path: "/q"}},
		{name: "the only one", stores: []sdk.Store{{Name: "main", Path: "/m"}}, want: sdk.Store{Name: "main", Path: "/m"}},
		{name: "none of that name", stores: []sdk.Store{{Name: "x"}, {Name: "y"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
				var measured sdk.Store
				b := &backend{stores: test.stores, fragmentation: func(_ int, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
					measured = req.Store
					return dense, nil
				}}
				w.clients.backends["queue"] = sdk.Guard(lister{b})
				store := newStore("queue", "")
				store.Plugin, store.Owner = "", "/run/app.sock"
				r := w.run(store).Results[0]
				if measured != test.want {
					t.Errorf("measured %+v, want %+v", measured, test.want)
				}
				switch {
				case test.want == (sdk.Store{}):
					if r.Outcome != history.Failed || !strings.Contains(r.Error, `has no store "queue": it has x, y`) || r.Hint == "" {
						t.Errorf("got %+v", r)
					}
				case r.Outcome != history.Skipped || r.Path != test.want.Path || r.Plugin != "fake":
					t.Errorf("got %+v", r)
				}
			})
		})
	}
}
