package compaction

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/wringdb/wring/core/config"
)

// slots bounds how many stores are worked on at the same time, overall and in
// each group. Who waits longest comes first, as long as its group has room.
type slots struct {
	clock Clock

	mu      sync.Mutex
	max     int
	inUse   int
	groups  map[string]*group
	waiting []*ticket
}

// group is the state of one group. Who works in a group that is configured no
// more goes on, and new ones wait for it.
type group struct {
	max, inUse int
	settle     time.Duration
	// settled is when the next store may follow the last compaction.
	settled time.Time
}

// ticket is a place in the queue, then a slot.
type ticket struct {
	group   string
	granted bool
	// despite is a time that the group need not have settled by: what has to
	// settle is this store's own earlier attempt.
	despite time.Time
	wake    chan struct{} // something has changed; one entry is enough
}

func newSlots(clock Clock, maxParallel int, groups []config.Group) *slots {
	s := &slots{clock: clock, groups: map[string]*group{}}
	s.reconfigure(maxParallel, groups)
	return s
}

func (s *slots) reconfigure(maxParallel int, groups []config.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max(1, maxParallel)
	for _, g := range groups {
		state := s.group(g.Name)
		state.max, state.settle = max(1, g.MaxParallel), g.Settle
	}
	s.grant()
	s.wakeAll()
}

// group returns the state of a group; one that is not configured takes one
// store at a time. A store in no group has none.
func (s *slots) group(name string) *group {
	if name == "" {
		return nil
	}
	if s.groups[name] == nil {
		s.groups[name] = &group{max: 1}
	}
	return s.groups[name]
}

// queue takes a place, which wait must follow.
func (s *slots) queue(name string) *ticket {
	t := &ticket{group: name, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, t)
	return t
}

// wait returns when the ticket has a slot, which release gives back, or with
// the error of ctx.
func (s *slots) wait(ctx context.Context, t *ticket) error {
	for {
		if ctx.Err() != nil {
			s.leave(t)
			return ctx.Err()
		}
		granted, settles := s.look(t)
		if granted {
			return nil
		}
		var settled <-chan time.Time
		stop := func() {}
		if settles > 0 {
			settled, stop = s.clock.After(settles)
		}
		select {
		case <-t.wake:
		case <-settled:
		case <-ctx.Done():
		}
		stop()
	}
}

// look says whether the ticket has a slot, and if not how long its group
// settles.
func (s *slots) look(t *ticket) (granted bool, settles time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant()
	if g := s.group(t.group); g != nil {
		settles = g.settled.Sub(s.clock.Now())
	}
	return t.granted, settles
}

// leave gives up a place in the queue, or the slot that came of it.
func (s *slots) leave(t *ticket) {
	s.mu.Lock()
	granted := t.granted
	s.waiting = slices.DeleteFunc(s.waiting, func(other *ticket) bool { return other == t })
	s.mu.Unlock()
	if granted {
		s.release(t, false)
	}
}

// requeue takes a place for another attempt on the store that has given back a
// slot. It waits for its group to settle only if others have compacted since.
func (s *slots) requeue(old *ticket) *ticket {
	t := s.queue(old.group)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.despite = old.despite
	return t
}

// release gives a slot back. After a compaction the group settles.
func (s *slots) release(t *ticket, compacted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse--
	if g := s.group(t.group); g != nil {
		g.inUse--
		if compacted && g.settle > 0 {
			g.settled = s.clock.Now().Add(g.settle)
			t.despite = g.settled
			s.wakeAll() // those who wait must know how long
		}
	}
	s.grant()
}

// grant hands out the slots that are free.
func (s *slots) grant() {
	now := s.clock.Now()
	s.waiting = slices.DeleteFunc(s.waiting, func(t *ticket) bool {
		g := s.group(t.group)
		if s.inUse >= s.max || g != nil && (g.inUse >= g.max || now.Before(g.settled) && !t.despite.Equal(g.settled)) {
			return false
		}
		s.inUse++
		if g != nil {
			g.inUse++
		}
		t.granted = true
		t.signal()
		return true
	})
}

func (s *slots) wakeAll() {
	for _, t := range s.waiting {
		t.signal()
	}
}

func (t *ticket) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
