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
// part of each, and weighs what a reader gets. Values that lie apart are weighed by
// their length, and not read: of those the budget counts nothing.
func (t *Tree) sample(ctx context.Context, rewritten []Region, budget int64) (survey, error) {
	var total int64
	for _, r := range rewritten {
		total += r.tableBytes()
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
	starts := [][]byte{r.Start}
	if share < 1 {
		starts = t.starts(r, max(1, int(share*float64(r.tableBytes())/samplePiece)))
	}
	var live, weighed float64
	for i, start := range starts {
		var end []byte // exclusive
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		s, err := t.readStratum(ctx, r, start, end, share, rate)
		if err != nil {
			return 0, nil, err
		}
		live += s.live
		weighed += s.physical
		parts = append(parts, s.parts...)
	}
	if share < 1 && weighed > 0 {
		live *= float64(r.dataBytes()) / weighed
	}
	if live == 0 {
		return 0, parts, nil
	}
	return int64(live*rate) + tableOverhead, parts, nil
}

// stratum is a part of a region that what was read of it stands for.
type stratum struct {
	live, physical float64 // as of a piece
	parts          []part
}

// readStratum reads the share of what lies between the keys start and end (exclusive,
// nil for the region's), from start on.
func (t *Tree) readStratum(ctx context.Context, r Region, start, end []byte, share, rate float64) (stratum, error) {
	limit := int64(everything)
	var whole int64
	if share < 1 {
		to := end
		if to == nil {
			to = r.End
		}
		var err error
		if whole, err = t.bytesBetween(r, start, to); err != nil {
			return stratum{}, err
		}
		tables := float64(r.tableBytes()) / float64(max(1, r.Bytes()))
		limit = max(samplePiece, int64(share*tables*float64(whole)))
	}
	pieces, err := t.read(ctx, r, start, end, limit)
	if err != nil {
		return stratum{}, err
	}
	var sum piece
	for _, p := range pieces {
		sum.physical += p.physical
		sum.live += p.live
	}
	s := stratum{live: float64(sum.live), physical: float64(sum.physical)}
	scale := 1.0
	if share < 1 && sum.physical > 0 {
		scale = max(1, float64(whole)/float64(sum.physical))
	}
	s.live *= scale
	s.physical *= scale
	for _, p := range pieces {
		s.parts = append(s.parts, part{
			weight: float64(p.physical) * scale,
			fill:   min(1, float64(p.live)*rate/float64(max(1, p.physical))),
		})
	}
	return s, nil
}

// tableBytes are those of the region's tables, without values that lie apart.
func (r Region) tableBytes() (n int64) {
	for _, t := range r.Tables {
		n += t.Size
	}
	return n
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

// bytesBetween is how many bytes of tables lie between two keys, blocks at the ends by half.
func (t *Tree) bytesBetween(r Region, from, to []byte) (int64, error) {
	bytes, err := t.DB.EstimateDiskUsage(from, to)
	if err != nil {
		return 0, fmt.Errorf("weigh tables: %w", err)
	}
	return max(0, int64(bytes)-t.blocksAtEnds(r, from, to)), nil
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
		half := float64(t.Bytes()) / float64(t.Props.NumDataBlocks) / 2
		if compare(t.Smallest, from) < 0 {
			excess += half
		}
		if compare(t.Largest, to) > 0 {
			excess += half
		}
	}
	return int64(excess)
}

// looksEvery is after how many keys read looks at its limit.
const looksEvery = 16

// read goes through the region's content from start on, up to the key end
// (exclusive, nil for none) or until about limit bytes of tables were read, whichever
// is first.
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
	var read, renewed int64 // of keys and values
	var blocks int64        // that iterators before this one have read, in bytes
	done := func(to []byte) error {
		var err error
		if p.physical, err = t.bytesBetween(r, from, to); err != nil {
			return err
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
				blocks += blockBytes(old)
				it = fresh
				if err := old.Close(); err != nil {
					return nil, err
				}
				if it.First(); !it.Valid() {
					break
				}
			}
		}
		if n%looksEvery == 0 && limit < everything && blocks+blockBytes(it) >= limit {
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

// blockBytes is how much of the tables an iterator has read so far, as it lies on the
// disk.
func blockBytes(it *pebbledb.Iterator) int64 { return int64(it.Stats().InternalStats.BlockBytes) }
