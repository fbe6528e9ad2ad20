package engine

import (
	"math"

	"github.com/wringdb/wring/sdk"
)

const (
	// weightError is how far what content weighs once it is compacted may be off, a part
	// of it, where all of it was read: it is taken to be compressed as what lies lowest.
	weightError = 0.01
	// unequal is by how much keys and values that die may be larger than others, where
	// only their number is known.
	unequal = 0.1
	// deviations is how many standard deviations the bounds of a sample are apart from it.
	deviations = 3
)

// bound says between what bounds that lies which is given back.
func (t *Tree) bound(f *sdk.Fragmentation, rewritten []Region, s survey, leftovers Leftovers) {
	least, most := leftovers.Bytes(), leftovers.Bytes()
	if len(rewritten) > 0 {
		var before, given, tables int64
		for i, r := range rewritten {
			before += r.Bytes()
			given += r.Bytes() - t.remains(r, s.after[i])
			tables += int64(len(r.Tables))
		}
		kept := 1.0 // what remains of what is given back by tables, if blobs stay
		if all := before - s.sum(); all > 0 {
			kept = min(1, max(0, float64(given)/float64(all)))
		}
		off := int64(weightError * float64(s.sum()))
		// What is in the log alone may make tables larger than they were.
		low, high := kept*float64(before-s.most-off), kept*float64(before-s.least+off)
		if !t.Whole && low > 0 {
			low *= 1 - passedShare
		}
		// Files take whole blocks.
		files := tables + 1
		if blobs := t.DB.Metrics().BlobFiles; blobs.LiveCount > 0 && !t.BlobsStay {
			files += int64(blobs.LiveCount)
		}
		rounding := files * Rounding
		least = max(0, least+int64(low)-rounding)
		most = max(0, most+int64(high)+rounding)
	}
	if t.Pending == nil && leftovers.Logs > 0 { // nobody has looked at what is written there
		least, most = max(0, least-leftovers.Logs), f.AllocatedBytes
	}
	f.Metrics["reclaimable_min_bytes"] = float64(min(f.ReclaimableBytes, least))
	f.Metrics["reclaimable_max_bytes"] = float64(max(f.ReclaimableBytes, min(most, f.AllocatedBytes)))
}

// step is how much the density changes over the gap, as far as is known.
func (g gap) step() float64 {
	if g.before.physical == 0 || g.behind.physical == 0 {
		return 0
	}
	return g.behind.density() - g.before.density()
}

// fill gives the gaps what lives in them, and sums up. Between two places, what lives is
// the mean of both; how far that may be off is told by how much neighbours differ.
func (s *sampler) fill(gaps []gap, parts [][]part) survey {
	var bytes, squares, pairs float64
	for _, g := range gaps {
		if g.physical > 0 && g.before.physical > 0 && g.behind.physical > 0 {
			pairs++
			bytes += g.physical
			squares += g.physical * g.step() * g.step()
		}
	}
	mean, far := squares/max(1, bytes), deviations*(1+2/max(1, pairs))
	var variance float64
	for _, g := range gaps {
		rate := s.rate(s.regions[g.region])
		density := edge{g.before.live + g.behind.live, g.before.physical + g.behind.physical}.density()
		if !s.regions[g.region].Pending {
			density = min(density, 1/rate)
		}
		parts[g.region][g.part] = part{weight: g.physical, fill: g.physical * density}
		own := g.physical * rate
		if pairs == 0 {
			variance += own * own
		} else {
			variance += own * own * (g.step()*g.step() + mean) / 4
		}
	}
	var sum survey
	for i, r := range s.regions {
		rate := s.rate(r)
		var live, weighed float64
		for n, p := range parts[i] {
			live += p.fill
			weighed += p.weight
			parts[i][n].fill = min(1, p.fill*rate/max(1, p.weight))
		}
		if weighed > 0 {
			live *= s.sizes[i] / weighed
		}
		sum.add(weightOf(live, rate), parts[i])
	}
	off := int64(far * math.Sqrt(variance))
	sum.least, sum.most = max(0, sum.sum()-off), sum.sum()+off
	return sum
}
