package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
)

func TestEventsAreThoseOfTheConfiguration(t *testing.T) {
	all := []string{string(Failed), string(Degraded), string(Overdue), string(DiskFullSoon), string(Recovered)}
	if got := config.NotifyEvents(); !slices.Equal(got, all) {
		t.Errorf("a configuration has %q, and there are %q", got, all)
	}
}

// Each step is a state, as failures in a row, time of the last success, and
// whether it is overdue; and what is told.
func TestEachChangeIsToldOnce(t *testing.T) {
	type step struct {
		failures int
		success  int
		overdue  bool
		want     string
	}
	for name, steps := range map[string][]step{
		"well":                       {{0, 0, false, ""}, {0, 1, false, ""}, {0, 2, false, ""}},
		"one failure":                {{1, 1, false, "failed"}, {1, 1, false, ""}, {0, 2, false, "recovered"}, {0, 3, false, ""}},
		"more and more":              {{1, 1, false, "failed"}, {2, 1, false, ""}, {3, 1, false, "degraded"}, {4, 1, false, ""}, {0, 2, false, "recovered"}},
		"noticed late":               {{7, 1, false, "degraded"}, {8, 1, false, ""}, {0, 2, false, "recovered"}, {1, 2, false, "failed"}},
		"overdue":                    {{0, 1, true, "overdue"}, {0, 1, true, ""}, {0, 2, false, "recovered"}},
		"overdue, never a success":   {{0, 0, true, "overdue"}, {0, 0, false, ""}, {0, 0, true, ""}, {0, 1, false, "recovered"}},
		"overdue by a new schedule":  {{0, 1, true, "overdue"}, {0, 1, false, ""}, {0, 1, true, ""}},
		"all at once":                {{3, 1, true, "degraded, overdue"}, {4, 1, true, ""}, {0, 2, false, "recovered"}},
		"overdue and then failing":   {{0, 1, true, "overdue"}, {1, 1, true, "failed"}, {3, 1, true, "degraded"}, {0, 2, false, "recovered"}},
		"a success between failures": {{1, 1, false, "failed"}, {1, 2, false, ""}, {0, 3, false, "recovered"}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", name, restart), func(t *testing.T) {
				p := newPlace(t)
				n := p.startWith(Config{Now: p.clock})
				for i, s := range steps {
					p.pass(time.Minute)
					if restart {
						n.Stop()
						p.reopen()
						n = p.startWith(Config{Now: p.clock})
					}
					n.Reconfigure([]config.Notify{hook("gone", "/nonexistent")})
					state := State{Store: "a", Failures: s.failures, Overdue: s.overdue}
					if s.success > 0 {
						state.LastSuccessAt = time.Date(2026, 3, 1, s.success, 0, 0, 0, time.UTC)
					}
					n.Observe(state)
					var told []string
					n.mu.Lock()
					for _, e := range n.targets[0].queue {
						told = append(told, string(e.notice.Event))
					}
					n.mu.Unlock()
					n.Reconfigure(nil)
					if got := strings.Join(told, ", "); got != s.want {
						t.Fatalf("step %d: told %q, want %q", i+1, got, s.want)
					}
				}
			})
		}
	}
}

