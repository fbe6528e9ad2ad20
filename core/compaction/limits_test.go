package compaction_test

import (
	"context"
	"fmt"
	"slices"
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

// meter measures how many compactions run at the same time, overall and by
// group, and in which order they began.
type meter struct {
	mu    sync.Mutex
	now   map[string]int
	most  map[string]int
	order []string
	at    []time.Time
}

func (m *meter) enter(store string, groups ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order = append(m.order, store)
	m.at = append(m.at, time.Now())
	for _, g := range groups {
		m.now[g]++
		m.most[g] = max(m.most[g], m.now[g])
	}
}

func (m *meter) leave(groups ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range groups {
		m.now[g]--
	}
}

// backend takes a minute for each compaction.
func (m *meter) backend(store, group string) *backend {
	return &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
		m.enter(store, "all", group)
		defer m.leave("all", group)
		time.Sleep(time.Minute)
		return success, nil
	}}
}

func newMeter() *meter { return &meter{now: map[string]int{}, most: map[string]int{}} }

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name        string
		maxParallel int
		groups      []config.Group
		stores      []string // group of each
		most        map[string]int
		order       []int // of stores, where it is certain
		took        time.Duration
	}{
		{
			name: "serial by default", stores: []string{"", "", "", ""},
			most: map[string]int{"all": 1}, order: []int{0, 1, 2, 3}, took: 4 * time.Minute,
		},
		{
			name: "three at a time", maxParallel: 3, stores: []string{"", "", "", "", "", "", ""},
			most: map[string]int{"all": 3}, took: 3 * time.Minute,
		},
		{
			name: "a group bounds its own stores only", maxParallel: 4,
			groups: []config.Group{{Name: "g", MaxParallel: 1}}, stores: []string{"g", "g", "g", "", "", ""},
			most: map[string]int{"all": 4, "g": 1}, took: 3 * time.Minute,
		},
		{
			name: "two groups", maxParallel: 8,
			groups: []config.Group{{Name: "g", MaxParallel: 2}, {Name: "h", MaxParallel: 1}}, stores: []string{"g", "g", "g", "g", "h", "h"},
			most: map[string]int{"all": 3, "g": 2, "h": 1}, took: 2 * time.Minute,
		},
		{
			name: "a group's limit above the overall one", maxParallel: 2,
			groups: []config.Group{{Name: "g", MaxParallel: 5}}, stores: []string{"g", "g", "g", "g"},
			most: map[string]int{"all": 2, "g": 2}, took: 2 * time.Minute,
		},
		{
			name: "a group that nobody configured", maxParallel: 3, stores: []string{"x", "x", "x"},
			most: map[string]int{"all": 1, "x": 1}, order: []int{0, 1, 2}, took: 3 * time.Minute,
		},
		{
			name:   "a group that settles lets others pass",
			groups: []config.Group{{Name: "g", MaxParallel: 1, Settle: 150 * time.Second}}, stores: []string{"g", "g", "", ""},
			// g 0–1, others 1–3, g settled at 3.5 and runs till 4.5.
			most: map[string]int{"all": 1, "g": 1}, order: []int{0, 2, 3, 1}, took: 270 * time.Second,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, compaction.Config{MaxParallel: test.maxParallel, Groups: test.groups}, func(t *testing.T, w *world) {
				m := newMeter()
				var stores []config.Store
				for i, group := range test.stores {
					name := fmt.Sprintf("s%d", i)
					s := w.store(name, m.backend(name, group))
					s.Group = group
					stores = append(stores, s)
				}
				began := time.Now()
				run := w.run(stores...)
				if took := time.Since(began); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				for i, r := range run.Results {
					if r.Store != stores[i].Name || r.Outcome != history.Compacted {
						t.Errorf("result %d is %+v", i, r)
					}
				}
				for group, want := range test.most {
					if m.most[group] != want {
						t.Errorf("%d of %s at a time, want %d", m.most[group], group, want)
					}
				}
				for i, n := range test.order {
					if want := stores[n].Name; m.order[i] != want {
						t.Fatalf("order is %v, want %v", m.order, test.order)
					}
				}
			})
		})
	}
}

