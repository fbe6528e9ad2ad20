// Package growth says how fast stores grow, and when their disk will be full.
// It is pure: samples and the clock are given to it.
package growth

import (
	"math"
	"slices"
	"time"

	"github.com/wringdb/wring/core/history"
)

const (
	// Window is how old a sample may be that counts.
	Window = 14 * 24 * time.Hour
	// minSpan is from the first sample to the last at least, and minSamples how
	// many there must be: less says nothing of a day.
	minSpan    = time.Hour
	minSamples = 3
	// minDistance of two samples whose slope counts: within it what is pending in
	// a store decides.
	minDistance = time.Minute
	// maxSamples bounds the work, which grows with the square.
	maxSamples = 64
	// horizon is how far ahead a full disk is foretold.
	horizon = 10 * 365 * 24 * time.Hour
)

// Rate is how many bytes a store grows by in a day, as if nothing were ever
// given back: the median of the slopes between all pairs of its samples (the
// Theil–Sen estimator) of allocated bytes, to which is added what compactions
// had taken by then. A few samples that are far off, such as those of a bulk
// load that was taken back, do not change it. Samples are in the order in which
// they were added; those from the future, from before the Window, and from a
// clock that was wrong for a while are left out. It is not known when too few
// are left.
func Rate(samples []history.Sample, now time.Time) (bytesPerDay float64, known bool) {
	samples = thin(credible(samples, now))
	if len(samples) < minSamples || samples[len(samples)-1].At.Sub(samples[0].At) < minSpan {
		return 0, false
	}
	slopes := make([]float64, 0, len(samples)*(len(samples)-1)/2)
	for i, from := range samples {
		for _, to := range samples[i+1:] {
			if apart := to.At.Sub(from.At); apart >= minDistance {
				grown := grossBytes(to) - grossBytes(from)
				slopes = append(slopes, float64(grown)/apart.Hours()*24)
			}
		}
	}
	return median(slopes), true
}

// grossBytes is how large the store would be without compactions.
func grossBytes(s history.Sample) int64 { return s.AllocatedBytes + s.Reclaimed }

// credible are the samples within the window whose times go forward, oldest
// first. The newest is believed: by its clock the answer is given.
func credible(samples []history.Sample, now time.Time) []history.Sample {
	var kept []history.Sample
	for _, s := range slices.Backward(samples) {
		if s.At.After(now) || now.Sub(s.At) > Window {
			continue
		}
		if len(kept) == 0 || s.At.Before(kept[len(kept)-1].At) {
			kept = append(kept, s)
		}
	}
	slices.Reverse(kept)
	return kept
}

// thin leaves maxSamples, first and last among them.
func thin(samples []history.Sample) []history.Sample {
	if len(samples) <= maxSamples {
		return samples
	}
	kept := make([]history.Sample, maxSamples)
	for i := range kept {
		kept[i] = samples[i*(len(samples)-1)/(maxSamples-1)]
	}
	return kept
}

func median(values []float64) float64 {
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// FullAt is when a disk will be full that has so many bytes free, at a rate. It
// is zero when that will not be in the next ten years.
func FullAt(now time.Time, freeBytes int64, bytesPerDay float64) time.Time {
	if bytesPerDay <= 0 {
		return time.Time{}
	}
	left := float64(freeBytes) / bytesPerDay * float64(24*time.Hour)
	if math.IsNaN(left) || left > float64(horizon) {
		return time.Time{}
	}
	return now.Add(max(0, time.Duration(left)))
}
