package sdk

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// paceCredit is how much time may be saved up by being slower than the rate.
const paceCredit = 100 * time.Millisecond

// paceBeat is how often who waits is told to be alive: more often than the
// shortest stall_timeout of a host, a second.
const paceBeat = 400 * time.Millisecond

// Pace is what a compaction waits on to keep to its limit, and by which the
// limit is changed while it runs. A backend calls Wait with the bytes that it
// has read and written; while it waits there, the last progress that it has
// reported is repeated for it, so that it does not count as stalled. One that
// tells of its progress itself meanwhile calls Account and then Nap, until that
// says that it is time:
//
//	pace.Account(bytes)
//	for {
//		if due, err := pace.Nap(ctx, 100*time.Millisecond); due || err != nil {
//			return err
//		}
//		report(progress)
//	}
//
// Without a limit all of them cost next to nothing, so that they may be called
// for every piece of work. The zero value, and nil, have no limit. All methods
// are safe for concurrent use, and work that several goroutines account for
// shares the rate.
type Pace struct {
	rate atomic.Int64 // bytes per second; 0 is no limit
	// alive is called now and then while somebody waits; may be nil.
	alive atomic.Pointer[func()]

	mu sync.Mutex
	// owed is how many bytes were done too early, as of asOf; negative where
	// time is saved up.
	owed float64
	asOf time.Time
	// changed is closed by the next Set; nil while nobody waits for it.
	changed chan struct{}
}

// NewPace makes a pace; a rate of 0 or less is no limit.
func NewPace(bytesPerSecond int64) *Pace {
	p := &Pace{}
	p.rate.Store(max(0, bytesPerSecond))
	return p
}

// Rate is the limit now in bytes per second; 0 is none.
func (p *Pace) Rate() int64 {
	if p == nil {
		return 0
	}
	return p.rate.Load()
}

// Set changes the limit; 0 or less removes it. Who waits goes on at the new
// rate at once. The limit of a nil Pace cannot be changed: it stays none.
func (p *Pace) Set(bytesPerSecond int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytesPerSecond = max(0, bytesPerSecond); bytesPerSecond == p.rate.Load() {
		return
	}
	p.settle()
	p.rate.Store(bytesPerSecond)
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Wait accounts for bytes and waits until they are due. Its error is that of
// ctx, whose end it notices at once, and also where there is no limit.
func (p *Pace) Wait(ctx context.Context, bytes int64) error {
	p.Account(bytes)
	for {
		if due, err := p.Nap(ctx, paceBeat); due || err != nil {
			return err
		}
		if alive := p.alive.Load(); alive != nil {
			(*alive)()
		}
	}
}

// whileWaiting has f called now and then by whoever waits, until stop is called.
// Of several the last counts: a pace belongs to one call at a time.
func (p *Pace) whileWaiting(f func()) (stop func()) {
	p.alive.Store(&f)
	return func() { p.alive.CompareAndSwap(&f, nil) }
}

// Account adds bytes that have been read or written, without waiting.
func (p *Pace) Account(bytes int64) {
	if p.Rate() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	p.owed += float64(bytes)
}

// Nap waits until what has been accounted for is due, but no longer than most
// and not beyond a change of the rate; due is false where more is to be waited
// for. Its error is that of ctx.
func (p *Pace) Nap(ctx context.Context, most time.Duration) (due bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if p.Rate() == 0 {
		return true, nil
	}
	wait, changed := p.outstanding()
	if wait <= 0 {
		return true, nil
	}
	timer := time.NewTimer(min(wait, most))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-changed:
		return false, nil
	case <-timer.C:
		// What others have accounted for meanwhile is theirs to wait for.
		return wait <= most, nil
	}
}

// outstanding is the time until all is due, and a channel that is closed when
// the rate changes.
func (p *Pace) outstanding() (time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	rate := p.rate.Load()
	if rate == 0 {
		return 0, nil
	}
	// A lifetime is long enough, and no duration overflows by it.
	wait := min(p.owed/float64(rate)*float64(time.Second), 1<<62)
	return time.Duration(wait), p.whenChanged()
}

// watch returns the rate, and a channel that is closed when it changes.
func (p *Pace) watch() (rate int64, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate.Load(), p.whenChanged()
}

func (p *Pace) whenChanged() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// settle brings owed up to date; the mutex is held. Without a limit nothing is
// owed, nor saved up.
func (p *Pace) settle() {
	now, rate := time.Now(), float64(p.rate.Load())
	p.owed -= rate * now.Sub(p.asOf).Seconds()
	p.owed = max(p.owed, -rate*paceCredit.Seconds())
	if rate == 0 {
		p.owed = 0
	}
	p.asOf = now
}
