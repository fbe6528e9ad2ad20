package compaction

import (
	"slices"
	"sync"

	"github.com/wringdb/wring/core/event"
)

// registry knows the turns that have not ended, in the order of admission. A
// store has at most one, and so has a database that is several stores: by
// symbolic links, or two patterns that match it.
type registry struct {
	mu    sync.Mutex
	turns []*turn
}

func newRegistry() *registry { return &registry{} }

// add registers a turn unless its store, or its database under another name,
// has one already, which it returns.
func (r *registry) add(t *turn) (other *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.turns {
		if other.store.Name == t.store.Name || t.place != "" && other.place == t.place {
			return other
		}
	}
	r.turns = append(r.turns, t)
	return nil
}

func (r *registry) remove(t *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turns = slices.DeleteFunc(r.turns, func(other *turn) bool { return other == t })
}

// find returns the turns of a store or pattern, all when name is empty, whose
// result is still open.
func (r *registry) find(name string) []*turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*turn
	for _, t := range r.turns {
		if (name == "" || name == t.store.Name || name == t.configured) && !t.ended() {
			found = append(found, t)
		}
	}
	return found
}

func (r *registry) progress() map[string]event.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]event.Progress{}
	for _, t := range r.turns {
		p := t.progress.Load()
		if p == nil || t.ended() {
			continue
		}
		all[t.store.Name] = *p
		if t.configured != t.store.Name {
			all[t.configured] = *p
		}
	}
	return all
}

func (r *registry) runs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var runs []string
	for _, t := range r.turns {
		if !slices.Contains(runs, t.run) && !t.ended() {
			runs = append(runs, t.run)
		}
	}
	return runs
}
