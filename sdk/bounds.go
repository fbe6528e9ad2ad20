package sdk

import (
	"maps"
	"math"
	"slices"
	"sync"
)

// boundMap brings a picture into MaxMapCells cells of 0 to 100: too many are
// averaged, part by part.
func boundMap(cells []uint8) []uint8 {
	if cells == nil {
		return nil
	}
	n := min(len(cells), MaxMapCells)
	bounded := make([]uint8, n)
	for i := range bounded {
		part := cells[i*len(cells)/n : (i+1)*len(cells)/n]
		sum := 0
		for _, c := range part {
			sum += min(int(c), 100)
		}
		bounded[i] = uint8(sum / len(part))
	}
	return bounded
}

// boundMetrics drops what no JSON number can be, and all beyond MaxMetrics in
// the order of the names.
func boundMetrics(metrics map[string]float64) map[string]float64 {
	bounded := make(map[string]float64, min(len(metrics), MaxMetrics))
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if v := metrics[name]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			bounded[name] = v
		}
		if len(bounded) == MaxMetrics {
			break
		}
	}
	return bounded
}

// monotonic passes progress on so that it never runs backwards within a
// phase. Safe for use by several goroutines.
type monotonic struct {
	mu      sync.Mutex
	to      func(Progress)
	last    Progress
	stopped bool
}

func newMonotonic(to func(Progress)) *monotonic {
	return &monotonic{to: to}
}

func (m *monotonic) report(p Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.to == nil {
		return
	}
	if p.Phase == "" {
		p.Phase = m.last.Phase
	}
	least := Progress{BytesRead: m.last.BytesRead, BytesWritten: m.last.BytesWritten}
	if p.Phase == m.last.Phase {
		least.Done, least.Total = m.last.Done, m.last.Total
		if p.Unit == "" {
			p.Unit = m.last.Unit
		}
	}
	p.Done = max(p.Done, least.Done)
	p.Total = max(p.Total, least.Total)
	if p.Total > 0 {
		p.Total = max(p.Total, p.Done)
	}
	p.BytesRead = max(p.BytesRead, least.BytesRead)
	p.BytesWritten = max(p.BytesWritten, least.BytesWritten)
	m.last = p
	m.to(p)
}

// repeat passes on once more what was last passed on, if anything was.
func (m *monotonic) repeat() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.to == nil || m.last == (Progress{}) {
		return
	}
	m.to(m.last)
}

// stop makes every later report a no-op: the call has returned.
func (m *monotonic) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
}
