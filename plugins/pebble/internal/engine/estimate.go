package engine

import "math"

// estimate goes by the tables' properties alone. Tombstones kill an entry each, and
// versions that only a snapshot needed are taken for dead.
// Writes above the lowest level are new keys or overwrite old ones, which nobody
// counts: the middle between none and all of them is taken.
func estimate(rewritten []Region) survey {
	var s survey
	for _, r := range rewritten {
		after := r.estimate()
		s.add(after, []part{{weight: 1, fill: min(1, float64(after)/float64(max(1, r.Bytes())))}})
		s.least += min(after, r.least())
		s.most += max(after, r.most())
	}
	return s
}

func (r Region) estimate() int64 {
	var pinned float64 // bytes
	var upper, lower, tombstones, upperEntries, lowerEntries int64
	var ranges bool
	lowest := LowestLevel(r.Tables)
	for _, t := range r.Tables {
		pinned += t.Pinned() * float64(t.Bytes())
		ranges = ranges || t.Props.NumRangeDeletions > 0
		tombstones += t.deletions()
		if t.Level < lowest {
			upper += t.Bytes()
			upperEntries += int64(t.Keys()) - t.deletions()
		} else {
			lower += t.Bytes()
			lowerEntries += int64(t.Keys()) - t.deletions()
		}
	}
	entries := max(1, upperEntries+lowerEntries)
	share := func(n int64) int64 { return int64(float64(upper+lower) * min(1, float64(n)/float64(entries))) }
	// Those that have tombstones above them in the same table are counted by both.
	most := upper + lower - max(int64(pinned), share(min(tombstones, lowerEntries)))
	least := most - share(min(upperEntries, lowerEntries))
	if ranges {
		least = min(least, upper) // a range tombstone may cover all below it
	}
	return (max(0, least) + max(0, most)) / 2
}

// LiveShare is about which part of the region's bytes compaction leaves, by the tables'
// properties: above 0, to 1.
func (r Region) LiveShare() float64 {
	return min(1, max(0.01, float64(r.estimate())/float64(max(1, r.Bytes()))))
}

// deletions are the table's point tombstones.
func (t Table) deletions() int64 { return int64(t.Props.NumDeletions - t.Props.NumRangeDeletions) }

// most is what remains if tombstones delete nothing and all keys are different ones: all
// but the tombstones themselves, or else what only a snapshot needed.
func (r Region) most() int64 {
	var pinned, tombstones float64 // bytes
	for _, t := range r.Tables {
		pinned += t.Pinned() * float64(t.Bytes())
		tombstones += t.tombstones() * float64(t.Bytes())
	}
	return r.Bytes() - int64((1-unequal)*max(pinned, tombstones))
}

// keyRun is a sequence of tables in which no key occurs twice, but for versions that a
// snapshot needed.
type keyRun struct {
	keys, deletions int64
	bytes           float64
}

// least is what remains if each tombstone deletes a key, and all runs have the same
// keys as far as there are as many: those of the longest.
func (r Region) least() int64 {
	var runs [Bottom]keyRun // of the levels below level 0
	var tops []keyRun       // the tables of level 0
	for _, t := range r.Tables {
		if t.Props.NumRangeDeletions > 0 {
			return 0 // it may cover all
		}
		dead := max(t.Pinned(), t.tombstones())
		one := keyRun{
			keys:      int64(t.Keys()) - t.deletions() - int64(t.Props.SnapshotPinnedKeys),
			deletions: t.deletions(),
			bytes:     (1 - dead) * float64(t.Bytes()),
		}
		if t.Level == 0 {
			tops = append(tops, one)
			continue
		}
		run := &runs[t.Level-1]
		run.keys += one.keys
		run.deletions += one.deletions
		run.bytes += one.bytes
	}
	size := math.Inf(1) // of a key with its value, where they are smallest
	var above, keys int64
	for _, top := range tops {
		above += top.deletions
	}
	for _, top := range tops {
		keys = max(keys, top.keys-(above-top.deletions))
	}
	for _, run := range runs {
		keys = max(keys, run.keys-above)
		above += run.deletions
	}
	for _, run := range append(tops, runs[:]...) {
		if run.keys > 0 {
			size = min(size, run.bytes/float64(run.keys))
		}
	}
	if keys <= 0 || math.IsInf(size, 1) {
		return 0
	}
	return int64((1 - unequal) * float64(keys) * size)
}

// bytesPerRaw is what a byte of keys and values takes in the lowest of the
// tables: compression, indexes and filters included. It is 1 where there is none.
func bytesPerRaw(tables []Table) float64 {
	lowest := LowestLevel(tables)
	var size, raw int64
	for _, t := range tables {
		if t.Level == lowest {
			size += t.Bytes()
			raw += t.RawBytes()
		}
	}
	if raw == 0 {
		return 1
	}
	return min(1.5, float64(size)/float64(raw))
}
