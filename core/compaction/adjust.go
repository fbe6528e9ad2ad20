package compaction

import (
	"strings"
	"sync"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// Prioritizer is a Lease of a process whose I/O priority can change. At first it
// is that of the store for which the lease was acquired.
type Prioritizer interface {
	SetIOPriority(priority sdk.IOPriority)
}

// rank is the I/O priority of a turn, which its lease has while there is one.
type rank struct {
	mu       sync.Mutex
	priority sdk.IOPriority
	lease    Prioritizer // nil between attempts, and where there is nothing to set
}

// hold has a lease follow the priority until let go is called, which is before
// the lease is given back.
func (r *rank) hold(lease Lease) (letGo func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease, _ = lease.(Prioritizer)
	r.apply() // it may have changed since the store was read
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lease = nil
	}
}

func (r *rank) set(priority sdk.IOPriority) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if priority == r.priority {
		return false
	}
	r.priority = priority
	r.apply()
	return true
}

func (r *rank) apply() {
	if r.lease != nil {
		r.lease.SetIOPriority(r.priority)
	}
}

// Adjust gives the work under way what may change in the middle of it: limits
// and I/O priorities. Everything else of a new configuration is for what begins
// from now on, and a store that is in it no longer goes on as it began. What is
// about to begin with the stores of an older configuration gets them too.
func (r *Runner) Adjust(stores []config.Store) {
	r.adjusting.Lock()
	defer r.adjusting.Unlock()
	r.adjusted = stores
	for _, t := range r.active.find("") {
		t.adjustTo(stores)
	}
}

// catchUp gives a turn that has just been registered what the last Adjust has
// given those before it.
func (r *Runner) catchUp(t *turn) {
	r.adjusting.Lock()
	defer r.adjusting.Unlock()
	t.adjustTo(r.adjusted)
}

// adjustTo looks for the store of the turn, or its pattern, among others.
func (t *turn) adjustTo(stores []config.Store) {
	for _, store := range stores {
		if store.Name == t.store.Name || store.Name == t.configured || store.Glob != "" && strings.HasPrefix(t.store.Name, store.Name+"/") {
			t.adjust(store)
		}
	}
}

func (t *turn) adjust(to config.Store) {
	before := t.pace.Rate()
	t.pace.Set(to.LimitBytesPerSecond)
	if now := t.pace.Rate(); now != before {
		t.repaced.Store(true)
		// A backend that takes no new limit is told of in a warning.
		t.runner.logger.Info("the limit has changed and the backend is told",
			"store", t.store.Name, "from", limitText(before), "to", limitText(now))
	}
	if t.rank.set(to.IOPriority) {
		t.runner.logger.Info("the I/O priority has changed for what is under way", "store", t.store.Name, "to", string(to.IOPriority))
	}
}

func limitText(bytesPerSecond int64) string {
	if bytesPerSecond == 0 {
		return "none"
	}
	return sdk.FormatBytes(bytesPerSecond) + "/s"
}
