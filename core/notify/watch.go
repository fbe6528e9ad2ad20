package notify

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
)

// State is how a store is now.
type State struct {
	Store string
	// Configured is the store in the configuration that stands for it; empty for
	// one that is configured itself.
	Configured    string
	Failures      int // runs in a row
	Overdue       bool
	LastSuccessAt time.Time
	// Last returns the last result, nil where there is none. It is called when
	// there is something to tell.
	Last func() *history.Result
}

// told is what was told of a store, so that it is told once. The zero told is of
// a store that is well.
type told struct {
	Failed   time.Time `json:"failed_at,omitzero"`
	Degraded time.Time `json:"degraded_at,omitzero"`
	Overdue  time.Time `json:"overdue_at,omitzero"`
	// LastSuccess is the store's, when the first of these was told: until there is
	// another it has not recovered, whatever else changes.
	LastSuccess time.Time `json:"last_success_at,omitzero"`
}

func (t told) well() bool { return t == told{} }

// states are what was told, in the order in which a store gets worse.
func (t told) states() []Since {
	all := []Since{{Failed, t.Failed}, {Degraded, t.Degraded}, {Overdue, t.Overdue}}
	return slices.DeleteFunc(all, func(s Since) bool { return s.At.IsZero() })
}

// next is what is to be told of a store, and what has been told then.
func (t told) next(s State, now time.Time) ([]Event, told) {
	if !t.well() && s.Failures == 0 && !s.LastSuccessAt.IsZero() && !s.LastSuccessAt.Equal(t.LastSuccess) && !s.Overdue {
		return []Event{Recovered}, told{}
	}
	if t.well() {
		t.LastSuccess = s.LastSuccessAt
	}
	before := t
	var events []Event
	switch {
	case s.Failures >= history.DegradedAfter && t.Degraded.IsZero():
		// Whoever was not told of the first failure need not be told now.
		t.Degraded = now
		events = append(events, Degraded)
	case s.Failures > 0 && t.Failed.IsZero() && t.Degraded.IsZero():
		t.Failed = now
		events = append(events, Failed)
	}
	if s.Overdue && t.Overdue.IsZero() {
		t.Overdue = now
		events = append(events, Overdue)
	}
	if t == before && len(t.states()) == 0 {
		return nil, told{}
	}
	return events, t
}

// Observe tells what has changed in a store since it was observed last, by
// whichever host that was.
func (n *Notifier) Observe(s State) {
	n.changing.Lock()
	defer n.changing.Unlock()
	now := n.cfg.Now()
	before := n.told[s.Store]
	events, after := before.next(s, now)
	if len(events) == 0 {
		return
	}
	var last *history.Result
	if s.Last != nil {
		last = s.Last()
	}
	var notices []Notice
	for _, e := range events {
		notice := Notice{
			Event: e, Store: s.Store, Configured: s.Configured,
			ConsecutiveFailures: s.Failures, LastSuccessAt: s.LastSuccessAt, Result: last,
		}
		if e == Recovered {
			notice.Recovered = before.states()
		} else if last != nil {
			notice.Hint = last.Hint
		}
		notices = append(notices, n.complete(notice, now))
	}
	changes := map[string]json.RawMessage{}
	if after.well() {
		delete(n.told, s.Store)
		changes[keyStore+s.Store] = nil
	} else {
		n.told[s.Store] = after
		changes[keyStore+s.Store] = encode(after)
	}
	n.accept(changes, notices)
}

// diskWell is how long a disk must have been well before it is told again.
const diskWell = time.Hour

// toldDisk is what was told of a disk.
type toldDisk struct {
	At time.Time `json:"at"`
	// wellSince is zero while it gets full.
	wellSince time.Time
}

// ObserveDisks tells of disks that get full. Those that were told of and are not
// among them any more are told of again after they were well for an hour.
func (n *Notifier) ObserveDisks(full []Disk) {
	n.changing.Lock()
	defer n.changing.Unlock()
	now := n.cfg.Now()
	changes := map[string]json.RawMessage{}
	var notices []Notice
	for _, d := range full {
		if t, ok := n.toldDisks[d.Mount]; ok {
			t.wellSince = time.Time{}
			continue
		}
		t := &toldDisk{At: now}
		n.toldDisks[d.Mount] = t
		changes[keyDisk+d.Mount] = encode(t)
		disk := d
		notices = append(notices, n.complete(Notice{Event: DiskFullSoon, Store: d.Stores[0], Disk: &disk, Hint: d.Hint}, now))
	}
	for mount, t := range n.toldDisks {
		switch {
		case slices.ContainsFunc(full, func(d Disk) bool { return d.Mount == mount }):
		case t.wellSince.IsZero():
			t.wellSince = now
		case now.Sub(t.wellSince) >= diskWell:
			delete(n.toldDisks, mount)
			changes[keyDisk+mount] = nil
		}
	}
	if len(changes) > 0 {
		n.accept(changes, notices)
	}
}

// Forget drops what was told of stores that are known no more.
func (n *Notifier) Forget(known func(store string) bool) {
	n.changing.Lock()
	defer n.changing.Unlock()
	changes := map[string]json.RawMessage{}
	for store := range n.told {
		if !known(store) {
			delete(n.told, store)
			changes[keyStore+store] = nil
		}
	}
	if len(changes) > 0 {
		n.accept(changes, nil)
	}
}

// complete fills in what every notice has.
func (n *Notifier) complete(notice Notice, now time.Time) Notice {
	notice.Version, notice.ID, notice.Time, notice.Host = documentVersion, rand.Text(), now, n.cfg.Host
	notice.Message = notice.sentence()
	return notice
}

// publish lets those who follow the host's events know too. What runs have come
// to they know already.
func (n *Notifier) publish(notice Notice) {
	name, ok := map[Event]event.Name{
		Degraded: event.StoreDegraded, Overdue: event.StoreOverdue, Recovered: event.StoreRecovered, DiskFullSoon: event.DiskFullSoon,
	}[notice.Event]
	if ok {
		n.cfg.Events.Publish(event.Event{Name: name, Store: notice.Store, Message: notice.Message})
	}
}
