package engine

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

const (
	// pieceBytes is how much of a region's content makes one piece of the map.
	pieceBytes = 512 << 10
	// everything is a limit that is never reached.
	everything = 1 << 62
	// tableOverhead is what a table has beside its blocks: properties and footer.
	tableOverhead = 1 << 10
)

// survey is what the rewritten regions will weigh once they are compacted.
type survey struct {
	after []int64 // for each region, in bytes of tables
	// least and most bound the sum; both are the sum where all content was read.
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
	to       []byte // where it ends, and the next one begins
	physical int64  // bytes of keys and values in tables, dead ones too
	live     int64  // bytes of what a reader gets, before compression
}

// sample reads the regions, all of them when they fit into the budget, else a
// part of each, and weighs what a reader gets. Values that lie apart are weighed by
// their length, and not read: of those the budget counts nothing.
func (t *Tree) sample(ctx context.Context, rewritten []Region, m *meter) (survey, error) {
	var total int64
	for _, r := range rewritten {
		total += r.tableBytes()
	}
	if total > m.left() {
		return t.samplePart(ctx, rewritten, m)
	}
	var s survey
	for _, r := range rewritten {
		pieces, _, err := t.read(ctx, r, reading{from: r.Start})
		if err != nil {
			return survey{}, err
		}
		rate := t.rate(r)
		var live float64
		var parts []part
		for _, p := range pieces {
			live += float64(p.live)
			parts = append(parts, p.part(rate))
		}
		s.add(weightOf(live, rate), parts)
	}
	s.least, s.most = s.sum(), s.sum()
	if len(slices.Concat(t.Levels...)) == 0 {
		s.least = 0 // nothing tells how well it is compressed
	}
	return s, nil
}

// add is of the next region.
func (s *survey) add(after int64, parts []part) {
	s.after = append(s.after, after)
	s.fills = append(s.fills, parts)
}

func (s *survey) sum() (n int64) {
	for _, after := range s.after {
		n += after
	}
	return n
}

// rate is what a byte of the region's keys and values will take.
func (t *Tree) rate(r Region) float64 {
	if len(r.Tables) == 0 { // writes in the log alone
		return bytesPerRaw(slices.Concat(t.Levels...))
	}
	return bytesPerRaw(r.Tables)
}

// weightOf tables with so much of keys and values in them.
func weightOf(live, rate float64) int64 {
	if live <= 0 {
		return 0
	}
	return int64(live*rate) + tableOverhead
}

func (p piece) part(rate float64) part {
	return part{weight: float64(p.physical), fill: min(1, float64(p.live)*rate/float64(max(1, p.physical)))}
}

// tableBytes are those of the region's tables, without values that lie apart.
func (r Region) tableBytes() (n int64) {
	for _, t := range r.Tables {
		n += t.Size
	}
	return n
}

// withBlobs is how much the region has for so many bytes of its tables.
func (r Region) withBlobs(bytes int64) int64 {
	return int64(float64(bytes) * float64(r.Bytes()) / float64(max(1, r.tableBytes())))
}

// dataBytes is how much of the region's tables are blocks of keys and values: that is
// what Pebble counts of a part of a table.
func (r Region) dataBytes() (n int64) {
	for _, t := range r.Tables {
		n += t.dataBytes()
	}
	return n
}

// dataBytes are of a table: Pebble takes values that lie apart to be spread over all of
// its file.
func (t Table) dataBytes() int64 {
	data := min(t.Size, int64(t.Props.DataSize+t.Props.ValueBlocksSize))
	return data + int64(float64(t.Blobs)*float64(data)/float64(max(1, t.Size)))
}

// bytesBetween is how many bytes of keys and values tables have between two keys,
// blocks at the ends by half.
func (t *Tree) bytesBetween(r Region, from, to []byte) (bytes, off float64, err error) {
	whole, err := t.DB.EstimateDiskUsage(from, to)
	if err != nil {
		return 0, 0, fmt.Errorf("weigh tables: %w", err)
	}
	excess, off := t.excess(r, from, to)
	return max(0, float64(whole)-excess), off, nil
}

