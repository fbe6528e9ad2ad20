package notify

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
)

// refuser refuses every event but one.
func refuser(t *testing.T) *receiver {
	return newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(HeaderEvent) != string(Degraded) {
			w.WriteHeader(http.StatusNotFound)
		}
	})
}

// startRefused has notices that are refused wait before others that are not, with
// the delays of a host.
func startRefused(p *place, target config.Notify, bad, good int) *Notifier {
	n := p.startWith(Config{Now: p.clock, FirstDelay: time.Second, LastDelay: 15 * time.Minute}, target)
	for i := range bad {
		n.Observe(failing(fmt.Sprintf("refused%d", i), 1))
	}
	for i := range good {
		n.Observe(failing(fmt.Sprintf("taken%d", i), history.DegradedAfter))
	}
	return n
}

// drain lets the time pass until the next attempt, and the next, until nothing is
// queued. Reload is how often the configuration is read again; 0 is never.
func drain(p *place, n *Notifier, target config.Notify, reload time.Duration) {
	p.t.Helper()
	next := p.clock().Add(reload)
	wait(p.t, "the queue is empty", func() bool {
		s, now := n.Status()[0], p.clock()
		if s.NextTryAt.After(now) {
			until := s.NextTryAt
			reloads := reload > 0 && next.Before(until)
			if reloads {
				until, next = next, next.Add(reload)
			}
			p.pass(until.Sub(now))
			if reloads {
				n.Reconfigure([]config.Notify{target})
			} else {
				n.targets[0].signal() // its own timer goes by the clock on the wall
			}
		}
		return s.Queued == 0
	})
}

// What a target takes is told within hours, however much waits before it that the
// target does not take.
func TestManyThatAreRefusedDoNotAddUp(t *testing.T) {
	p, r := newPlace(t), refuser(t)
	const bad, good = 24, 5
	target := webhook("ops", r.address())
	n, began := startRefused(p, target, bad, good), p.clock()
	drain(p, n, target, 0)
	if s := n.Status()[0]; s.Delivered != good || s.Dropped != bad {
		t.Errorf("the status is %+v, want %d delivered and %d dropped", s, good, bad)
	}
	if took := p.clock().Sub(began); took < refusedFor || took > 2*refusedFor {
		t.Errorf("it took %s, and a refusal is believed after %s", took, refusedFor)
	}
}

// Who has the configuration read again and again, without a change to the target,
// has what is refused dropped as soon as others.
func TestReloadsDoNotKeepWhatIsRefused(t *testing.T) {
	p, r := newPlace(t), refuser(t)
	target := webhook("ops", r.address())
	n, began := startRefused(p, target, 1, 1), p.clock()
	drain(p, n, target, refusedFor/2)
	if s := n.Status()[0]; s.Delivered != 1 || s.Dropped != 1 {
		t.Errorf("the status is %+v, want one delivered and one dropped", s)
	}
	if took := p.clock().Sub(began); took > 2*refusedFor {
		t.Errorf("it took %s, and a refusal is believed after %s", took, refusedFor)
	}
}

// A target with other settings has its time anew, and so has the next notice when
// there was nothing to tell for a while.
func TestRefusalsAreForgotten(t *testing.T) {
	p, r := newPlace(t), refuser(t)
	target := webhook("ops", r.address())
	n := startRefused(p, target, 1, 0)
	refused := func() time.Time { n.mu.Lock(); defer n.mu.Unlock(); return n.targets[0].refusedSince }
	wait(t, "it is refused", func() bool { return !refused().IsZero() })
	p.pass(refusedFor / 2)
	changed := webhook("ops", r.address()+"/elsewhere")
	n.Reconfigure([]config.Notify{changed})
	wait(t, "it is refused anew", func() bool { return refused().Equal(p.clock()) })
	drain(p, n, changed, 0)
	p.pass(24 * time.Hour)
	n.Observe(failing("later", 1))
	wait(t, "the next is refused anew", func() bool { return refused().Equal(p.clock()) })
	if s := n.Status()[0]; s.Queued != 1 || s.Dropped != 1 {
		t.Errorf("the status is %+v", s)
	}
}
