package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
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

// piece is a run of keys that was read.
type piece struct {
	physical int64 // bytes of tables in it, dead ones too
	live     int64 // bytes of what a reader gets, before compression
}

// sample reads the regions, all of them when they fit into the budget, else a
// part of each, and weighs what a reader gets.
func (t *Tree) sample(ctx context.Context, rewritten []Region, budget int64) (survey, error) {
	var total int64
	for _, r := range rewritten {
		total += r.Bytes()
	}
	var s survey
	for _, r := range rewritten {
		after, fill, err := t.sampleRegion(ctx, r, float64(budget)/float64(max(1, total)))
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

func (t *Tree) sampleRegion(ctx context.Context, r Region, share float64) (after int64, parts []part, err error) {
	rate := bytesPerRaw(r.Tables)
	if len(r.Tables) == 0 { // writes in the log alone
		rate = bytesPerRaw(slices.Concat(t.Levels...))
	}
	starts, limit := [][]byte{r.Start}, int64(everything)
	if share < 1 {
		budget := share * float64(r.Bytes())
		starts = t.starts(r, max(1, int(budget/samplePiece)))
		limit = max(1, int64(budget/rate)/int64(len(starts)))
	}
	var sum piece
	for i, start := range starts {
		var end []byte // exclusive
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		pieces, err := t.read(ctx, r, start, end, limit)
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
		live *= max(1, float64(r.dataBytes())/float64(sum.physical))
	}
	if live == 0 {
		return 0, parts, nil
	}
	return int64(live*rate) + tableOverhead, parts, nil
}

// dataBytes is how much of the region's tables are blocks of keys and values: that is
// what Pebble counts of a part of a table.
func (r Region) dataBytes() (n int64) {
	for _, t := range r.Tables {
		aside := int64(t.Props.IndexSize+t.Props.FilterSize) + tableOverhead
		n += max(t.Size/2, t.Size-aside) + t.Blobs
	}
	return n
}

// starts are keys spread over the region by the number of tables, at most limit.
func (t *Tree) starts(r Region, limit int) [][]byte {
	limit = min(limit, sampleStarts)
	compare := t.Comparer.Compare
	keys := make([][]byte, 0, len(r.Tables))
	for _, t := range r.Tables {
		keys = append(keys, t.Smallest)
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
func (t *Tree) blocksAtEnds(r Region, from, to []byte) int64 {
	compare := t.Comparer.Compare
	excess := 0.0
	for _, t := range r.Tables {
		if t.Props.NumDataBlocks == 0 || compare(t.Largest, from) < 0 || compare(t.Smallest, to) > 0 {
			continue
		}
		half := float64(t.Size) / float64(t.Props.NumDataBlocks) / 2
		if compare(t.Smallest, from) < 0 {
			excess += half
		}
		if compare(t.Largest, to) > 0 {
			excess += half
		}
	}
	return int64(excess)
}

// read goes through the region's content from start on, up to the key end
// (exclusive, nil for none) or about limit bytes, whichever is first.
func (t *Tree) read(ctx context.Context, r Region, start, end []byte, limit int64) (pieces []piece, err error) {
	compare := t.Comparer.Compare
	if end == nil {
		// Else it would look for a key that lives, beyond the region if need be.
		end = successor(t.Comparer, r.End)
	}
	iterate := func(from []byte) (*pebbledb.Iterator, error) {
		it, err := t.DB.NewIterWithContext(ctx, &pebbledb.IterOptions{LowerBound: from, UpperBound: end})
		if err != nil {
			return nil, fmt.Errorf("iterate: %w", err)
		}
		return it, nil
	}
	it, err := iterate(start)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	from := bytes.Clone(start)
	var p piece
	var read, renewed int64
	done := func(to []byte) error {
		physical, err := t.DB.EstimateDiskUsage(from, to)
		if err != nil {
			return fmt.Errorf("weigh tables: %w", err)
		}
		p.physical = int64(physical)
		if limit < everything {
			p.physical = max(0, p.physical-t.blocksAtEnds(r, from, to))
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
		if compare(key, r.End) > 0 {
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
			if t.Renew > 0 && read-renewed >= t.Renew {
				renewed = read
				fresh, err := iterate(from)
				if err != nil {
					return nil, err
				}
				old := it
				it = fresh
				if err := old.Close(); err != nil {
					return nil, err
				}
				if it.First(); !it.Valid() {
					break
				}
			}
		}
		if read >= limit {
			if p.live > 0 {
				err = done(it.Key())
			}
			return pieces, err
		}
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	to := r.End
	if end != nil && compare(end, r.End) < 0 {
		to = end
	}
	if compare(from, to) <= 0 {
		err = done(to)
	}
	return pieces, err
}
