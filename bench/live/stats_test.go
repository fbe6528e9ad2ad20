package main

import (
	"testing"
	"time"
)

func ascending(n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Duration(i + 1)
	}
	return all
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		of   int // 1, 2, … of
		q    float64
		want time.Duration
	}{
		{0, 0.5, 0}, {1, 0.5, 1}, {1, 0.999, 1}, {2, 0.5, 1}, {3, 0.5, 2},
		{100, 0.99, 99}, {101, 0.99, 100}, {100, 0.999, 100}, {1000, 0.999, 999}, {1001, 0.999, 1000},
		{1000, 1, 1000}, {1000, 0, 1},
	} {
		if got := quantile(ascending(c.of), c.q); got != c.want {
			t.Errorf("of 1 to %d, %g: %d, want %d", c.of, c.q, got, c.want)
		}
	}
}

func TestLatencies(t *testing.T) {
	began := time.Unix(0, 0)
	var samples []sample
	for i := 1000; i > 0; i-- {
		due := began.Add(time.Duration(i) * time.Hour)
		samples = append(samples, sample{due: due, begun: due, done: due.Add(time.Duration(i) * time.Millisecond)})
	}
	if got, want := latenciesOf(samples), (latencies{1000, 500, 990, 999, 1000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := latenciesOf(nil); got != (latencies{}) {
		t.Errorf("of none: %+v", got)
	}
}

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		of                   []float64
		median, most, spread float64
	}{
		{nil, 0, 0, 0},
		{[]float64{3}, 3, 3, 0},
		{[]float64{9, 1, 2}, 2, 9, 8},
		{[]float64{4, 1, 2, 9}, 3, 9, 8},
	} {
		if m, most, s := median(c.of), most(c.of), spread(c.of); m != c.median || most != c.most || s != c.spread {
			t.Errorf("of %v: median %g, most %g, spread %g", c.of, m, most, s)
		}
	}
}