// excess is how much EstimateDiskUsage counts too much between two keys: of tables
// that lie between them it takes the indexes too, and of others the blocks at both ends
// in full, which adds up where many tables overlap and the keys are near. Half a block
// is too much for each cut, with off as the standard deviation of all.
func (t *Tree) excess(r Region, from, to []byte) (excess, off float64) {
	compare := t.Comparer.Compare
	variance := 0.0
	for _, t := range r.Tables {
		if compare(t.Smallest, to) > 0 {
			break // they are in the order of their smallest keys
		}
		if compare(t.Largest, from) < 0 {
			continue
		}
		begins, ends := compare(t.Smallest, from) >= 0, compare(t.Largest, to) <= 0
		if begins && ends {
			excess += float64(t.Bytes() - t.dataBytes())
			continue
		}
		half := t.block() / 2
		if !begins {
			excess += half
			variance += half * half / 3
		}
		if !ends {
			excess += half
			variance += half * half / 3
		}
	}
	return excess, math.Sqrt(variance)
}

// block is how many bytes a block of the table has, with the values that lie apart.
func (t Table) block() float64 {
	if t.Props.NumDataBlocks == 0 {
		return 0
	}
	return float64(t.dataBytes()) / float64(t.Props.NumDataBlocks)
}

const (
	// looksEvery is after how many keys, and looksBytes after how many bytes of them,
	// read looks at its limit.
	looksEvery = 16
	looksBytes = 4 << 10
)

// reading is what is read of a region.
type reading struct {
	from []byte
	to   []byte // exclusive; nil for the region's end
	// limit is how many bytes of tables are read, about; 0 for no limit. It is reached
	// when a block is begun, so that it goes on over some more keys and values.
	limit, over int64
	// stops are keys in order, at which it may end where nothing lives.
	stops [][]byte
	// block has from for its separator: it ends there. 0 for none.
	block float64
}

// weightAt is how many bytes of key and value an iterator stands at, as properties
// count them.
func weightAt(it *pebbledb.Iterator) int64 {
	value := it.LazyValue()
	return int64(len(it.Key()) + 8 + value.Len())
}

// walk is what an iterator has come across, dead ones too.
type walk struct{ bytes, points float64 }

func walkOf(it *pebbledb.Iterator) walk {
	stats := it.Stats().InternalStats
	return walk{
		bytes:  float64(stats.KeyBytes + stats.ValueBytes + stats.SeparatedPointValue.ValueBytes + 8*stats.PointCount),
		points: float64(stats.PointCount),
	}
}

// rates are how many bytes of tables what an iterator comes across stands for: a byte of
// it, or a point where values lie in blob files, of which it has the addresses only. They
// are 0 where that does not tell: it passes over some versions that only a snapshot
// needed, and comes across writes in the log.
func (r Region) rates() (rates walk) {
	var raw, points, blobs int64
	for _, t := range r.Tables {
		raw += t.RawBytes()
		points += int64(t.Keys())
		if blobs += t.Blobs; t.Props.SnapshotPinnedKeys > 0 {
			return walk{}
		}
	}
	switch {
	case r.Pending || raw == 0 || points == 0:
		return walk{}
	case blobs > 0:
		return walk{points: float64(r.dataBytes()) / float64(points)}
	default:
		return walk{bytes: float64(r.dataBytes()) / float64(raw)}
	}
}

func (r Region) rangeDeleted() bool {
	return slices.ContainsFunc(r.Tables, func(t Table) bool { return t.Props.NumRangeDeletions > 0 })
}

// meanEntry is how many bytes a key and its value have.
func (r Region) meanEntry() int64 {
	var raw, entries int64
	for _, t := range r.Tables {
		raw += t.RawBytes()
		entries += int64(t.Props.NumEntries)
	}
	return raw / max(1, entries)
}

// strange is from how many standard deviations on what an iterator came across is taken
// not to be just what tables have: it skips what a range tombstone deletes, and reads
// what is only in memory.
const strange = 3

