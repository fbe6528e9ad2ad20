package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/notify"
)

// watchBuffer is how far the watch may fall behind before it misses results; it
// looks at all stores then.
const watchBuffer = 4096

// diskPatience is how long the end of a host waits for a file system that does
// not answer.
const diskPatience = 2 * time.Second

// watch begins to look for what is to be told. The returned function waits, once
// the bus is closed, until all has been seen.
func (h *host) watch(living context.Context) (wait func()) {
	h.forgetTold()
	events := h.bus.Subscribe(watchBuffer, event.SinceNow)
	stores, disks := make(chan struct{}), make(chan struct{})
	go func() { defer close(stores); h.watchStores(events) }()
	go func() { defer close(disks); h.watchDisks(living) }()
	return func() {
		<-stores
		select {
		case <-disks:
		case <-time.After(diskPatience):
			h.logger.Warn("a file system does not say how much is free on it", "waited", diskPatience)
		}
	}
}

// watchStores lets the notifier see every store whose result is known, and all of
// them at once in the beginning and whenever somebody asks for it, until the end
// of the events. So nothing is missed that a host before this one did not tell.
func (h *host) watchStores(events *event.Subscription) {
	h.observeAll()
	for {
		select {
		case <-h.look:
			h.observeAll()
		case e, ok := <-events.C:
			switch {
			case !ok:
				return
			case e.Dropped > 0:
				h.observeAll()
			case e.Result != nil:
				h.observe(e.Result.Store, e.Result.Configured)
				if e.Result.Code == history.CodeNoSpace {
					poke(h.lookAtDisks)
				}
			}
		}
	}
}

// observe lets the notifier see a store, and the pattern that it belongs to.
func (h *host) observe(names ...string) {
	now := time.Now()
	for _, s := range h.trackedNow() {
		if slices.Contains(names, s.Name) {
			h.notifier.Observe(h.stateOf(s, now))
		}
	}
}

// observeAll lets the notifier see all stores: some become overdue without
// anything happening.
func (h *host) observeAll() {
	now := time.Now()
	for _, s := range h.trackedNow() {
		h.notifier.Observe(h.stateOf(s, now))
	}
}

func (h *host) stateOf(s tracked, now time.Time) notify.State {
	health := h.health(s, now)
	return notify.State{
		Store: s.Name, Configured: s.FoundBy,
		Failures: health.ConsecutiveFailures, Overdue: health.Overdue, LastSuccessAt: health.LastSuccessAt,
		Last: func() *history.Result { return h.lastResult(s.Name) },
	}
}

// lastResult is the newest of a store, nil where there is none.
func (h *host) lastResult(store string) *history.Result {
	last, err := h.history.Results(store, 1)
	if err != nil || len(last) == 0 {
		return nil
	}
	return &last[0]
}

// forgetTold drops what was told of stores that the configuration in force has no
// more. One whose owner is away may come back.
func (h *host) forgetTold() {
	stores := h.config().Stores
	h.notifier.Forget(func(name string) bool {
		for _, s := range stores {
			if name == s.Name || s.OwnerDir != "" && strings.HasPrefix(name, s.Name+"/") {
				return true
			}
		}
		return false
	})
}

// poke wakes somebody up who looks at the channel, once.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is enough
	}
}

// TestNotify tells a target, or all, that this is a test, and returns what came
// of it.
func (h *host) TestNotify(ctx context.Context, name string) ([]notify.Answer, error) {
	return h.notifier.Test(ctx, name)
}
