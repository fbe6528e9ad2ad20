package engine

import (
	"sync"

	"github.com/wringdb/wring/sdk"
)

// Progress tells of a compaction. Nothing is told twice: a call that says
// nothing has come no further.
type Progress struct {
	Report func(sdk.Progress)
	// Traffic counts the bytes that the call has read and written; may be nil.
	Traffic func() (read, written int64)

	mu     sync.Mutex
	last   sdk.Progress
	silent bool
}

// Tell says how far a phase is; total is 0 where that is not known. Of two goroutines
// that work on one phase, the one that is late to tell has nothing to say.
func (p *Progress) Tell(phase string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if phase == p.last.Phase && done < p.last.Done {
		return
	}
	p.send(sdk.Progress{Phase: phase, Done: done, Total: total, Unit: "bytes"})
}

// Beat tells of bytes read and written within the running phase, so that Pebble
// is heard of while one of its calls takes long.
func (p *Progress) Beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.Phase != "" {
		p.send(p.last)
	}
}

func (p *Progress) send(now sdk.Progress) {
	if p.Traffic != nil {
		now.BytesRead, now.BytesWritten = p.Traffic()
	}
	if p.silent || now == p.last {
		return
	}
	p.last = now
	p.Report(now)
}

// Silence waits for a report that is under way; it was the last.
func (p *Progress) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}