func TestSentences(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	broke := &history.Result{Outcome: history.Failed, Reason: "it broke"}
	for _, c := range []struct {
		notice Notice
		want   string
	}{
		{Notice{Event: Failed, Store: "a", Result: broke}, "a could not be compacted: it broke"},
		{Notice{Event: Failed, Store: "a"}, "a could not be compacted: see wring history"},
		{Notice{Event: Failed, Store: "a", Result: &history.Result{Outcome: history.Unknown, Reason: "the host ended"}}, "a may or may not have been compacted: the host ended"},
		{Notice{Event: Degraded, Store: "a", ConsecutiveFailures: 3, Result: broke}, "a has failed 3 times in a row; the last time it could not be compacted: it broke"},
		{Notice{Event: Overdue, Store: "a"}, "a was not looked after in time: it has never been looked at successfully"},
		{Notice{Event: Overdue, Store: "a", LastSuccessAt: now, Result: &history.Result{Outcome: history.Deferred, Reason: "locked: by app"}},
			"a was not looked after in time: the last success was at 2026-03-01 12:00 UTC; its last result is deferred: locked: by app"},
		{Notice{Event: Recovered, Store: "a", Recovered: []Since{{Event: Failed}, {Event: Degraded}}, Result: &history.Result{Outcome: history.Compacted, ReclaimedBytes: 1 << 20}},
			"a is well again (it was failed, degraded): compacted, 1.0 MiB given back"},
		{Notice{Event: Recovered, Store: "a", Recovered: []Since{{Event: Overdue}}, Result: &history.Result{Outcome: history.Skipped, Reason: "nothing to do"}},
			"a is well again (it was overdue): skipped, nothing to do"},
		{Notice{Event: DiskFullSoon, Time: now, Disk: &Disk{Mount: "/var", Stores: []string{"a"}, FreeBytes: 1 << 30, FullAt: now.Add(50 * time.Hour)}},
			"the disk at /var is full in about 2 days if a goes on growing: 1.0 GiB are free"},
		{Notice{Event: DiskFullSoon, Time: now, Disk: &Disk{Mount: "/var", Stores: []string{"a", "b", "c"}, FreeBytes: 1 << 30, FullAt: now.Add(7 * time.Hour)}},
			"the disk at /var is full in about 7 hours if a and 2 more go on growing: 1.0 GiB are free"},
		{Notice{Event: DiskFullSoon, Time: now, Disk: &Disk{Mount: "/var", Stores: []string{"a"}, FreeBytes: 1 << 20, FullAt: now, Reason: "it needs 5 MiB"}},
			"the disk at /var has no room for the next compaction of a: 1.0 MiB are free; it needs 5 MiB"},
		{Notice{Event: DiskFullSoon, Time: now, Disk: &Disk{Mount: "/var", Stores: []string{"a"}, FullAt: now.Add(time.Minute)}},
			"the disk at /var is full within the hour if a goes on growing: 0 B are free"},
		{Notice{Event: Test}, "this is a test: notices of wring arrive here"},
	} {
		if got := c.notice.sentence(); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestDiskIsToldOnceUntilItWasWellForAnHour(t *testing.T) {
	p, full := newPlace(t), []Disk{{Mount: "/var", Stores: []string{"a", "b"}, FullAt: time.Now()}}
	n := p.startWith(Config{Now: p.clock})
	count := func() (told int) {
		p.events.mu.Lock()
		defer p.events.mu.Unlock()
		for _, name := range p.events.names {
			if name == event.DiskFullSoon {
				told++
			}
		}
		return told
	}
	for i, step := range []struct {
		after   time.Duration
		full    []Disk
		restart bool
		want    int
	}{
		{0, nil, false, 0}, {0, full, false, 1}, {time.Minute, full, false, 1}, {time.Minute, full, true, 1},
		{0, nil, false, 1}, {59 * time.Minute, nil, false, 1}, {0, full, false, 1}, // it was not well for long enough
		{0, nil, false, 1}, {time.Hour, nil, false, 1}, {time.Minute, full, false, 2},
		{time.Minute, append(full, Disk{Mount: "/srv", Stores: []string{"c"}}), true, 3},
	} {
		p.pass(step.after)
		if step.restart {
			n.Stop()
			p.reopen()
			n = p.startWith(Config{Now: p.clock})
		}
		n.ObserveDisks(step.full)
		if got := count(); got != step.want {
			t.Fatalf("step %d: told %d times, want %d", i, got, step.want)
		}
	}
}

func TestWhatWasToldOfAStoreThatIsGoneIsForgotten(t *testing.T) {
	p := newPlace(t)
	n := p.start()
	n.Observe(failing("a", 1))
	n.Observe(failing("b", 1))
	n.Forget(func(store string) bool { return store == "a" })
	records, err := p.db.Notices()
	if err != nil || len(records) != 1 || records[keyStore+"a"] == nil {
		t.Errorf("kept are %q, %v; want what was told of a", records, err)
	}
}

func TestOthersOfTheHostAreToldToo(t *testing.T) {
	p := newPlace(t)
	n := p.start()
	n.Observe(failing("a", 1)) // which compaction_failed has said
	n.Observe(failing("a", 3))
	n.Observe(State{Store: "b", Overdue: true})
	n.Observe(State{Store: "b", LastSuccessAt: p.now})
	want := []event.Name{event.StoreDegraded, event.StoreOverdue, event.StoreRecovered}
	if got := p.events.names; !slices.Equal(got, want) {
		t.Errorf("events are %q, want %q", got, want)
	}
}
