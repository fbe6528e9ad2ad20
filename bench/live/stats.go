package main

import (
	"math"
	"slices"
	"time"
)

// quantile is the least of sorted values that is not exceeded by the part q of
// them, 0 of none: by the nearest rank, so it is always one that was measured.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q*float64(len(sorted)) - rounding))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// rounding keeps 0.999 of 1000 from becoming more than 999.
const rounding = 1e-9

// latencies of one kind of request, as the report has them, in milliseconds.
type latencies struct {
	Count     int     `json:"count"`
	P50MS     float64 `json:"p50_ms"`
	P99MS     float64 `json:"p99_ms"`
	P999MS    float64 `json:"p99_9_ms"`
	LongestMS float64 `json:"longest_ms"`
}

func latenciesOf(samples []sample) latencies {
	took := make([]time.Duration, len(samples))
	for i, s := range samples {
		took[i] = s.latency()
	}
	slices.Sort(took)
	return latencies{
		Count: len(took), P50MS: milliseconds(quantile(took, 0.5)), P99MS: milliseconds(quantile(took, 0.99)),
		P999MS: milliseconds(quantile(took, 0.999)), LongestMS: milliseconds(quantile(took, 1)),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ratio is a over b, 0 where there is nothing to divide by.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// median of an even number is the mean of the two in the middle; of none, 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// most is the greatest of some values, 0 of none.
func most(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Max(values)
}

// spread is how far the least of some values is from the greatest.
func spread(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Max(values) - slices.Min(values)
}
