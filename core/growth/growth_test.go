package growth

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wringdb/wring/core/history"
)

const mib = 1 << 20

var now = time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)

// every makes samples at an interval, the last of them now; size gives that of
// number n and what had been reclaimed by then.
func every(interval time.Duration, n int, size func(n int) (allocated, reclaimed int64)) []history.Sample {
	samples := make([]history.Sample, n)
	for i := range samples {
		allocated, reclaimed := size(i)
		samples[i] = history.Sample{At: now.Add(-time.Duration(n-1-i) * interval), AllocatedBytes: allocated, Reclaimed: reclaimed}
	}
	return samples
}

func grows(perSample int64) func(n int) (int64, int64) {
	return func(n int) (int64, int64) { return 100*mib + int64(n)*perSample, 0 }
}

func TestRate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	steady := every(time.Hour, 48, grows(mib))
	// at returns the steady samples, the clock of some of which was wrong.
	at := func(change func(i int, s *history.Sample)) []history.Sample {
		changed := make([]history.Sample, len(steady))
		for i, s := range steady {
			change(i, &s)
			changed[i] = s
		}
		return changed
	}
	for _, test := range []struct {
		name    string
		samples []history.Sample
		want    float64 // MiB for each day
		within  float64
	}{
		{"steady", steady, 24, 0.001},
		{"shrinks", every(time.Hour, 48, grows(-mib)), -24, 0.001},
		{"stays", every(time.Hour, 48, grows(0)), 0, 0},
		{"three samples", every(30*time.Minute, 3, grows(mib)), 48, 0.001},
		{"as many as there can be", every(30*time.Minute, 500, grows(mib)), 48, 0.001},
		// 6 MiB each 6 hours, which a compaction takes each time: the size is the
		// same before each of them.
		{"compacted again and again", every(6*time.Hour, 40, func(n int) (int64, int64) { return 106 * mib, int64(n) * 6 * mib }), 24, 0.001},
		{"compacted once", every(time.Hour, 48, func(n int) (int64, int64) {
			if n < 30 {
				return 100*mib + int64(n)*mib, 0
			}
			return 100*mib + int64(n)*mib - 90*mib, 90 * mib
		}), 24, 0.001},
		{"compacted by somebody else", every(time.Hour, 96, func(n int) (int64, int64) {
			if n < 80 {
				return 200*mib + int64(n)*mib, 0
			}
			return 120*mib + int64(n)*mib, 0
		}), 24, 0.1},
		{"a load that was taken back", every(time.Hour, 48, func(n int) (int64, int64) {
			size := 100*mib + int64(n)*mib
			if n >= 20 && n < 24 {
				size += 5000 * mib
			}
			return size, 0
		}), 24, 0.1},
		{"noise", every(time.Hour, 200, func(n int) (int64, int64) {
			return 100*mib + int64(n)*mib + int64(random.IntN(10*mib)), 0
		}), 24, 1},
		{"what is older than the window does not count", every(24*time.Hour, 60, func(n int) (int64, int64) {
			return 100*mib + max(0, int64(n)-45)*mib, 0 // 14 days
		}), 1, 0.001},
		{"a clock that was ahead", at(func(i int, s *history.Sample) {
			if i >= 10 && i < 20 {
				s.At = s.At.AddDate(1, 0, 0)
			}
		}), 24, 0.001},
		{"a clock that was at its beginning", at(func(i int, s *history.Sample) {
			if i >= 30 && i < 40 {
				s.At = time.Unix(int64(i), 0)
			}
		}), 24, 0.001},
		{"a clock that was back by hours", at(func(i int, s *history.Sample) {
			if i >= 40 && i < 44 {
				s.At = s.At.Add(-5 * time.Hour)
			}
		}), 24, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, known := Rate(test.samples, now)
			if !known || math.Abs(got/mib-test.want) > test.within {
				t.Errorf("Rate() = %.3f MiB a day, known: %v; want %.3f", got/mib, known, test.want)
			}
		})
	}
}

func TestRateIsNotKnown(t *testing.T) {
	for name, samples := range map[string][]history.Sample{
		"without samples":        nil,
		"of two":                 every(24*time.Hour, 2, grows(mib)),
		"of minutes":             every(time.Minute, 50, grows(mib)),
		"of what is long past":   every(24*time.Hour, 50, grows(mib))[:30],
		"of what is yet to come": {{At: now.Add(time.Hour)}, {At: now.Add(9 * time.Hour)}, {At: now.Add(19 * time.Hour)}},
		"of one moment":          {{At: now}, {At: now}, {At: now}},
	} {
		if rate, known := Rate(samples, now); known {
			t.Errorf("the rate %s is %v", name, rate)
		}
	}
}

func TestFullAt(t *testing.T) {
	for _, test := range []struct {
		free int64
		rate float64
		want time.Time
	}{
		{100 * mib, 10 * mib, now.AddDate(0, 0, 10)},
		{100 * mib, 200 * mib, now.Add(12 * time.Hour)},
		{0, mib, now},
		{-mib, mib, now},
		{100 * mib, 0, time.Time{}},
		{100 * mib, -mib, time.Time{}},
		{math.MaxInt64, 1, time.Time{}},
		{0, math.NaN(), time.Time{}},
		{100 * mib, math.SmallestNonzeroFloat64, time.Time{}},
	} {
		if got := FullAt(now, test.free, test.rate); !got.Equal(test.want) {
			t.Errorf("FullAt(%d free, %v a day) = %v, want %v", test.free, test.rate, got, test.want)
		}
	}
}
