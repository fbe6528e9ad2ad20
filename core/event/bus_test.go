package event_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newBus(t *testing.T, recent int) *event.Bus {
	t.Helper()
	b := event.NewBus(event.BusConfig{Now: func() time.Time { return noon }, Recent: recent})
	t.Cleanup(b.Close)
	return b
}

// rest closes the bus and returns all that the listener still gets.
func rest(b *event.Bus, s *event.Subscription) (events []event.Event) {
	b.Close()
	for e := range s.C {
		events = append(events, e)
	}
	s.Close()
	return events
}

func ids(events []event.Event) (ids []uint64) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func publish(b *event.Bus, names ...event.Name) {
	for _, name := range names {
		b.Publish(event.Event{Name: name})
	}
}

func TestPublishFillsInIDAndTime(t *testing.T) {
	b := newBus(t, 0)
	s := b.Subscribe(8, event.SinceNow)
	b.Publish(event.Event{Name: event.RunStarted, ID: 77, Dropped: 3})
	publish(b, event.RunComplete)
	if got := b.LastID(); got != 2 {
		t.Errorf("LastID is %d, want 2", got)
	}
	events := rest(b, s)
	if want := []uint64{1, 2}; !slices.Equal(ids(events), want) {
		t.Fatalf("IDs are %v, want %v", ids(events), want)
	}
	if !events[0].Time.Equal(noon) || events[0].Dropped != 0 {
		t.Errorf("first event is %+v, want the clock's time and nothing dropped", events[0])
	}
}

func TestSubscribeSince(t *testing.T) {
	for _, test := range []struct {
		name        string
		since       uint64
		want        []uint64
		wantDropped uint64
	}{
		{name: "oldest remembered", since: 0, want: []uint64{3, 4, 5, 6}, wantDropped: 2},
		{name: "before the oldest remembered", since: 1, want: []uint64{3, 4, 5, 6}, wantDropped: 1},
		{name: "in the middle", since: 4, want: []uint64{5, 6}},
		{name: "the newest", since: 5, want: []uint64{6}},
		{name: "now", since: event.SinceNow, want: []uint64{6}},
		{name: "of a host that ran before", since: 900, want: []uint64{3, 4, 5, 6}, wantDropped: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBus(t, 3)
			publish(b, event.RunStarted, event.RunStarted, event.RunStarted, event.RunStarted, event.RunStarted)
			s := b.Subscribe(8, test.since)
			publish(b, event.RunComplete)
			events := rest(b, s)
			if !slices.Equal(ids(events), test.want) {
				t.Fatalf("got events %v, want %v", ids(events), test.want)
			}
			if events[0].Dropped != test.wantDropped {
				t.Errorf("first event says %d missed, want %d", events[0].Dropped, test.wantDropped)
			}
		})
	}
}

// A listener that takes nothing loses progress first, then the oldest, and
// learns how many are missing at each gap.
func TestSlowListener(t *testing.T) {
	b := newBus(t, 0)
	s := b.Subscribe(3, event.SinceNow)
	publish(b, event.RunStarted)
	// Once the first has been taken the goroutine that delivers holds nothing.
	if e := <-s.C; e.ID != 1 {
		t.Fatalf("first event is %d, want 1", e.ID)
	}
	publish(b, event.CompactionStarted)
	taken := make(chan event.Event)
	go func() { taken <- <-s.C }()
	if e := <-taken; e.ID != 2 {
		t.Fatalf("second event is %d, want 2", e.ID)
	}

	for range 1000 {
		publish(b, event.CompactionProgress)
	}
	publish(b, event.CompactionComplete, event.RunComplete)
	events := rest(b, s)
	last := events[len(events)-2:]
	if last[0].Name != event.CompactionComplete || last[1].Name != event.RunComplete {
		t.Errorf("the end of the run was lost: got %v", events)
	}
	missed, next := uint64(0), uint64(3)
	for _, e := range events {
		if e.ID != next+e.Dropped {
			t.Errorf("event %d says %d missed, want %d", e.ID, e.Dropped, e.ID-next)
		}
		missed += e.Dropped
		next = e.ID + 1
	}
	if missed == 0 || int(missed)+len(events) != 1002 {
		t.Errorf("%d missed and %d delivered of 1002", missed, len(events))
	}
}

func TestGapWithoutProgress(t *testing.T) {
	b := newBus(t, 2)
	publish(b, event.RunStarted, event.CompactionStarted, event.CompactionComplete, event.RunComplete)
	events := rest(b, b.Subscribe(1, 0))
	if !slices.Equal(ids(events), []uint64{3, 4}) || events[0].Dropped != 2 {
		t.Errorf("got %v, want 3 and 4 after a gap of two", events)
	}
}

