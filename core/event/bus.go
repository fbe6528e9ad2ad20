package event

import (
	"math"
	"slices"
	"sync"
	"time"
)

// SinceNow asks for what is to come, without anything remembered.
const SinceNow = math.MaxUint64

// defaultRecent is how many events are remembered for late listeners.
const defaultRecent = 1024

// BusConfig is how to make a Bus; its zero value is fine.
type BusConfig struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Recent is how many events are remembered for late listeners; 0 means 1024.
	Recent int
	// After is what the IDs begin above. A listener that comes back to another host
	// with the ID of an event of the one before must not be taken to have heard of
	// what that other host has told: it has to be above the IDs of that.
	After uint64
}

// Bus hands every event to every listener. Publishing never waits: what a slow
// listener has no room for is lost to it, progress before anything else. All
// methods are safe for concurrent use.
type Bus struct {
	now func() time.Time

	after uint64 // the IDs are above it

	mu        sync.Mutex
	last      uint64
	recent    queue
	listeners []*Subscription
	closed    bool
}

// NewBus makes a Bus.
func NewBus(c BusConfig) *Bus {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Recent <= 0 {
		c.Recent = defaultRecent
	}
	return &Bus{now: c.Now, after: c.After, last: c.After, recent: queue{limit: c.Recent}}
}

// Publish fills in ID and Time and hands the event to all listeners.
func (b *Bus) Publish(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.last++
	e.ID, e.Time, e.Dropped = b.last, b.now(), 0
	b.recent.push(e)
	for _, s := range b.listeners {
		s.push(e)
	}
}

// LastID is the ID of the newest event, or that before the first.
func (b *Bus) LastID() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// Subscribe starts a listener with the first remembered event whose ID is above
// since: 0 begins with the oldest, SinceNow with the next. An ID that is yet to
// come, or not above After, is one of a host that ran before: the listener gets
// all there is.
// The listener may be buffer events behind, at least one, before it loses some.
func (b *Bus) Subscribe(buffer int, since uint64) *Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case since == SinceNow:
		since = b.last
	case since > b.last, since < b.after:
		since = b.after
	}
	c := make(chan Event)
	s := &Subscription{
		C:     c,
		out:   c,
		bus:   b,
		queue: queue{limit: max(1, buffer)},
		last:  since,
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	from := slices.IndexFunc(b.recent.events, func(e Event) bool { return e.ID > since })
	if from >= 0 {
		// All of it, even beyond the buffer: Recent bounds it.
		s.queue.events = slices.Clone(b.recent.events[from:])
	}
	if b.closed {
		s.finish()
	} else {
		b.listeners = append(b.listeners, s)
	}
	s.signal()
	go s.deliver()
	return s
}

// Close ends publishing. Listeners get what they have not taken yet, and then
// their channel is closed.
func (b *Bus) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, s := range b.listeners {
		s.finish()
	}
	b.listeners = nil
}

func (b *Bus) remove(s *Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners = slices.DeleteFunc(b.listeners, func(other *Subscription) bool { return other == s })
}

// Subscription is one listener.
type Subscription struct {
	// C delivers events in order. The Dropped of each says how many are missing
	// before it. C is closed after Close, of this or of the Bus.
	C <-chan Event

	out   chan<- Event
	bus   *Bus
	wake  chan struct{} // something has changed below
	done  chan struct{} // closed by Close
	ended chan struct{} // closed by deliver

	closeOnce sync.Once
	last      uint64 // ID of the event delivered last; deliver's own

	mu       sync.Mutex
	queue    queue
	finished bool // no more events will come
}

// Close ends the listener; what it has not taken is lost. It may be called more
// than once and does not wait for a reader.
func (s *Subscription) Close() {
	s.closeOnce.Do(func() {
		s.bus.remove(s)
		close(s.done)
	})
	<-s.ended
}

func (s *Subscription) push(e Event) {
	s.mu.Lock()
	s.queue.push(e)
	s.mu.Unlock()
	s.signal()
}

func (s *Subscription) finish() {
	s.mu.Lock()
	s.finished = true
	s.mu.Unlock()
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// deliver moves events from the queue to the channel until the end.
func (s *Subscription) deliver() {
	defer close(s.ended)
	defer close(s.out)
	for {
		e, ok, finished := s.next()
		switch {
		case ok:
			e.Dropped = e.ID - s.last - 1
			s.last = e.ID
			select {
			case s.out <- e:
			case <-s.done:
				return
			}
		case finished:
			return
		default:
			select {
			case <-s.wake:
			case <-s.done:
				return
			}
		}
	}
}

func (s *Subscription) next() (e Event, ok, finished bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok = s.queue.pop()
	return e, ok, s.finished
}

// queue holds events in order. When it is full the oldest progress goes, which
// newer progress says better, and only then the oldest of the others.
type queue struct {
	limit  int
	events []Event
}

func (q *queue) push(e Event) {
	if len(q.events) >= q.limit {
		oldest := slices.IndexFunc(q.events, func(e Event) bool { return e.Name == CompactionProgress })
		q.events = slices.Delete(q.events, max(0, oldest), max(0, oldest)+1)
	}
	q.events = append(q.events, e)
}

func (q *queue) pop() (Event, bool) {
	if len(q.events) == 0 {
		return Event{}, false
	}
	e := q.events[0]
	q.events[0] = Event{} // let go of what it points to
	q.events = q.events[1:]
	return e, true
}
