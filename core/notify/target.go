package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/wringdb/wring/core/config"
)

// entry is a notice that waits for a target.
type entry struct {
	key      string
	sequence uint64
	queuedAt time.Time
	notice   Notice
}

// record is an entry as it is kept.
type record struct {
	QueuedAt time.Time `json:"queued_at"`
	Notice   Notice    `json:"notice"`
}

func newEntry(target string, sequence uint64, notice Notice) entry {
	return entry{key: fmt.Sprintf("%s%s/%016x", keyQueue, target, sequence), sequence: sequence, queuedAt: notice.Time, notice: notice}
}

func (e entry) record() record { return record{e.queuedAt, e.notice} }

func decodeEntry(key string, kept json.RawMessage) (entry, error) {
	var r record
	if err := json.Unmarshal(kept, &r); err != nil {
		return entry{}, err
	}
	sequence, err := strconv.ParseUint(key[strings.LastIndexByte(key, '/')+1:], 16, 64)
	return entry{key: key, sequence: sequence, queuedAt: r.QueuedAt, notice: r.Notice}, err
}

// target is one of those who are told. Its goroutine delivers, oldest first.
type target struct {
	n       *Notifier
	wake    chan struct{} // something below has changed
	ended   context.Context
	end     context.CancelFunc // it is not configured any more
	backoff backoff.ExponentialBackOff

	// What follows is guarded by n.mu.

	settings config.Notify
	queue    []entry
	// sending is set while the first of the queue is being delivered.
	sending bool
	// attempts and refusals are those of the first of the queue; nextTry is when
	// it is tried again.
	attempts, refusals int
	nextTry            time.Time
	// refusedSince is the first refusal after anything was taken, or after the
	// queue was empty.
	refusedSince time.Time
	// gone is set when the target wants to hear no more.
	gone bool
	// problem is why the last delivery failed; empty after one that did not.
	problem      string
	failingSince time.Time
	deliveredAt  time.Time
	delivered    uint64
	dropped      uint64
}

func (n *Notifier) newTarget(settings config.Notify, queue []entry) *target {
	t := &target{
		n: n, settings: settings, queue: queue, wake: make(chan struct{}, 1),
		backoff: backoff.ExponentialBackOff{
			InitialInterval: n.cfg.FirstDelay, MaxInterval: n.cfg.LastDelay,
			RandomizationFactor: backoff.DefaultRandomizationFactor, Multiplier: 2,
		},
	}
	t.ended, t.end = context.WithCancel(n.living)
	t.backoff.Reset()
	return t
}

// renew takes new settings, and a new chance with them. What a target refuses by
// the same settings as before it does not refuse anew: those who often have the
// configuration read would never have it dropped.
func (t *target) renew(settings config.Notify) {
	if !reflect.DeepEqual(t.settings, settings) {
		t.refusals, t.refusedSince = 0, time.Time{}
	}
	t.settings, t.gone, t.nextTry = settings, false, time.Time{}
	t.backoff.Reset()
	t.signal()
}

func (t *target) signal() {
	select {
	case t.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// add appends to the queue, and returns the keys of what had to go for it. The
// notice that is being delivered stays.
func (t *target) add(entries []entry) (dropped []string) {
	t.queue = append(t.queue, entries...)
	for len(t.queue) > t.n.cfg.Keep {
		oldest := 0
		if t.sending && len(t.queue) > 1 {
			oldest = 1
		}
		dropped = append(dropped, t.drop(oldest, fmt.Sprintf("more than %d wait", t.n.cfg.Keep)))
	}
	t.signal()
	return dropped
}

// drop takes a notice out of the queue undelivered.
func (t *target) drop(i int, why string) (key string) {
	e := t.queue[i]
	t.n.cfg.Logger.Error("a notice is dropped, nobody is told", "target", t.settings.Name, "event", e.notice.Event, "message", e.notice.Message, "id", e.notice.ID, "reason", why)
	t.queue = slices.Delete(t.queue, i, i+1)
	t.dropped++
	if i == 0 {
		t.attempts, t.refusals = 0, 0
	}
	if len(t.queue) == 0 {
		t.refusedSince = time.Time{} // what comes next may be long after
	}
	return e.key
}

// run delivers until the end of the target, or of the Notifier.
func (t *target) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.n.stopping: // before anything else that is ready
			return
		default:
		}
		e, settings, wait := t.first()
		if e == nil {
			timer.Reset(wait)
			select {
			case <-t.n.stopping:
				return
			case <-t.ended.Done():
				return
			case <-t.wake:
			case <-timer.C:
			}
			continue
		}
		answer := t.n.deliver(t.ended, settings, e.notice)
		if !answer.OK && t.ended.Err() != nil {
			return // it did not fail, it was stopped; who comes next delivers it
		}
		t.settle(*e, answer)
	}
}

// idle is how long a target waits that has nothing to do: it is woken up.
const idle = time.Hour

