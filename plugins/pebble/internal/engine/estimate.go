package engine

// estimate goes by the tables' properties alone. Tombstones kill an entry each, and
// versions that only a snapshot needed are taken for dead.
// Writes above the lowest level are new keys or overwrite old ones, which nobody
// counts: the middle between none and all of them is taken.
func estimate(rewritten []Region) survey {
	var s survey
	for _, r := range rewritten {
		e := r.estimate()
		s.after = append(s.after, (e.least+e.most)/2)
		s.least += e.least
		s.most += e.most
		fill := float64(e.least+e.most) / 2 / float64(max(1, r.Bytes()))
		s.fills = append(s.fills, []part{{weight: 1, fill: min(1, fill)}})
	}
	return s
}

// LiveShare is about which part of the region's bytes compaction leaves, by the tables'
// properties: above 0, to 1.
func (r Region) LiveShare() float64 {
	e := r.estimate()
	return min(1, max(0.01, float64(e.least+e.most)/2/float64(max(1, r.Bytes()))))
}

type bounds struct{ least, most int64 }

func (r Region) estimate() bounds {
	var pinned float64 // bytes
	var upper, lower, tombstones, upperEntries, lowerEntries int64
	var ranges bool
	lowest := LowestLevel(r.Tables)
	for _, t := range r.Tables {
		pinned += t.Pinned() * float64(t.Bytes())
		points := int64(t.Props.NumDeletions - t.Props.NumRangeDeletions)
		ranges = ranges || t.Props.NumRangeDeletions > 0
		tombstones += points
		if t.Level < lowest {
			upper += t.Bytes()
			upperEntries += int64(t.Keys()) - points
		} else {
			lower += t.Bytes()
			lowerEntries += int64(t.Keys()) - points
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
	return bounds{least: max(0, least), most: max(0, most)}
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
