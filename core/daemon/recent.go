package daemon

import (
	"sync"

	"github.com/wringdb/wring/core/history"
)

// recent is what a status says of each store's past, kept in memory: reading it
// from the history takes as long as all the rest.
type recent struct {
	history *history.DB

	mu      sync.Mutex
	byStore map[string]standing
	// changes counts forget, so that nothing is kept that was read before one.
	changes int
}

// standing is what the history has of one store.
type standing struct {
	past history.Past
	// last is the newest result; its Outcome is empty when there is none.
	last history.Result
}

func newRecent(db *history.DB) *recent {
	return &recent{history: db, byStore: map[string]standing{}}
}

func (r *recent) of(store string) (standing, error) {
	r.mu.Lock()
	known, ok := r.byStore[store]
	changes := r.changes
	r.mu.Unlock()
	if ok {
		return known, nil
	}
	var err error
	if known.past, err = r.history.Past(store); err != nil {
		return standing{}, err
	}
	results, err := r.history.Results(store, 1)
	if err != nil {
		return standing{}, err
	}
	if len(results) > 0 {
		known.last = results[0]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes == changes {
		r.byStore[store] = known
	}
	return known, nil
}

// forget is called when the history has something new of stores.
func (r *recent) forget(results ...history.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	for _, result := range results {
		delete(r.byStore, result.Store)
		delete(r.byStore, result.Configured)
	}
}
