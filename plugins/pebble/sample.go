package pebble

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

const (
	// pieceBytes is how much of a region's content makes one piece of the map.
	pieceBytes = 512 << 10
	// samplePiece is the least that is worth reading at one place.
	samplePiece = 64 << 10
	// sampleStarts is at how many places a region is sampled, at most, that is
	// too large to be read.
	sampleStarts = 64
	// everything is a limit that is never reached.
	everything = 1 << 62
	// tableOverhead is what a table has beside its blocks: properties and footer.
	tableOverhead = 1 << 10
)

// survey is what the rewritten regions will weigh once they are compacted.
type survey struct {
	after []int64 // for each region, in bytes of tables
	// least and most bound the sum; both are the sum where content was read.
	least, most int64
	// fills says for each region how full its consecutive parts are.
	fills [][]part
}

// part of a region on the map.
type part struct {
	weight float64 // in bytes of tables, or any other unit
	fill   float64 // 0..1
}

// estimate goes by the tables' properties alone. Tombstones kill an entry each.
// Writes above the lowest level are new keys or overwrite old ones, which nobody
// counts: the middle between none and all of them is taken.
func estimate(rewritten []region) survey {
	var s survey
	for _, r := range rewritten {
		e := r.estimate()
		s.after = append(s.after, (e.least+e.most)/2)
		s.least += e.least
		s.most += e.most
		fill := float64(e.least+e.most) / 2 / float64(max(1, r.bytes()))
		s.fills = append(s.fills, []part{{weight: 1, fill: min(1, fill)}})
	}
	return s
}

type bounds struct{ least, most int64 }

func (r region) estimate() bounds {
	var upper, lower, tombstones, upperEntries, lowerEntries int64
	var ranges bool
	lowest := lowestLevel(r.tables)
	for _, t := range r.tables {
		points := int64(t.props.NumDeletions - t.props.NumRangeDeletions)
		ranges = ranges || t.props.NumRangeDeletions > 0
		tombstones += points
		if t.level < lowest {
			upper += t.size
			upperEntries += int64(t.keys()) - points
		} else {
			lower += t.size
			lowerEntries += int64(t.keys()) - points
		}
	}
	entries := max(1, upperEntries+lowerEntries)
	share := func(n int64) int64 { return int64(float64(upper+lower) * min(1, float64(n)/float64(entries))) }
	most := upper + lower - share(min(tombstones, lowerEntries))
	least := most - share(min(upperEntries, lowerEntries))
	if ranges {
		least = min(least, upper) // a range tombstone may cover all below it
	}
	return bounds{least: max(0, least), most: max(0, most)}
}

// bytesPerRaw is what a byte of keys and values takes in the lowest of the
// tables: compression, indexes and filters included. It is 1 where there is none.
func bytesPerRaw(tables []table) float64 {
	lowest := lowestLevel(tables)
	var size, raw int64
	for _, t := range tables {
		if t.level == lowest {
			size += t.size
			raw += t.rawBytes()
		}
	}
	if raw == 0 {
		return 1
	}
	return min(1.5, float64(size)/float64(raw))
}

// piece is a run of keys that was read.
type piece struct {
	physical int64 // bytes of tables in it, dead ones too
	live     int64 // bytes of what a reader gets, before compression
}

// sample reads the regions, all of them when they fit into the budget, else a
// part of each, and weighs what a reader gets.
func (v *view) sample(ctx context.Context, rewritten []region, budget int64) (survey, error) {
	var total int64
	for _, r := range rewritten {
		total += r.bytes()
	}
	var s survey
	for _, r := range rewritten {
		after, fill, err := v.sampleRegion(ctx, r, float64(budget)/float64(max(1, total)))
		if err != nil {
			return survey{}, err
		}
		s.after = append(s.after, after)
		s.fills = append(s.fills, fill)
		s.least += after
		s.most += after
	}
	return s, nil
}

func (v *view) sampleRegion(ctx context.Context, r region, share float64) (after int64, parts []part, err error) {
	rate := bytesPerRaw(r.tables)
	if len(r.tables) == 0 { // writes in the log alone
		rate = bytesPerRaw(slices.Concat(v.levels...))
	}
	starts, limit := [][]byte{r.start}, int64(everything)
	if share < 1 {
		budget := share * float64(r.bytes())
		starts = v.starts(r, max(1, int(budget/samplePiece)))
		limit = max(1, int64(budget/rate)/int64(len(starts)))
	}
	var sum piece
	for i, start := range starts {
		var end []byte // exclusive
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		pieces, err := v.read(ctx, r, start, end, limit)
		if err != nil {
			return 0, nil, err
		}
		var here piece
		for _, p := range pieces {
			here.physical += p.physical
			here.live += p.live
		}
		for _, p := range pieces {
			weight := float64(p.physical)
			if share < 1 {
				// Each start stands for an equal part of the region.
				weight /= float64(max(1, here.physical))
			}
			parts = append(parts, part{weight: weight, fill: min(1, float64(p.live)*rate/float64(max(1, p.physical)))})
		}
		sum.physical += here.physical
		sum.live += here.live
	}
	live := float64(sum.live)
	if share < 1 && sum.physical > 0 {
		live *= max(1, float64(r.bytes())/float64(sum.physical))
	}
	if live == 0 {
		return 0, parts, nil
	}
	return int64(live*rate) + tableOverhead, parts, nil
}

