package history

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

// memory keeps the history of one process. A run leaves nothing behind when it
// is interrupted, since the process ends with it.
type memory struct {
	mu       sync.Mutex
	keep     int
	open     map[string]*Run // that have not ended, by ID
	allRuns  []Run           // oldest first, as are the results
	byStore  map[string][]Result
	allPasts map[string]Past
	kept     map[string]json.RawMessage // of ChangeNotices

	bySample     map[string]*series
	allTotals    map[string]Totals
	allReclaimed int64
	allPauses    map[string]Pause
}

var _ records = (*memory)(nil)

func newMemory(keep int) *memory {
	return &memory{
		keep:     keep,
		open:     map[string]*Run{},
		byStore:  map[string][]Result{},
		allPasts: map[string]Past{},
		kept:     map[string]json.RawMessage{},

		bySample:  map[string]*series{},
		allTotals: map[string]Totals{},
		allPauses: map[string]Pause{},
	}
}

func (m *memory) beginRun(run Run) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	run.Results = slices.Clone(run.Results)
	m.open[run.ID] = &run
	return nil
}

func (m *memory) beginCompaction(Result) error { return nil }

func (m *memory) addResult(r Result) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply(r)
	m.total(r)
	run := m.open[r.Run]
	if run == nil {
		return nil
	}
	i := slices.IndexFunc(run.Results, func(other Result) bool { return other.Store == r.Store })
	if i < 0 {
		i = len(run.Results)
		run.Results = append(run.Results, r)
	}
	run.Results[i] = r
	if isFile(r) && summedUp(*run)[r.Configured] {
		m.applySums(summaries(*run), func(pattern string) bool { return pattern == r.Configured })
	}
	return nil
}

func (m *memory) addRun(run Run) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	run.Results = slices.Clone(run.Results)
	var before Run
	if begun := m.open[run.ID]; begun != nil {
		before = *begun
	}
	added, summed := addedStores(before), summedUp(before)
	for _, r := range run.Results {
		if !added[r.Store] {
			m.apply(r)
			m.total(r)
		}
	}
	m.applySums(summaries(run), func(pattern string) bool { return !summed[pattern] })
	delete(m.open, run.ID)
	m.allRuns = lastOf(append(m.allRuns, run), m.keep)
	return nil
}

func (m *memory) apply(r Result) {
	if r.Code == CodeAlreadyRunning {
		return
	}
	m.byStore[r.Store] = lastOf(append(m.byStore[r.Store], r), m.keep)
	m.allPasts[r.Store] = m.allPasts[r.Store].After(r)
}

func (m *memory) applySums(sums []sum, wanted func(pattern string) bool) {
	for _, s := range sums {
		if !wanted(s.Store) {
			continue
		}
		m.apply(s.Result)
		past := m.allPasts[s.Store]
		past.Unresolved = slices.ContainsFunc(s.files, func(name string) bool { return m.allPasts[name].Unresolved })
		m.allPasts[s.Store] = past
	}
}

func lastOf[T any](all []T, n int) []T {
	return slices.Delete(all, 0, max(0, len(all)-n))
}

func (m *memory) runs(n int) ([]Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	runs := newestFirst(m.allRuns, n)
	for i := range runs {
		runs[i].Results = slices.Clone(runs[i].Results)
	}
	return runs, nil
}

func (m *memory) results(store string, n int) ([]Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return newestFirst(m.byStore[store], n), nil
}

func newestFirst[T any](all []T, n int) []T {
	if n <= 0 || n > len(all) {
		n = len(all)
	}
	newest := slices.Clone(all[len(all)-n:])
	slices.Reverse(newest)
	return newest
}

func (m *memory) past(store string) (Past, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.allPasts[store], nil
}

func (m *memory) pasts() (map[string]Past, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.allPasts), nil
}

func (m *memory) total(r Result) {
	if r.Code == CodeAlreadyRunning {
		return
	}
	m.allTotals[r.Store] = m.allTotals[r.Store].After(r)
	m.allReclaimed += max(0, r.ReclaimedBytes)
}

func (m *memory) totals() (map[string]Totals, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.allTotals), nil
}

func (m *memory) reclaimed() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.allReclaimed, nil
}

func (m *memory) addSample(s newSample) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bySample[s.store] == nil {
		m.bySample[s.store] = &series{}
	}
	m.bySample[s.store].add(s)
	return nil
}

func (m *memory) samples(store string, n int) ([]Sample, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.bySample[store]
	if s == nil {
		return nil, nil
	}
	if n <= 0 || n > len(s.samples) {
		n = len(s.samples)
	}
	return slices.Clone(s.samples[len(s.samples)-n:]), nil
}

func (m *memory) setPauses(pauses map[string]Pause) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.allPauses, pauses)
	return nil
}

func (m *memory) pauses() (map[string]Pause, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.allPauses), nil
}

// forgetBefore has nothing to do: the whole history ends with the process.
func (m *memory) forgetBefore(time.Time) error { return nil }

func (m *memory) setKeep(keep int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep = keep
}

func (m *memory) close() error { return nil }
