package live

import (
	"sync"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// Stalls hears when Pebble holds writers up, since its flushes or compactions
// cannot keep pace with them. Only options that a store has yet to be opened with
// can be listened on:
//
//	stalls := new(live.Stalls)
//	stalls.Listen(options)
//	db, err := pebble.Open(dir, options)
//	…
//	live.Serve(ctx, socket, live.Store{Name: "queue", DB: db, Options: options, Stalls: stalls})
//
// The zero value is ready. One is for one store.
type Stalls struct {
	mu    sync.Mutex
	since time.Time // of the stall that goes on; zero where none does
	total time.Duration
}

// Listen joins the listener of the options, which hears all that it heard before.
func (s *Stalls) Listen(options *pebbledb.Options) {
	listener := pebbledb.EventListener{}
	if options.EventListener != nil {
		listener = *options.EventListener
	}
	begin, end := listener.WriteStallBegin, listener.WriteStallEnd
	listener.WriteStallBegin = func(info pebbledb.WriteStallBeginInfo) {
		s.begin()
		if begin != nil {
			begin(info)
		}
	}
	listener.WriteStallEnd = func() {
		if end != nil {
			end()
		}
		s.end()
	}
	options.EventListener = &listener
}

func (s *Stalls) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
}

func (s *Stalls) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() {
		s.total += time.Since(s.since)
	}
	s.since = time.Time{}
}

// sum of all stalls up to now, the one that goes on included. It is 0 for nil.
func (s *Stalls) sum() time.Duration {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return s.total
	}
	return s.total + time.Since(s.since)
}
