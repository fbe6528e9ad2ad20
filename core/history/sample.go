package history

import (
	"math/bits"
	"time"
)

// Sample is how large a store was when it was measured.
type Sample struct {
	At               time.Time `json:"at"`
	TotalBytes       int64     `json:"total_bytes"`
	AllocatedBytes   int64     `json:"allocated_bytes"`
	LiveBytes        int64     `json:"live_bytes"`
	ReclaimableBytes int64     `json:"reclaimable_bytes"`
	// Reclaimed is what compactions have given back since the store's first
	// sample, in allocated bytes: AllocatedBytes + Reclaimed is how large it
	// would be without them. The history keeps the sum.
	Reclaimed int64 `json:"-"`
}

// The newest denseSamples of a store are all kept, every second of as many
// before them, every fourth of twice as many before those, and so on for
// sampleLevels times. Which ones stay is a matter of their number and not of
// their time, so that a clock that was wrong costs nothing.
const (
	denseSamples = 128
	sampleLevels = 5
	// MaxSamples is the most that are kept of one store.
	MaxSamples = denseSamples + sampleLevels*denseSamples/2
)

// sampleGap is the least time between two samples that are kept: of those that
// come faster the last one stays.
const sampleGap = 5 * time.Minute

// keepsSample says whether the sample of a number is kept when that of the
// newest is as given.
func keepsSample(newest, number uint64) bool {
	distance := newest - number
	if distance < denseSamples {
		return true
	}
	level := bits.Len64(distance / denseSamples)
	return level <= sampleLevels && number%(1<<level) == 0
}

// replacesSample says whether the next sample takes the place of the newest,
// which follows on before. The first one after a compaction is not replaced: it
// is how small the store can be.
func replacesSample(before, newest Sample, reclaimed int64) bool {
	gap := newest.At.Sub(before.At)
	return reclaimed == 0 && newest.Reclaimed == before.Reclaimed && gap >= 0 && gap < sampleGap
}

// storedSample is a sample as the file has it: Unix milliseconds, then bytes in
// the order of the fields.
type storedSample [6]int64

func (s Sample) stored() storedSample {
	return storedSample{s.At.UnixMilli(), s.TotalBytes, s.AllocatedBytes, s.LiveBytes, s.ReclaimableBytes, s.Reclaimed}
}

func (s storedSample) sample() Sample {
	return Sample{
		At: time.UnixMilli(s[0]).UTC(), TotalBytes: s[1], AllocatedBytes: s[2],
		LiveBytes: s[3], ReclaimableBytes: s[4], Reclaimed: s[5],
	}
}

// newSample is one that was added, with what was given back just before it.
type newSample struct {
	store     string
	sample    Sample
	reclaimed int64
}

// series are the samples of one store in memory, oldest first.
type series struct {
	numbers []uint64
	samples []Sample
}

func (s *series) add(added newSample) {
	next := uint64(1)
	last := len(s.samples) - 1
	sample := added.sample
	if last >= 0 {
		next = s.numbers[last] + 1
		sample.Reclaimed = s.samples[last].Reclaimed + added.reclaimed
	}
	if last >= 1 && replacesSample(s.samples[last-1], s.samples[last], added.reclaimed) {
		s.samples[last] = sample
		return
	}
	s.numbers, s.samples = append(s.numbers, next), append(s.samples, sample)
	kept := 0
	for i, number := range s.numbers {
		if keepsSample(next, number) {
			s.numbers[kept], s.samples[kept] = number, s.samples[i]
			kept++
		}
	}
	s.numbers, s.samples = s.numbers[:kept], s.samples[:kept]
}
