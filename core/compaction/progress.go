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
	// etaLongest is what nobody believes any more.
	etaLongest = 30 * 24 * time.Hour
)

// reporter passes progress on while its compaction is under way.
type reporter struct {
	turn *turn

	mu        sync.Mutex
	closed    bool
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
	now := r.turn.runner.clock.Now()
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

func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// estimate follows a phase, to say how long it will still take.
type estimate struct {
	phase string
	began time.Time
	from  int64 // what was done already when it began
}

// left is the time until the phase has ended, if it goes on as it has so far;
// 0 while that is not known.
func (e *estimate) left(p sdk.Progress, now time.Time) time.Duration {
	if e.began.IsZero() || p.Phase != e.phase {
		*e = estimate{phase: p.Phase, began: now, from: p.Done}
	}
	elapsed, done := now.Sub(e.began), p.Done-e.from
	if elapsed < etaAfter || done <= 0 || p.Done >= p.Total {
		return 0
	}
	left := float64(elapsed) / float64(done) * float64(p.Total-p.Done)
	if left > float64(etaLongest) {
		return 0
	}
	return time.Duration(left)
}
