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
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// silent is a backend whose sweeps, lists and measurements end when the test
// says so.
type silent struct {
	*backend
	end   <-chan struct{}
	sweep func(ctx context.Context) error
	list  bool
}

func (s silent) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := s.backend.Describe(ctx)
	d.Capabilities.ListsStores = s.list
	return d, err
}

func (s silent) Sweep(ctx context.Context, _ sdk.Store) ([]string, error) {
	s.note("sweep")
	if s.sweep != nil {
		return nil, s.sweep(ctx)
	}
	<-s.end
	return []string{"/late"}, nil
}

func (s silent) Stores(context.Context) ([]sdk.Store, error) {
	s.note("list")
	<-s.end
	return []sdk.Store{{Name: "late"}}, nil
}

func (s silent) Fragmentation(context.Context, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	s.note("measure")
	<-s.end
	return fragmented, nil
}

// One backend that hangs neither keeps SweepAll from the stores of others nor
// costs the time of each of its stores.
func TestSweepAllWithHungBackend(t *testing.T) {
	inBubble(t, compaction.Config{CancelGrace: 20 * time.Second}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		defer close(end)
		hung := silent{backend: &backend{}, end: end}
		slow := silent{backend: &backend{}, sweep: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		owner := silent{backend: &backend{}, end: end, list: true}
		stores := []config.Store{newStore("hung", "/a"), newStore("hung too", "/b"), newStore("slow", "/c"), newStore("queue", ""), w.store("dirty", &backend{})}
		stores[2].Plugin = "slow"
		stores[3].Plugin, stores[3].Owner = "", "/run/app.sock"
		stores[4].Plugin = "works"
		w.clients.backends["hung"], w.clients.backends["hung too"] = hung, hung
		w.clients.backends["slow"], w.clients.backends["queue"] = slow, owner
		w.clients.backends["dirty"] = sweeper{backend: &backend{}, removed: []string{"/x/.dirty.wring-1.tmp"}}

		began := time.Now()
		swept := w.runner.SweepAll(t.Context(), stores)
		var got []string
		for _, s := range swept {
			got = append(got, s.Store)
			if s.Store == "dirty" {
				continue
			}
			if s.Err == nil || !strings.Contains(s.Err.Error(), "no answer for 5m0s") || len(s.Removed) != 0 {
				t.Errorf("swept %+v", s)
			}
		}
		if want := []string{"hung", "slow", "queue", "dirty"}; !slices.Equal(got, want) {
			t.Errorf("swept %v, want %v", got, want)
		}
		if took, want := time.Since(began), 3*5*time.Minute+2*20*time.Second; took != want {
			t.Errorf("took %s, want %s", took, want)
		}
		if n := w.clients.discarded; n != 2 {
			t.Errorf("%d backends were discarded, want the two that hang", n)
		}
	})
}

// The end of its context ends SweepAll, whatever hangs.
func TestSweepAllEnds(t *testing.T) {
	inBubble(t, compaction.Config{CancelGrace: 20 * time.Second}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		defer close(end)
		next := &backend{}
		stores := []config.Store{newStore("hung", "/a"), w.store("next", next)}
		stores[1].Plugin = "works"
		w.clients.backends["hung"] = silent{backend: &backend{}, end: end}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if swept := w.runner.SweepAll(ctx, stores); len(swept) != 0 {
			t.Errorf("swept %+v", swept)
		}
		if took := time.Since(began); took != 80*time.Second {
			t.Errorf("took %s, want the minute and the grace", took)
		}
		if calls := next.called(); len(calls) != 0 {
			t.Errorf("after the end: %v", calls)
		}
	})
}

func TestPlanWithHungBackend(t *testing.T) {
	inBubble(t, compaction.Config{CancelGrace: 20 * time.Second}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		defer close(end)
		measuring := newStore("measuring", "/a")
		w.clients.backends["measuring"] = silent{backend: &backend{}, end: end}
		listing := newStore("listing", "")
		listing.Plugin, listing.Owner, listing.StallTimeout = "", "/run/app.sock", time.Minute
		w.clients.backends["listing"] = silent{backend: &backend{}, end: end, list: true}
		began := time.Now()
		plans, err := w.runner.Plan(t.Context(), []config.Store{measuring, listing, w.store("works", &backend{})})
		if err != nil || len(plans) != 3 {
			t.Fatalf("planned %+v (%v)", plans, err)
		}
		for i, want := range []string{"no answer for 5m0s", "no answer for 1m0s"} {
			if p := plans[i]; p.Action != "error" || !strings.Contains(p.Error, want) || !strings.Contains(p.Reason, want) || p.Plugin != "fake" {
				t.Errorf("planned %+v, want %s", p, want)
			}
		}
		if plans[0].Path != "/a" || plans[1].Path != "/run/app.sock" {
			t.Errorf("paths are %s and %s", plans[0].Path, plans[1].Path)
		}
		if plans[2].Action != "compact" {
			t.Errorf("the store that works: %+v", plans[2])
		}
		if took, want := time.Since(began), 6*time.Minute+2*20*time.Second; took != want {
			t.Errorf("took %s, want %s", took, want)
		}
		if n := w.clients.discarded; n != 2 {
			t.Errorf("%d backends were discarded, want the two that hang", n)
		}
	})
}