// A store that was merely looked at gives its group nothing to settle from.
func TestSkippedStoreNeedsNoSettling(t *testing.T) {
	groups := []config.Group{{Name: "g", MaxParallel: 1, Settle: time.Minute}}
	inBubble(t, compaction.Config{Groups: groups}, func(t *testing.T, w *world) {
		var stores []config.Store
		for i := range 5 {
			s := w.store(fmt.Sprintf("s%d", i), &backend{fragmentation: measures(dense)})
			s.Group = "g"
			stores = append(stores, s)
		}
		began := time.Now()
		w.run(stores...)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// A store that is tried again waits for its own delay; others of its group wait
// until that has settled which it did before.
func TestRetryDoesNotWaitForItsGroupToSettle(t *testing.T) {
	groups := []config.Group{{Name: "g", MaxParallel: 1, Settle: 5 * time.Minute}}
	inBubble(t, compaction.Config{Groups: groups}, func(t *testing.T, w *world) {
		m := newMeter()
		failing := m.backend("f", "g")
		compact := failing.compact
		failing.compact = func(ctx context.Context, n int, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			if n == 1 {
				m.enter("f")
				return sdk.CompactResult{}, errFleeting
			}
			return compact(ctx, n, req, report)
		}
		stores := []config.Store{w.store("f", failing), w.store("a", m.backend("a", "g"))}
		for i := range stores {
			stores[i].Group = "g"
		}
		began := time.Now()
		w.run(stores...)
		var at []time.Duration
		for _, when := range m.at {
			at = append(at, when.Sub(began))
		}
		// f at once, again after its delay for a minute; a when that has settled.
		want := []time.Duration{0, 30 * time.Second, 90*time.Second + 5*time.Minute}
		if !slices.Equal(m.order, []string{"f", "f", "a"}) || !slices.Equal(at, want) {
			t.Errorf("%v at %v, want them at %v", m.order, at, want)
		}
	})
}

// One that others have compacted beside meanwhile does wait.
func TestRetryWaitsForOthersToSettle(t *testing.T) {
	groups := []config.Group{{Name: "g", MaxParallel: 2, Settle: 5 * time.Minute}}
	inBubble(t, compaction.Config{MaxParallel: 2, Groups: groups}, func(t *testing.T, w *world) {
		m := newMeter()
		failing := &backend{compact: func(_ context.Context, n int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
			m.enter("f")
			if n == 1 {
				time.Sleep(45 * time.Second) // till within a minute of a
				return sdk.CompactResult{}, errFleeting
			}
			return success, nil
		}}
		stores := []config.Store{w.store("f", failing), w.store("a", m.backend("a", "g"))}
		for i := range stores {
			stores[i].Group = "g"
		}
		began := time.Now()
		w.run(stores...)
		if last := m.at[len(m.at)-1].Sub(began); last != 6*time.Minute {
			t.Errorf("the last began at %v, want it 5m after the minute that a took", last)
		}
	})
}

// Limits hold across runs, and a store that waits for its second attempt lets
// others pass.
func TestRunsShareTheLimits(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		m := newMeter()
		failing := m.backend("f", "")
		compact := failing.compact
		failing.compact = func(ctx context.Context, n int, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			if n == 1 {
				m.enter("f")
				return sdk.CompactResult{}, errFleeting
			}
			return compact(ctx, n, req, report)
		}
		first := []config.Store{w.store("f", failing), w.store("a", m.backend("a", ""))}
		second := []config.Store{w.store("b", m.backend("b", ""))}
		var running sync.WaitGroup
		running.Go(func() { w.run(first...) })
		synctest.Wait()
		running.Go(func() { w.run(second...) })
		running.Wait()
		if want := []string{"f", "a", "b", "f"}; !slices.Equal(m.order, want) || m.most["all"] != 1 {
			t.Errorf("order is %v, want %v; %d at a time, want 1", m.order, want, m.most["all"])
		}
	})
}

// A store is in one run at a time, be it waiting or at work.
func TestAlreadyRunning(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		m := newMeter()
		stores := []config.Store{w.store("a", m.backend("a", "")), w.store("b", m.backend("b", ""))}
		var first history.Run
		var running sync.WaitGroup
		running.Go(func() { first = w.run(stores...) })
		synctest.Wait()
		began := time.Now()
		second := w.request(t.Context(), compaction.Request{Stores: stores, Manual: true})
		if time.Since(began) != 0 {
			t.Errorf("waited %v for the other run", time.Since(began))
		}
		running.Wait()
		for i, r := range second.Results {
			if r.Outcome != history.Skipped || r.Code != history.CodeAlreadyRunning || r.Reason != "already running: it is in run "+first.ID {
				t.Errorf("second run: %+v", r)
			}
			if first.Results[i].Outcome != history.Compacted {
				t.Errorf("first run: %+v", first.Results[i])
			}
		}
		if n := w.events.count(event.CompactionSkipped); n != 2 {
			t.Errorf("%d times compaction_skipped, want 2", n)
		}
		if results, err := w.history.Results("a", 0); err != nil || len(results) != 1 {
			t.Errorf("the history has %v (%v)", results, err)
		}
	})
}