// What matters of a run is still remembered after a flood of progress.
func TestProgressLeavesRememberedEventsAlone(t *testing.T) {
	b := newBus(t, 4)
	publish(b, event.RunStarted, event.CompactionStarted)
	for range 50 {
		publish(b, event.CompactionProgress)
	}
	publish(b, event.CompactionComplete)
	events := rest(b, b.Subscribe(1, 0))
	if want := []uint64{1, 2, 52, 53}; !slices.Equal(ids(events), want) {
		t.Errorf("got %v, want %v", ids(events), want)
	}
}

func TestCloseOfSubscription(t *testing.T) {
	b := newBus(t, 0)
	s := b.Subscribe(1, event.SinceNow)
	publish(b, event.RunStarted, event.RunStarted, event.RunStarted)
	s.Close() // nobody reads
	s.Close()
	publish(b, event.RunComplete)
	for e := range s.C {
		t.Errorf("got %v after Close", e)
	}
}

func TestSubscribeToClosedBus(t *testing.T) {
	b := newBus(t, 0)
	publish(b, event.RunStarted)
	b.Close()
	publish(b, event.RunComplete)
	if got := ids(rest(b, b.Subscribe(1, 0))); !slices.Equal(got, []uint64{1}) {
		t.Errorf("got %v, want what was published before the end", got)
	}
}

// Listeners that come, read and go while others publish; the race detector and
// the order of IDs judge.
func TestConcurrentUse(t *testing.T) {
	b := newBus(t, 16)
	var publishers, listeners sync.WaitGroup
	for range 4 {
		listeners.Go(func() {
			s := b.Subscribe(4, 0)
			defer s.Close()
			last := uint64(0)
			for e := range s.C {
				if e.ID != last+e.Dropped+1 {
					t.Errorf("event %d follows %d with %d missed", e.ID, last, e.Dropped)
				}
				last = e.ID
			}
			if last != 2000 {
				t.Errorf("the last event was %d, want 2000", last)
			}
		})
		publishers.Go(func() {
			for range 500 {
				publish(b, event.CompactionProgress)
			}
			b.Subscribe(1, 0).Close()
		})
	}
	publishers.Wait()
	b.Close()
	listeners.Wait()
}

func TestString(t *testing.T) {
	for _, test := range []struct {
		event event.Event
		want  string
	}{
		{
			event.Event{Time: noon, Name: event.CompactionSkipped, Store: "logs/a.db", Run: "r1", Message: "12 % is\nenough\x1b[2J"},
			"2026-03-01T12:00:00Z compaction_skipped logs/a.db: 12 % is enough [2J",
		},
		{
			event.Event{
				Time: noon, Name: event.CompactionProgress, Store: "a", Dropped: 4,
				Progress: &event.Progress{Progress: sdk.Progress{Phase: "copy", Done: 3 << 20, Total: 12 << 20, Unit: "bytes"}},
			},
			"(4 missed) 2026-03-01T12:00:00Z compaction_progress a: copy 3.0 MiB of 12.0 MiB (25 %)",
		},
		{
			event.Event{
				Time: noon, Name: event.CompactionProgress, Store: "a",
				Progress: &event.Progress{Progress: sdk.Progress{Phase: "copy", Done: 1, Total: 4, Unit: "keys"}, ETAMS: 92_400},
			},
			"2026-03-01T12:00:00Z compaction_progress a: copy 1 keys of 4 keys (25 %), 1m32s left in this phase",
		},
		{
			event.Event{Time: noon, Name: event.CompactionProgress, Store: "a", Progress: &event.Progress{Progress: sdk.Progress{Phase: "verify", Done: 7, Unit: "keys"}}},
			"2026-03-01T12:00:00Z compaction_progress a: verify 7 keys",
		},
		{event.Event{Time: noon, Name: event.PluginUp, Plugin: "bolt", Message: "started"}, "2026-03-01T12:00:00Z plugin_up bolt: started"},
		{event.Event{Time: noon, Name: event.RunStarted, Run: "r1"}, "2026-03-01T12:00:00Z run_started r1"},
	} {
		if got := test.event.String(); got != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}

// A listener comes back with the ID of an event of a host that ran before, which
// the new host must not take for one of its own.
func TestEventsOfAnotherHostAreNotMistaken(t *testing.T) {
	b := event.NewBus(event.BusConfig{After: 1000})
	defer b.Close()
	if got := b.LastID(); got != 1000 {
		t.Errorf("the last ID is %d before there is an event", got)
	}
	for range 3 {
		b.Publish(event.Event{Name: event.RunStarted})
	}
	for since, want := range map[uint64][]uint64{0: {1001, 1002, 1003}, 2: {1001, 1002, 1003}, 1000: {1001, 1002, 1003}, 1001: {1002, 1003}, 5000: {1001, 1002, 1003}} {
		s := b.Subscribe(10, since)
		for _, id := range want {
			if e := <-s.C; e.ID != id || e.Dropped != 0 {
				t.Errorf("since %d: %d comes, and %d are missing; want %d", since, e.ID, e.Dropped, id)
			}
		}
		s.Close()
	}
}
