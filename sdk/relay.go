package sdk

import (
	"sync"
	"time"
)

// Bounds of progress on the wire: at most one message per interval, except
// that the last word of each phase is kept, for up to so many phases.
const (
	relayInterval = 100 * time.Millisecond
	relayPhases   = 64
)

// relay sends progress on at a bounded rate, and never makes the backend wait
// for whoever reads it.
type relay struct {
	send func(Progress) error

	mu      sync.Mutex
	pending []Progress // the latest of each phase that has not been sent
	wake    chan struct{}
	done    chan struct{}
	stopped chan struct{}
}

func startRelay(send func(Progress) error) *relay {
	r := &relay{
		send:    send,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go r.run()
	return r
}

func (r *relay) report(p Progress) {
	r.mu.Lock()
	if n := len(r.pending); n > 0 && r.pending[n-1].Phase == p.Phase {
		r.pending[n-1] = p
	} else {
		r.pending = append(r.pending, p)
	}
	if over := len(r.pending) - relayPhases; over > 0 {
		r.pending = append(r.pending[:0], r.pending[over:]...)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// finish sends what is pending and returns when nothing more will be sent.
func (r *relay) finish() {
	close(r.done)
	<-r.stopped
}

func (r *relay) run() {
	defer close(r.stopped)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ending := false; !ending; {
		select {
		case <-r.wake:
		case <-r.done:
			ending = true
		}
		if !r.flush() {
			return
		}
		pause.Reset(relayInterval)
		select {
		case <-pause.C:
		case <-r.done:
		}
	}
}

// flush is false when nobody listens any more.
func (r *relay) flush() bool {
	r.mu.Lock()
	pending := r.pending
	r.pending = nil
	r.mu.Unlock()
	for _, p := range pending {
		if r.send(p) != nil {
			return false
		}
	}
	return true
}