func TestReconfigure(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		m := newMeter()
		var stores []config.Store
		for i := range 5 {
			name := fmt.Sprintf("s%d", i)
			stores = append(stores, w.store(name, m.backend(name, "")))
		}
		var running sync.WaitGroup
		running.Go(func() { w.run(stores...) })
		synctest.Wait()
		began := time.Now()
		w.runner.Reconfigure(5, nil)
		running.Wait()
		if took := time.Since(began); took != time.Minute || m.most["all"] != 5 {
			t.Errorf("took %v with %d at a time, want all at once", took, m.most["all"])
		}
	})
}

// Progress is published often enough to watch, not as often as it is reported,
// and always for the first and the last of a phase.
func TestProgressEvents(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		b := &backend{compact: func(_ context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			for _, phase := range []string{"copy", "verify"} {
				for i := range 10_000 {
					report(sdk.Progress{Phase: phase, Done: int64(i) + 1, Total: 10_000})
					if i%1000 == 999 {
						time.Sleep(50 * time.Millisecond)
					}
				}
			}
			return success, nil
		}}
		w.run(w.store("a", b))
		var first, last []string
		phase := ""
		for _, e := range w.events.events {
			if e.Progress == nil {
				continue
			}
			if e.Progress.Phase != phase {
				phase = e.Progress.Phase
				first = append(first, fmt.Sprintf("%s %d", phase, e.Progress.Done))
			}
			if e.Progress.Done == e.Progress.Total {
				last = append(last, phase)
			}
		}
		if !slices.Equal(first, []string{"copy 1", "verify 1"}) || !slices.Equal(last, []string{"copy", "verify"}) {
			t.Errorf("phases begin at %v and end at %v", first, last)
		}
		if n := w.events.count(event.CompactionProgress); n > 20 {
			t.Errorf("%d events in a second", n)
		}
	})
}

// Somebody who listens and takes nothing does not hold up a run; what matters is
// still there for them.
func TestSlowListener(t *testing.T) {
	bus := event.NewBus(event.BusConfig{})
	listener := bus.Subscribe(8, event.SinceNow)
	defer listener.Close()
	b := &backend{compact: func(_ context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
		for i := range 1000 {
			report(sdk.Progress{Phase: fmt.Sprint("phase ", i)}) // each is published
		}
		return success, nil
	}}
	runner := compaction.New(compaction.Config{Clients: &clients{other: b}, Bus: bus})
	run, err := runner.Run(t.Context(), compaction.Request{Stores: []config.Store{newStore("a", "/nowhere/a.db")}})
	if err != nil || run.Results[0].Outcome != history.Compacted {
		t.Fatalf("run is %+v (%v)", run, err)
	}
	bus.Close()
	var last []event.Name
	missed := uint64(0)
	for e := range listener.C {
		last = append(last, e.Name)
		missed += e.Dropped
	}
	if n := len(last); n > 9 || last[n-1] != event.RunComplete || last[n-2] != event.CompactionComplete {
		t.Errorf("got %v", last)
	}
	if missed < 900 {
		t.Errorf("%d events are said to be missing", missed)
	}
}

// Most runs are of many stores and find nothing to do.
func TestThousandStores(t *testing.T) {
	b := &backend{fragmentation: measures(dense)}
	events := &recorder{}
	db, err := history.Open(t.TempDir()+"/"+history.FileName, 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var stores []config.Store
	for i := range 1000 {
		stores = append(stores, newStore(fmt.Sprintf("s%d", i), fmt.Sprintf("/nowhere/%d.db", i)))
	}
	runner := compaction.New(compaction.Config{Clients: &clients{other: sdk.Guard(b)}, History: db, Bus: events})
	run, err := runner.Run(t.Context(), compaction.Request{Stores: stores})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range run.Results {
		if r.Store != stores[i].Name || r.Outcome != history.Skipped || r.Code != "below_ratio" {
			t.Fatalf("result %d is %+v", i, r)
		}
	}
	if n := events.count(event.CompactionSkipped); n != 1000 {
		t.Errorf("%d times compaction_skipped", n)
	}
	pasts, err := db.Pasts()
	if err != nil || len(pasts) != 1000 {
		t.Errorf("the history knows %d stores (%v)", len(pasts), err)
	}
	if calls := b.called(); slices.Contains(calls, "sweep") || slices.Contains(calls, "compact") || len(calls) != 1000 {
		t.Errorf("%d calls of the backend, want one measurement for each store", len(calls))
	}
}
