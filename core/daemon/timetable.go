package daemon

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/schedule"
)

// Bounds of the time between two looks for overdue stores (watch.go). Each reads the
// past of all stores, and the loop wakes up for each store that a run is done
// with.
const (
	healthInterval = time.Minute
	healthPause    = time.Second
)

// loop starts a run whenever stores are due, until ctx ends.
func (h *host) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var checked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.ping:
			continue
		case <-h.wake:
		case <-timer.C:
		}
		now := time.Now()
		if due := h.takeDue(now); len(due) > 0 {
			h.startRun(due)
		}
		if now.Sub(checked) >= healthPause {
			poke(h.look)
			checked = now
		}
		timer.Reset(h.untilNext(now))
	}
}

// sweep removes what compactions that died with an earlier host have left.
func (h *host) sweep(ctx context.Context) {
	stores, err := h.stores(nil)
	if err == nil {
		h.runner.SweepAll(ctx, stores)
	}
}

// plan sets when stores are next due. Stores that have a time keep it, and those
// that are away have none.
func (h *host) plan(stores []tracked, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range stores {
		if _, ok := h.next[s.Name]; !ok && !s.away {
			h.next[s.Name] = h.firstDue(s, now)
		}
	}
}

// firstDue is when a store is due that this host has not run yet. One whose
// last outcome nobody knows does not wait for its schedule, but for that of an
// owner which was lost a second time in a row: it may not survive compactions.
// The start delay is also that of an owner that comes later than the host.
func (h *host) firstDue(s tracked, now time.Time) time.Time {
	past, started := h.past(s), later(h.startedAt, s.since)
	if past.Unresolved && (s.Owner == "" || past.ConsecutiveFailures <= 1) {
		ready := started.Add(s.Schedule.StartDelay)
		if ready.Before(now) {
			ready = now // a store that came with a reload
		}
		return s.Schedule.NextOpen(ready)
	}
	return s.Schedule.Next(schedule.Input{
		Now: now, Started: started, Last: past.LastAttemptAt, Jitter: rand.Float64,
	})
}

// past is what the history knows of a store; of a pattern's files, the one
// that is worst off.
func (h *host) past(s tracked) history.Past {
	known, err := h.recent.of(s.Name)
	if err != nil {
		h.logger.Warn("reading a store's past", "store", s.Name, "error", err)
	}
	return known.past
}

// takeDue marks the stores that are due as busy and returns them, in the
// order of the configuration.
func (h *host) takeDue(now time.Time) []config.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	var due []config.Store
	for _, s := range h.tracked {
		next := h.next[s.Name]
		if h.busy[s.Name] || next.IsZero() || next.After(now) || !h.pausedAt(s).IsZero() {
			continue
		}
		h.busy[s.Name] = true
		due = append(due, s.Store)
	}
	return due
}

// startRun compacts due stores. Each is due again by the time of its own end.
func (h *host) startRun(due []config.Store) {
	done, err := h.beginRun()
	if err != nil {
		return // the host is stopping
	}
	go func() {
		defer done()
		request := compaction.Request{Trigger: history.Scheduled, Stores: due, Paused: h.isPaused, Ended: h.ended}
		run, err := h.runner.Run(h.living, request)
		if err != nil {
			h.logger.Error("run ended early", "error", err)
		}
		h.refreshAfter(run)
	}()
}

// ended sets when a store is due again, by the configuration that is in force
// now and not by the one that its run began with.
func (h *host) ended(name string) {
	now := time.Now()
	h.mu.Lock()
	delete(h.busy, name)
	for _, s := range h.tracked {
		switch {
		case s.Name != name || s.away:
		case !h.pausedAt(s).IsZero(): // perhaps before its turn had come
			h.next[name] = h.firstDue(s, now)
		default:
			h.next[name] = s.Schedule.Next(schedule.Input{Now: now, Last: now, Jitter: rand.Float64})
		}
	}
	h.mu.Unlock()
	h.wakeUp()
}

func (h *host) wakeUp() {
	poke(h.wake)
}

// untilNext is how long the loop may sleep.
func (h *host) untilNext(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := healthInterval
	for _, s := range h.tracked {
		if next := h.next[s.Name]; !h.busy[s.Name] && !next.IsZero() && h.pausedAt(s).IsZero() {
			wait = min(wait, next.Sub(now))
		}
	}
	return max(wait, 0)
}

// health judges a store by its past. One that was never looked at is judged as if
// it had been when a host first tried to, or else when this one started, and one
// whose owner was away as if it had been when that came: nobody could before.
// One whose schedule is paused is not expected to be looked at, and after that
// judged as if it had been when it went on.
func (h *host) health(s tracked, now time.Time) history.Health {
	return h.healthOf(s, h.past(s), now)
}

// healthOf is health, of a store with that past.
func (h *host) healthOf(s tracked, past history.Past, now time.Time) history.Health {
	h.mu.Lock()
	paused, resumedAt := !h.pausedAt(s).IsZero(), h.resumedAt(s)
	h.mu.Unlock()
	from := past.LastSuccessAt
	if from.IsZero() {
		from = past.TriedSince
	}
	if from.IsZero() {
		from = h.startedAt
	}
	from = later(later(from, s.since), resumedAt)
	due := s.Schedule.Next(schedule.Input{Now: from, Last: from})
	health := past.Health(now, due, s.OverdueAfter)
	health.Overdue = health.Overdue && !s.away && !paused
	return health
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
