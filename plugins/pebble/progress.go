package pebble

import (
	"sync"

	"github.com/wringdb/wring/sdk"
)

// progress tells of a compaction. Nothing is told twice: a call that says
// nothing has come no further.
type progress struct {
	report  func(sdk.Progress)
	traffic traffic

	mu     sync.Mutex
	last   sdk.Progress
	silent bool
}

// tell says how far a phase is; total is 0 where that is not known.
func (p *progress) tell(phase string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(sdk.Progress{Phase: phase, Done: done, Total: total, Unit: "bytes"})
}

// beat tells of bytes read and written within the running phase, so that Pebble
// is heard of while one of its calls takes long.
func (p *progress) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.Phase != "" {
		p.send(p.last)
	}
}

func (p *progress) send(now sdk.Progress) {
	now.BytesRead, now.BytesWritten = p.traffic.read.Load(), p.traffic.written.Load()
	if p.silent || now == p.last {
		return
	}
	p.last = now
	p.report(now)
}

// silence waits for a report that is under way; it was the last.
func (p *progress) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}