// first returns the notice that is to be delivered now, or how long to wait.
// Those that are too old are dropped.
func (t *target) first() (*entry, config.Notify, time.Duration) {
	var dropped []string
	defer func() { t.remove(dropped...) }()
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	now := t.n.cfg.Now()
	for len(t.queue) > 0 {
		why := t.tooOld(t.queue[0], now)
		if why == "" {
			break
		}
		dropped = append(dropped, t.drop(0, why))
	}
	switch {
	case len(t.queue) == 0 || t.gone:
		return nil, t.settings, idle
	case t.nextTry.After(now):
		return nil, t.settings, min(t.nextTry.Sub(now), idle)
	}
	e := t.queue[0]
	t.sending = true
	t.attempts++
	return &e, t.settings, 0
}

func (t *target) tooOld(e entry, now time.Time) string {
	tried := e.queuedAt
	if tried.Before(t.n.startedAt) {
		tried = t.n.startedAt
	}
	switch {
	case now.Sub(e.queuedAt) > keepFor:
		return fmt.Sprintf("it is older than %d days", keepFor/(24*time.Hour))
	case now.Sub(tried) > tryFor:
		return fmt.Sprintf("it could not be delivered for %d hours", tryFor/time.Hour)
	}
	return ""
}

// A target that says that it does not want a notice is believed when it has said
// so this often, and has taken nothing for this long: a receiver that starts anew,
// or whose address leads elsewhere for a while, answers 404 as one that means it
// does. The time is the target's and not each notice's, so that what it takes is
// not too old once all is dropped that it does not.
const (
	maxRefusals = 5
	refusedFor  = time.Hour
)

// settle takes note of what has become of a delivery.
func (t *target) settle(e entry, a Answer) {
	var done []string
	defer func() { t.remove(done...) }()
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	now := t.n.cfg.Now()
	t.sending = false
	logger, about := t.n.cfg.Logger, []any{"target", t.settings.Name, "event", e.notice.Event, "id", e.notice.ID, "attempt", t.attempts}
	if len(t.queue) == 0 || t.queue[0].key != e.key {
		return // it was dropped with its target
	}
	if a.OK {
		logger.Info("told", append(about, "took_ms", a.DurationMS)...)
		done = append(done, e.key)
		t.queue = slices.Delete(t.queue, 0, 1)
		t.attempts, t.refusals, t.problem, t.nextTry = 0, 0, "", time.Time{}
		t.failingSince, t.refusedSince = time.Time{}, time.Time{}
		t.deliveredAt = now
		t.delivered++
		t.backoff.Reset()
		return
	}
	t.problem = a.Error
	if t.failingSince.IsZero() {
		t.failingSince = now
	}
	wait := max(t.backoff.NextBackOff(), a.after)
	t.nextTry = now.Add(wait)
	fields := append(about, "error", a.Error)
	if a.Text != "" {
		fields = append(fields, "answer", a.Text)
	}
	switch a.verdict {
	case gone:
		t.gone = true
		logger.Error("the target wants no more notices; it is told nothing until the configuration is read again", fields...)
		done = append(done, t.drop(0, a.Error))
	case refused:
		t.refusals++
		if t.refusedSince.IsZero() {
			t.refusedSince = now
		}
		if t.refusals >= maxRefusals && now.Sub(t.refusedSince) >= refusedFor {
			logger.Error("a notice is refused", fields...)
			done = append(done, t.drop(0, a.Error))
			t.nextTry = now.Add(a.after) // the next was never tried
			t.backoff.Reset()
			return
		}
		logger.Warn("a notice is refused, and tried again", append(fields, "in", wait.Round(time.Millisecond))...)
	case failed:
		logger.Warn("a notice is not delivered, and tried again", append(fields, "in", wait.Round(time.Millisecond))...)
	case taken:
	}
}

// remove forgets what is not in the queue any more.
func (t *target) remove(keys ...string) {
	if len(keys) == 0 {
		return
	}
	changes := make(map[string]json.RawMessage, len(keys))
	for _, key := range keys {
		changes[key] = nil
	}
	t.n.changing.Lock()
	defer t.n.changing.Unlock()
	t.n.save(changes)
}

// Status is how the deliveries to one target go.
type Status struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind" enum:"webhook,slack,command"`
	// Queued are the notices that wait, the oldest since OldestAt.
	Queued   int       `json:"queued"`
	OldestAt time.Time `json:"oldest_at,omitzero"`
	// Problem is why the queue does not drain; empty while it does.
	Problem      string    `json:"problem,omitempty"`
	FailingSince time.Time `json:"failing_since,omitzero"`
	NextTryAt    time.Time `json:"next_try_at,omitzero"`
	// Stopped is set when the target has answered that it wants no more.
	Stopped     bool      `json:"stopped,omitempty"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
	// Delivered and Dropped count since the host started.
	Delivered uint64 `json:"delivered"`
	Dropped   uint64 `json:"dropped"`
}

// Status returns how the deliveries go, in the order of the configuration.
func (n *Notifier) Status() []Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]Status, 0, len(n.targets))
	for _, t := range n.targets {
		s := Status{
			Name: t.settings.Name, Kind: kindOf(t.settings), Queued: len(t.queue), Problem: t.problem, FailingSince: t.failingSince,
			Stopped: t.gone, DeliveredAt: t.deliveredAt, Delivered: t.delivered, Dropped: t.dropped,
		}
		if len(t.queue) > 0 {
			s.OldestAt = t.queue[0].queuedAt
			if t.problem != "" && !t.gone {
				s.NextTryAt = t.nextTry
			}
		}
		all = append(all, s)
	}
	return all
}
