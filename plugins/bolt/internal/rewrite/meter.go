package rewrite

import (
	"context"
	"time"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/sdk"
)

// How often progress is reported: after a time, or a part of the phase.
const (
	reportEvery = 100 * time.Millisecond
	reportShare = 1.0 / 50
)

// How often the end of the context is looked for. A node that is not in memory
// may take a disk 10 ms.
const (
	lookEvery = 8         // calls
	lookBytes = 256 << 10 // or bytes
)

// Meter is where all work of a compaction is accounted for: it reports
// progress, keeps to the limit, and says when to stop.
type Meter struct {
	ctx    context.Context
	now    func() time.Time
	report func(sdk.Progress)
	pace   *sdk.Pace
	// busy says whether others are at work, to whom most of the time is left; nil
	// for nobody.
	busy    func() bool
	resumed time.Time // when the last rest ended

	progress sdk.Progress
	reported time.Time // when the last report was made
	told     int64     // and what it said of Done
	calls    int
	bytes    int64 // since the last look
}

// NewMeter makes the meter of a compaction that ends with ctx. A nil pace has no
// limit.
func NewMeter(ctx context.Context, now func() time.Time, pace *sdk.Pace, report func(sdk.Progress)) *Meter {
	return &Meter{ctx: ctx, now: now, pace: pace, report: report}
}

// Written is how many bytes have been written.
func (m *Meter) Written() int64 { return m.progress.BytesWritten }

// Yield leaves three quarters of the time to others for as long as busy says so. Work
// takes turns of a millisecond or two, so that nobody waits for the processor for
// long.
func (m *Meter) Yield(busy func() bool) { m.busy, m.resumed = busy, m.now() }

// A rest follows when there has been so much work, and takes so many times as long as
// that did, within a bound: work that waited for a disk was none.
const (
	workBeforeRest = time.Millisecond
	restPerWork    = 3
	longestRest    = 15 * time.Millisecond
)

func (m *Meter) rest() {
	if m.busy == nil {
		return
	}
	worked := m.now().Sub(m.resumed)
	if worked < workBeforeRest {
		return
	}
	if m.busy() {
		time.Sleep(min(restPerWork*worked, longestRest))
	}
	m.resumed = m.now()
}

// unmapBy is how many bytes of a mapping are given up at a time where others are
// at work: they cannot touch new memory meanwhile.
const unmapBy = 16 << 20

// unmap ends a mapping.
func (m *Meter) unmap(mapping *page.Mapping) {
	if m.busy != nil {
		for at := int64(0); at < int64(len(mapping.Data)); at += unmapBy {
			mapping.Forget(at, at+unmapBy)
			time.Sleep(time.Millisecond)
		}
	}
	_ = mapping.Close()
}

// Begin starts a phase.
func (m *Meter) Begin(phase, unit string, total int64) {
	m.progress.Phase, m.progress.Unit, m.progress.Done, m.progress.Total = phase, unit, 0, total
	m.tell()
}

// Add accounts for work. Its error is the context's.
func (m *Meter) Add(done, read, written int64) error {
	m.progress.Done += done
	m.progress.BytesRead += read
	m.progress.BytesWritten += written
	m.calls++
	m.bytes += read + written
	if m.calls < lookEvery && m.bytes < lookBytes {
		return nil
	}
	bytes := m.bytes
	m.calls, m.bytes = 0, 0
	if err := m.ctx.Err(); err != nil {
		return err
	}
	m.beat(m.now())
	m.rest()
	m.pace.Account(bytes)
	for {
		if due, err := m.pace.Nap(m.ctx, reportEvery); due || err != nil {
			return err
		}
		m.beat(m.now())
	}
}

// End reports the phase as done in full.
func (m *Meter) End() {
	m.progress.Done = max(m.progress.Done, m.progress.Total)
	m.tell()
}

// Beat reports now: somebody waits, and is not to be taken for dead.
func (m *Meter) Beat() { m.tell() }

func (m *Meter) beat(now time.Time) {
	if now.Sub(m.reported) >= reportEvery || float64(m.progress.Done-m.told) >= reportShare*float64(m.progress.Total) {
		m.tell()
	}
}

func (m *Meter) tell() {
	m.reported, m.told = m.now(), m.progress.Done
	p := m.progress
	if p.Total > 0 {
		p.Done = min(p.Done, p.Total)
	}
	m.report(p)
}

// Await runs work that cannot be interrupted, and reports meanwhile. When the
// context ends first it returns at once: the work ends by itself, and has to
// give back what it holds.
func (m *Meter) Await(work func() error) error { return m.run(m.ctx, work) }

// Finish runs work that must be done to its end, and reports meanwhile.
func (m *Meter) Finish(work func() error) error {
	return m.run(context.WithoutCancel(m.ctx), work)
}

func (m *Meter) run(ctx context.Context, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			m.tell()
		}
	}
}
