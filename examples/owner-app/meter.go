package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// meter collects how long requests take.
type meter struct {
	mu   sync.Mutex
	took []time.Duration
}

// latency sums up a number of requests. Durations are in milliseconds.
type latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func (m *meter) since(began time.Time) {
	took := time.Since(began)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, took)
}

// take sums up what there is since it was last called.
func (m *meter) take() latency {
	m.mu.Lock()
	took := m.took
	m.took = nil
	m.mu.Unlock()
	if len(took) == 0 {
		return latency{}
	}
	slices.Sort(took)
	at := func(percent int) float64 {
		return float64(took[(len(took)-1)*percent/100]) / float64(time.Millisecond)
	}
	return latency{Count: len(took), P50: at(50), P99: at(99), Max: at(100)}
}

// String is columns of a table: how many, and three durations.
func (l latency) String() string {
	return fmt.Sprintf("%8d %7.1f %7.1f %7.1f", l.Count, l.P50, l.P99, l.Max)
}
