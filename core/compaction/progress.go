package compaction

import (
	"sync"
	"time"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

const (
	// progressInterval is the least time between two progress events of a phase:
	// backends report as often as they like.
	progressInterval = 100 * time.Millisecond
	// etaAfter is how long a phase has gone on before it is said how long it
	// will: the first moments say little.
	etaAfter = time.Second
	// etaWindow is how far back the rate is taken from, at least where progress
	// comes less often, and etaSpacing how close the moments in it are.
	etaWindow  = 10 * time.Second
	etaSpacing = etaWindow / 20
	// etaLongest is what nobody believes any more.
	etaLongest = 30 * 24 * time.Hour
)

// reporter passes progress on while its compaction is under way.
type reporter struct {
	turn *turn

	mu        sync.Mutex
	closed    bool
	written   bool
	published sdk.Progress
	at        time.Time
	estimate  estimate
}

func (r *reporter) report(said sdk.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return // a backend that goes on talking
	}
	r.written = r.written || said.BytesWritten > 0
	now := r.turn.runner.clock.Now()
	if r.turn.repaced.Swap(false) {
		r.estimate = estimate{} // the rate so far says nothing about what is to come
	}
	p := &event.Progress{Progress: said, ETAMS: r.estimate.left(said, now).Milliseconds()}
	r.turn.progress.Store(p)
	finished := said.Total > 0 && said.Done >= said.Total && said != r.published
	if !r.at.IsZero() && said.Phase == r.published.Phase && !finished && now.Sub(r.at) < progressInterval {
		return
	}
	r.published, r.at = said, now
	r.turn.runner.bus.Publish(event.Event{
		Name: event.CompactionProgress, Run: r.turn.run, Store: r.turn.store.Name, Plugin: r.turn.result.Plugin, Progress: p,
	})
}

// wrote says whether the backend has told of bytes that it wrote.
func (r *reporter) wrote() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written
}

func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// estimate follows a phase, to say how long it will still take at the rate of
// its last moments: a limit, and who else uses the disk, change on the way.
type estimate struct {
	phase string
	seen  []moment // oldest first, never empty once begun
}

// moment is how much was done by a time.
type moment struct {
	at   time.Time
	done int64
}

// left is the time until the phase has ended, if it goes on as it has within
// etaWindow; 0 while that is not known.
func (e *estimate) left(p sdk.Progress, now time.Time) time.Duration {
	if len(e.seen) == 0 || p.Phase != e.phase {
		*e = estimate{phase: p.Phase, seen: []moment{{now, p.Done}}}
	}
	if now.Sub(e.seen[len(e.seen)-1].at) >= etaSpacing {
		e.seen = append(e.seen, moment{now, p.Done})
	}
	for len(e.seen) > 1 && now.Sub(e.seen[1].at) >= etaWindow {
		e.seen = e.seen[1:]
	}
	elapsed, done := now.Sub(e.seen[0].at), p.Done-e.seen[0].done
	if elapsed < etaAfter || done <= 0 || p.Done >= p.Total {
		return 0
	}
	left := float64(elapsed) / float64(done) * float64(p.Total-p.Done)
	if left > float64(etaLongest) {
		return 0
	}
	return time.Duration(left)
}