// read goes through the region's content. It returns how many bytes of blocks it has
// read, too.
func (t *Tree) read(ctx context.Context, r Region, what reading) (pieces []piece, blocks int64, err error) {
	compare := t.Comparer.Compare
	upper, size := what.to, int64(pieceBytes)
	if upper == nil {
		// Else it would look for a key that lives, beyond the region if need be.
		upper = successor(t.Comparer, r.End)
	}
	if what.limit > 0 {
		size = min(size, max(looksBytes, r.withBlobs(what.limit)/4))
	}
	iterate := func(from []byte) (*pebbledb.Iterator, error) {
		it, err := t.DB.NewIterWithContext(ctx, &pebbledb.IterOptions{LowerBound: from, UpperBound: upper})
		if err != nil {
			return nil, fmt.Errorf("iterate: %w", err)
		}
		return it, nil
	}
	it, err := iterate(what.from)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		blocks += blockBytes(it)
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	from := bytes.Clone(what.from)
	var p piece
	var read, renewed, looked int64 // of keys and values
	var rates walk
	if what.limit > 0 {
		rates = r.rates()
	}
	seen := t.Pending != nil && !r.rangeDeleted() // all that there is
	block := what.block
	var walked walk // until from
	// behind is the weight of a key behind the end, at which the iterator stands.
	done := func(to []byte, behind int64) error {
		physical, off, err := t.bytesBetween(r, from, to)
		if err != nil {
			return err
		}
		physical = max(0, physical-block/2)
		now := walkOf(it)
		if behind > 0 {
			now.bytes, now.points = now.bytes-float64(behind), now.points-1
		}
		came := rates.bytes*(now.bytes-walked.bytes) + rates.points*(now.points-walked.points)
		if rates != (walk{}) && (seen || math.Abs(came-physical) <= strange*off) {
			physical = came
		}
		walked, block = now, 0
		p.physical = int64(physical)
		p.to = bytes.Clone(to)
		pieces = append(pieces, p)
		p, from = piece{}, p.to
		return nil
	}
	full := func() bool { return what.limit > 0 && blocks+blockBytes(it) >= what.limit }
	ends := math.Inf(1) // once so much was come across
	enough := func() bool {
		if math.IsInf(ends, 1) && full() {
			ends = walkOf(it).bytes + float64(what.over)
		}
		return walkOf(it).bytes >= ends
	}
	stops := what.stops
	next := func(state func(limit []byte) pebbledb.IterValidityState) (pebbledb.IterValidityState, []byte) {
		if len(stops) == 0 {
			return state(nil), nil
		}
		return state(stops[0]), stops[0]
	}
	n := 0
	first := func(limit []byte) pebbledb.IterValidityState { return it.SeekGEWithLimit(what.from, limit) }
	for at, stop := next(first); at != pebbledb.IterExhausted; at, stop = next(it.NextWithLimit) {
		if n++; n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return nil, 0, err
			}
		}
		if at == pebbledb.IterAtLimit {
			if stops = stops[1:]; compare(stop, r.End) > 0 {
				break
			}
			if full() {
				return pieces, blocks, done(stop, r.meanEntry()) // it stands behind the stop
			}
			continue
		}
		key := it.Key()
		if compare(key, r.End) > 0 {
			break
		}
		for len(stops) > 0 && compare(stops[0], key) <= 0 {
			stops = stops[1:]
		}
		if n%looksEvery == 0 || looked >= looksBytes || !math.IsInf(ends, 1) {
			if looked = 0; enough() {
				return pieces, blocks, done(key, weightAt(it))
			}
		}
		if p.live >= size {
			if err := done(key, weightAt(it)); err != nil {
				return nil, 0, err
			}
			if t.Renew > 0 && read-renewed >= t.Renew {
				renewed = read
				fresh, err := iterate(from)
				if err != nil {
					return nil, 0, err
				}
				old := it
				blocks += blockBytes(old)
				it, walked = fresh, walk{}
				if err := old.Close(); err != nil {
					return nil, 0, err
				}
				if !it.First() {
					break
				}
			}
		}
		weight := weightAt(it)
		p.live += weight
		read += weight
		looked += weight
	}
	if err := it.Error(); err != nil {
		return nil, 0, err
	}
	to := r.End
	if what.to != nil && compare(what.to, r.End) < 0 {
		to = what.to
	}
	if compare(from, to) <= 0 {
		err = done(to, 0)
	}
	return pieces, blocks, err
}

// blockBytes is how much of the tables an iterator has read so far, as it lies on the
// disk.
func blockBytes(it *pebbledb.Iterator) int64 { return int64(it.Stats().InternalStats.BlockBytes) }