// An exact measurement may take as long as whoever asked for it will wait.
func TestInspectHungBackend(t *testing.T) {
	for _, test := range []struct {
		depth sdk.Depth
		took  time.Duration
		want  error
	}{
		{sdk.DepthQuick, 5*time.Minute + 20*time.Second, nil},
		{sdk.DepthSampled, 5*time.Minute + 20*time.Second, nil},
		{sdk.DepthExact, time.Hour + 20*time.Second, context.DeadlineExceeded},
	} {
		t.Run(string(test.depth), func(t *testing.T) {
			inBubble(t, compaction.Config{CancelGrace: 20 * time.Second}, func(t *testing.T, w *world) {
				end := make(chan struct{})
				defer close(end)
				w.clients.other = silent{backend: &backend{}, end: end}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				_, err := w.runner.Inspect(ctx, newStore("a", "/a"), test.depth)
				if took := time.Since(began); took != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
				if err == nil || errors.Is(err, context.DeadlineExceeded) != (test.want != nil) {
					t.Errorf("error is %v, want %v", err, test.want)
				}
				if test.want == nil && !strings.Contains(err.Error(), "no answer for 5m0s") {
					t.Errorf("error is %v", err)
				}
				if n := w.clients.discarded; n != 1 {
					t.Errorf("%d backends were discarded, want the one that hangs", n)
				}
			})
		})
	}
}

// stoppable is a backend of a process that can be stopped: then nothing that it
// was asked is answered, and nobody hears that its calls are cancelled.
type stoppable struct {
	*clients
	stopped chan struct{}
}

// stoppableLease is answering until its process is stopped.
type stoppableLease struct {
	compaction.Lease
	stopped <-chan struct{}
}

func (c *stoppable) Acquire(ctx context.Context, store config.Store) (compaction.Lease, error) {
	l, err := c.clients.Acquire(ctx, store)
	if err != nil {
		return nil, err
	}
	return stoppableLease{l, c.stopped}, nil
}

func (l stoppableLease) Answers(ctx context.Context) bool {
	select {
	case <-l.stopped:
	default:
		return true
	}
	select {
	case <-ctx.Done():
	case <-time.After(4 * time.Second):
	}
	return false
}

var _ compaction.Answering = stoppableLease{}

// An owner that is stopped in the middle of a call does not hold up others for
// as long as a compaction may be without progress.
func TestOwnerFallsSilent(t *testing.T) {
	for _, test := range []struct {
		during  string
		outcome history.Outcome
		code    string
		reason  string
	}{
		{"measurement", history.Deferred, history.CodeOwnerAway, "owner away: nobody answers on /run/app.sock"},
		{"compaction", history.Unknown, history.CodeLost, "the process that compacts it has ceased to answer"},
	} {
		t.Run(test.during, func(t *testing.T) {
			c := &stoppable{clients: &clients{backends: map[string]sdk.Backend{}}}
			inBubble(t, compaction.Config{Clients: c}, func(t *testing.T, w *world) {
				end := make(chan struct{}) // as is the other, in the bubble
				c.stopped = make(chan struct{})
				stop := time.AfterFunc(time.Hour, func() { close(c.stopped) })
				defer stop.Stop()
				hang := func(during string) {
					if during == test.during {
						<-end
					}
				}
				c.backends["queue"] = sdk.Guard(&backend{
					fragmentation: func(int, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
						hang("measurement")
						return fragmented, nil
					},
					compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
						hang("compaction")
						return success, nil
					},
				})
				c.backends["next"] = sdk.Guard(&backend{})
				queue, next := newStore("queue", ""), newStore("next", "/next")
				queue.Plugin, queue.Owner, queue.StallTimeout = "", "/run/app.sock", 100*time.Hour
				began := time.Now()
				run := w.run(queue, next)
				// It says nothing for an hour, which is no reason to end it.
				if took := time.Since(began); took < time.Hour || took > time.Hour+15*time.Second {
					t.Errorf("took %s, want the hour in which it was alive and some seconds", took)
				}
				r := run.Results[0]
				if r.Outcome != test.outcome || r.Code != test.code || !strings.Contains(r.Reason, test.reason) || r.Hint == "" {
					t.Errorf("got %+v", r)
				}
				if r := run.Results[1]; r.Outcome != history.Compacted {
					t.Errorf("the next store: %+v", r)
				}
				if c.discarded != 1 || c.balance() != 0 {
					t.Errorf("%d backends were discarded, %d are in use, want the one that is silent and none", c.discarded, c.balance())
				}
				close(end)
			})
		})
	}
}