// starts are keys spread over the region by the number of tables, at most limit.
func (v *view) starts(r region, limit int) [][]byte {
	limit = min(limit, sampleStarts)
	compare := v.own.compare()
	keys := make([][]byte, 0, len(r.tables))
	for _, t := range r.tables {
		keys = append(keys, t.smallest)
	}
	slices.SortFunc(keys, compare)
	keys = slices.CompactFunc(keys, func(a, b []byte) bool { return compare(a, b) == 0 })
	if len(keys) <= limit {
		return keys
	}
	starts := make([][]byte, limit)
	for i := range starts {
		starts[i] = keys[i*len(keys)/limit]
	}
	return starts
}

// blocksAtEnds is how much EstimateDiskUsage counts too much between two keys: it
// takes the blocks at both ends in full, which adds up where many tables
// overlap and the keys are near. Half a block is too much for each cut.
func (v *view) blocksAtEnds(r region, from, to []byte) int64 {
	compare := v.own.compare()
	excess := 0.0
	for _, t := range r.tables {
		if t.props.NumDataBlocks == 0 || compare(t.largest, from) < 0 || compare(t.smallest, to) > 0 {
			continue
		}
		half := float64(t.size) / float64(t.props.NumDataBlocks) / 2
		if compare(t.smallest, from) < 0 {
			excess += half
		}
		if compare(t.largest, to) > 0 {
			excess += half
		}
	}
	return int64(excess)
}

// read goes through the region's content from start on, up to the key end
// (exclusive, nil for none) or about limit bytes, whichever is first.
func (v *view) read(ctx context.Context, r region, start, end []byte, limit int64) (pieces []piece, err error) {
	compare := v.own.compare()
	it, err := v.db.NewIterWithContext(ctx, &pebbledb.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return nil, fmt.Errorf("iterate: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	from := bytes.Clone(start)
	var p piece
	var read int64
	done := func(to []byte) error {
		physical, err := v.db.EstimateDiskUsage(from, to)
		if err != nil {
			return fmt.Errorf("weigh tables: %w", err)
		}
		p.physical = int64(physical)
		if limit < everything {
			p.physical = max(0, p.physical-v.blocksAtEnds(r, from, to))
		}
		pieces = append(pieces, p)
		p, from = piece{}, append(from[:0], to...)
		return nil
	}
	n := 0
	for valid := it.First(); valid; valid = it.Next() {
		if n++; n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		key := it.Key()
		if compare(key, r.end) > 0 {
			break
		}
		value := it.LazyValue()
		weight := int64(len(key) + 8 + value.Len())
		p.live += weight
		read += weight
		if p.live >= pieceBytes {
			if err := done(key); err != nil {
				return nil, err
			}
		}
		if read >= limit {
			if p.live > 0 {
				err = done(key)
			}
			return pieces, err
		}
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	to := r.end
	if end != nil && compare(end, r.end) < 0 {
		to = end
	}
	if compare(from, to) <= 0 {
		err = done(to)
	}
	return pieces, err
}

// fillMap shows how full the tables are along the key space, in equal shares of
// their bytes. Tables that compaction leaves alone count as full.
func fillMap(all []region, s survey) []uint8 {
	var total int64
	for _, r := range all {
		total += r.bytes()
	}
	if total == 0 {
		return nil
	}
	cells := make([]uint8, min(sdk.MaxMapCells, max(1, total/(32<<10))))
	var passed int64 // bytes of the regions before the current one
	region, surveyed := 0, 0
	for i := range cells {
		middle := (int64(i)*2 + 1) * total / int64(2*len(cells))
		for region < len(all)-1 && passed+all[region].bytes() <= middle {
			passed += all[region].bytes()
			if all[region].rewritten() {
				surveyed++
			}
			region++
		}
		cells[i] = 100
		if r := all[region]; r.rewritten() {
			fill := fillAt(s.fills[surveyed], float64(middle-passed)/float64(max(1, r.bytes())))
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
