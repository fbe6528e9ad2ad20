package main

import (
	"slices"
	"time"
)

// sample is what repeating one measurement gave.
type sample []time.Duration

// median of an even number is the mean of the two in the middle; of none, 0.
func (s sample) median() time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// mad is the median of how far each lies from the median: half of all lie
// within it, and one outlier does not move it.
func (s sample) mad() time.Duration {
	middle := s.median()
	away := make(sample, len(s))
	for i, d := range s {
		away[i] = (d - middle).Abs()
	}
	return away.median()
}

func (s sample) least() time.Duration {
	if len(s) == 0 {
		return 0
	}
	return slices.Min(s)
}

func (s sample) most() time.Duration {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}

// spread is a sample as the report has it, in milliseconds.
type spread struct {
	MedianMS float64   `json:"median_ms"`
	MinMS    float64   `json:"min_ms"`
	MaxMS    float64   `json:"max_ms"`
	MADMS    float64   `json:"mad_ms"`
	RoundsMS []float64 `json:"rounds_ms"`
}

func (s sample) spread() spread {
	made := spread{
		MedianMS: milliseconds(s.median()), MinMS: milliseconds(s.least()),
		MaxMS: milliseconds(s.most()), MADMS: milliseconds(s.mad()),
	}
	for _, d := range s {
		made.RoundsMS = append(made.RoundsMS, milliseconds(d))
	}
	return made
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ratio is a over b, 0 where there is nothing to divide by.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// ratios are how many times as long one took as another, round by round: a
// drift of the machine that lasts longer than a round hits both.
type ratios struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s sample) over(other sample) ratios {
	var each []float64
	for i := range min(len(s), len(other)) {
		each = append(each, ratio(float64(s[i]), float64(other[i])))
	}
	if len(each) == 0 {
		return ratios{}
	}
	return ratios{Median: medianOf(each), Min: slices.Min(each), Max: slices.Max(each)}
}

// medianOf is 0 of none, and of an even number the mean of the two in the middle.
func medianOf(values []float64) float64 {
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
