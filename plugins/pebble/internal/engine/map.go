package engine

import "github.com/wringdb/wring/sdk"

// fillMap shows how full the tables are along the key space, in equal shares of
// their bytes. Tables that compaction leaves alone count as full.
func (t *Tree) fillMap(all []Region, s survey) []uint8 {
	var total int64
	for _, r := range all {
		total += r.Bytes()
	}
	if total == 0 {
		return nil
	}
	cells := make([]uint8, min(sdk.MaxMapCells, max(1, total/(32<<10))))
	var passed int64 // bytes of the regions before the current one
	region, surveyed := 0, 0
	for i := range cells {
		middle := (int64(i)*2 + 1) * total / int64(2*len(cells))
		for region < len(all)-1 && passed+all[region].Bytes() <= middle {
			passed += all[region].Bytes()
			if t.Rewrites(all[region]) {
				surveyed++
			}
			region++
		}
		cells[i] = 100
		if r := all[region]; t.Rewrites(r) {
			fill := fillAt(s.fills[surveyed], float64(middle-passed)/float64(max(1, r.Bytes())))
			cells[i] = uint8(100*fill + 0.5)
		}
	}
	return cells
}

// fillAt is how full the part is that lies at a position from 0 to 1.
func fillAt(parts []part, position float64) float64 {
	total := 0.0
	for _, p := range parts {
		total += p.weight
	}
	left := position * total
	for _, p := range parts {
		if left -= p.weight; left < 0 {
			return p.fill
		}
	}
	return 0 // nothing was read: nothing lives here
}
