package engine

import (
	"context"
	"fmt"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

const (
	// columnBytes is the least that a column of the layers stands for.
	columnBytes = 32 << 10
	// maxStretches is in how many stretches, at most, a store is looked at.
	maxStretches = 256
	// maxWeighings is about how often, at most, Pebble is asked how much of a table lies
	// in a stretch, which takes it a look into the table's index.
	maxWeighings = 4096
)

// layers shows what lies in each level along the key space, in columns of equal
// shares of all tables' bytes. Levels without tables are left out.
//
// The bytes are what Pebble says of each table. How many of a column's bytes are
// live is as the survey has it, and for regions that compaction leaves alone as
// properties have it; which level they lie in is an assumption. Higher levels
// have the newer versions, so that all of them but tombstones lives first, and
// what then remains lives in the levels below.
func (t *Tree) layers(all []Region, stretches [][]stretch, s survey) []sdk.MapLayer {
	total := bytesOf(all)
	if total == 0 {
		return nil
	}
	g := newGrid(total)
	var passed int64 // bytes of the regions before the current one
	surveyed := 0
	for i, r := range all {
		bytes := r.Bytes()
		live, parts := r.liveByProperties(), []part(nil)
		if t.Rewrites(r) {
			live, parts = s.after[surveyed], s.fills[surveyed]
			surveyed++
		}
		if bytes == 0 { // writes in the log alone
			continue
		}
		g.add(float64(passed), join(stretches[i], g.width), spread(parts, float64(live), float64(bytes)))
		passed += bytes
	}
	return g.layers(t.Levels)
}

// cut is all regions in stretches.
func (t *Tree) cut(ctx context.Context, all []Region) ([][]stretch, error) {
	total := bytesOf(all)
	stretches := make([][]stretch, len(all))
	for i, r := range all {
		bytes := r.Bytes()
		if bytes == 0 {
			continue
		}
		var err error
		if stretches[i], err = t.stretches(ctx, r, int(maxStretches*bytes/total)); err != nil {
			return nil, err
		}
	}
	return stretches, nil
}

// holding is what one level has in a stretch or column, in bytes of tables.
type holding struct{ bytes, live, tombstones float64 }

// stretch is a range of keys with what each level has in it, evenly spread.
type stretch [Bottom + 1]holding

func (s *stretch) bytes() (n float64) {
	for _, h := range s {
		n += h.bytes
	}
	return n
}

func (s *stretch) add(other *stretch) {
	for level, h := range other {
		s[level].bytes += h.bytes
		s[level].live += h.live
		s[level].tombstones += h.tombstones
	}
}

// piece is a share of the stretch, of which that many bytes are live.
func (s *stretch) piece(share, live float64) stretch {
	var p stretch
	for level, h := range s {
		p[level].bytes, p[level].tombstones = h.bytes*share, h.tombstones*share
		p[level].live = max(0, min(live, p[level].bytes-p[level].tombstones))
		live -= p[level].live
	}
	// Properties do not tell where in its table a tombstone lies. Where more is
	// live than they leave room for, there are fewer.
	for level := Bottom; level >= 0 && live > 0; level-- {
		more := min(live, p[level].tombstones)
		p[level].tombstones -= more
		p[level].live += more
		live -= more
	}
	return p
}

// stretches cuts a region into at most limit, or one.
func (t *Tree) stretches(ctx context.Context, r Region, limit int) ([]stretch, error) {
	compare := t.Comparer.Compare
	bounds := r.bounds(compare, limit)
	runs, weighings := runsOf(compare, r.Tables, bounds)
	for weighings > maxWeighings && len(bounds) > 2 {
		fewer := len(bounds) - 1
		fewer = min(fewer*maxWeighings/weighings, fewer-2) // bounds may give one more
		bounds = r.bounds(compare, fewer)
		runs, weighings = runsOf(compare, r.Tables, bounds)
	}
	if len(bounds) > 2 {
		if err := t.weigh(ctx, r.Tables, bounds, runs); err != nil {
			return nil, err
		}
	}
	stretches := make([]stretch, max(1, len(bounds)-1))
	put := func(table Table, r run) {
		share := table.tombstones()
		for n, bytes := range r.scaledTo(float64(table.Bytes())) {
			h := &stretches[r.first+n][table.Level]
			h.bytes += bytes
			h.tombstones += bytes * share
		}
	}
	for i, table := range r.Tables {
		if runs[i].sum() > 0 {
			put(table, runs[i])
		}
	}
	// What has no points or is gone from the store is spread as the others are.
	for i, table := range r.Tables {
		if runs[i].sum() > 0 {
			continue
		}
		for n := range runs[i].weight {
			runs[i].weight[n] = stretches[runs[i].first+n].bytes()
		}
		put(table, runs[i])
	}
	return stretches, nil
}

// join puts a narrow stretch and a neighbour together where the levels of one are
// among those of the other. Pebble counts the blocks at both ends of a stretch in
// full, so that it says little where there are few.
func join(stretches []stretch, narrow float64) []stretch {
	var joined []stretch
	for i := range stretches {
		s := &stretches[i]
		if n := len(joined); n > 0 {
			last := &joined[n-1]
			if s.bytes() < narrow && s.within(last) || last.bytes() < narrow && last.within(s) {
				last.add(s)
				continue
			}
		}
		joined = append(joined, *s)
	}
	return joined
}

// within says whether the other has something in each level in which s has.
func (s *stretch) within(other *stretch) bool {
	for level := range s {
		if s[level].bytes > 0 && other[level].bytes == 0 {
			return false
		}
	}
	return true
}

// bounds are where the region's tables begin and end, in key order: all of them
// where they make at most limit stretches, else some that make limit or one more
// with about equally many bytes beside each.
func (r Region) bounds(compare pebbledb.Compare, limit int) [][]byte {
	type bound struct {
		key   []byte
		bytes int64
	}
	ends := make([]bound, 0, 2*len(r.Tables))
	for _, t := range r.Tables {
		ends = append(ends, bound{t.Smallest, t.Size}, bound{t.Largest, t.Size})
	}
	slices.SortFunc(ends, func(a, b bound) int { return compare(a.key, b.key) })
	distinct := ends[:0]
	for _, e := range ends {
		if n := len(distinct); n > 0 && compare(distinct[n-1].key, e.key) == 0 {
			distinct[n-1].bytes += e.bytes
		} else {
			distinct = append(distinct, e)
		}
	}
	share := int64(0)
	if len(distinct) > limit+1 {
		share = 2 * r.Bytes() / int64(max(1, limit))
	}
	var keys [][]byte
	var passed int64
	for i, e := range distinct {
		passed += e.bytes
		if i == 0 || i == len(distinct)-1 || passed >= share {
			keys, passed = append(keys, e.key), 0
		}
	}
	return keys
}

// run is the stretches that a table reaches into: which is the first of them, and
// how much of the table lies in each, in any unit.
type run struct {
	first  int
	weight []float64
}

// runsOf finds the run of each table, not yet weighed, and how much there is to
// weigh.
func runsOf(compare pebbledb.Compare, tables []Table, bounds [][]byte) (runs []run, weighings int) {
	last := max(0, len(bounds)-2)
	for _, t := range tables {
		// A key that is a bound begins a stretch.
		first, found := slices.BinarySearchFunc(bounds, t.Smallest, compare)
		if !found {
			first--
		}
		first = min(max(0, first), last)
		end, _ := slices.BinarySearchFunc(bounds, t.Largest, compare)
		end = min(max(first+1, end), last+1)
		runs = append(runs, run{first: first, weight: make([]float64, end-first)})
		if end-first > 1 {
			weighings += end - first
		}
	}
	return runs, weighings
}

// weigh fills in how much of each table lies in each stretch.
func (t *Tree) weigh(ctx context.Context, tables []Table, bounds [][]byte, runs []run) error {
	index := make(map[uint64]int, len(tables))
	for i, table := range tables {
		index[table.Number] = i
	}
	for n := range len(bounds) - 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		levels, err := t.DB.SSTables(pebbledb.WithKeyRangeFilter(bounds[n], bounds[n+1]), pebbledb.WithApproximateSpanBytes())
		if err != nil {
			return fmt.Errorf("weigh tables: %w", err)
		}
		for _, info := range slices.Concat(levels...) {
			i, ok := index[uint64(info.FileNum)]
			if !ok {
				continue
			}
			if at := n - runs[i].first; at >= 0 && at < len(runs[i].weight) {
				runs[i].weight[at] = float64(info.ApproximateSpanBytes)
			}
		}
	}
	return nil
}

func (r run) sum() (n float64) {
	for _, w := range r.weight {
		n += w
	}
	return n
}

// scaledTo gives the bytes in each stretch of the run, which are that many in all.
// Where nothing is known, they are spread evenly.
func (r run) scaledTo(bytes float64) []float64 {
	sum := r.sum()
	scaled := make([]float64, len(r.weight))
	for i, w := range r.weight {
		if sum > 0 {
			scaled[i] = bytes * w / sum
		} else {
			scaled[i] = bytes / float64(len(r.weight))
		}
	}
	return scaled
}

// tombstones is which part of the table's keys and values says that something
// was deleted, 0 to 1. A tombstone is small beside what it deletes, so that
// bytes count; of range tombstones, only the number is known.
func (t Table) tombstones() float64 {
	p := t.Props
	entries, points := float64(max(1, p.NumEntries)), float64(t.deletions())
	share := points / entries
	// Tables of old formats do not have their size.
	if p.RawPointTombstoneKeySize > 0 && t.RawBytes() > 0 {
		share = (float64(p.RawPointTombstoneKeySize) + 8*points) / float64(t.RawBytes())
	}
	return min(1, share+float64(p.NumRangeDeletions)/entries)
}

// liveByProperties is how much of a region is live that compaction leaves alone:
// what neither is a tombstone nor was needed by a snapshot alone.
func (r Region) liveByProperties() (n int64) {
	for _, t := range r.Tables {
		n += int64(float64(t.Size) * (1 - max(t.Pinned(), t.tombstones())))
	}
	return n
}

// spread gives the parts of a region their width in bytes, and adjusts how full
// they are so that they have live bytes in all.
func spread(parts []part, live, bytes float64) []part {
	weight, filled := 0.0, 0.0
	for _, p := range parts {
		weight += p.weight
		filled += p.weight * p.fill
	}
	live = min(live, bytes)
	if weight == 0 {
		return []part{{weight: bytes, fill: live / bytes}}
	}
	filled *= bytes / weight
	adjusted := make([]part, len(parts))
	for i, p := range parts {
		if live < filled {
			p.fill *= live / filled
		} else if filled < bytes {
			p.fill += (1 - p.fill) * (live - filled) / (bytes - filled)
		}
		adjusted[i] = part{weight: p.weight * bytes / weight, fill: p.fill}
	}
	return adjusted
}

// grid is what each level has in each column. All columns are of the same width.
type grid struct {
	width   float64 // in bytes
	columns []stretch
}

func newGrid(total int64) *grid {
	columns := min(sdk.MaxLayerCells, max(1, total/columnBytes))
	return &grid{width: float64(total) / float64(columns), columns: make([]stretch, columns)}
}

// add lays out a region that begins at a position in bytes. Between two cuts,
// stretch, part and column are the same.
func (g *grid) add(start float64, stretches []stretch, parts []part) {
	var stretchEnds, partEnds []float64
	end := start
	for i := range stretches {
		end += stretches[i].bytes()
		stretchEnds = append(stretchEnds, end)
	}
	cuts := append([]float64{start}, stretchEnds...)
	at := start
	for _, p := range parts {
		at += p.weight
		partEnds = append(partEnds, at)
		cuts = append(cuts, min(at, end)) // but for rounding, they end with the stretches
	}
	for n := int(start / g.width); float64(n)*g.width < end; n++ {
		cuts = append(cuts, max(start, float64(n)*g.width))
	}
	slices.Sort(cuts)
	s, p := 0, 0
	for i, to := range cuts[1:] {
		from := cuts[i]
		if to <= from {
			continue
		}
		middle := (from + to) / 2
		for s < len(stretches)-1 && stretchEnds[s] <= middle {
			s++
		}
		for p < len(parts)-1 && partEnds[p] <= middle {
			p++
		}
		here := stretches[s].piece(min(1, (to-from)/stretches[s].bytes()), parts[p].fill*(to-from))
		g.columns[min(len(g.columns)-1, int(middle/g.width))].add(&here)
	}
}

// layers rounds the grid. The cells of a layer have all of its bytes together.
func (g *grid) layers(levels [][]Table) (layers []sdk.MapLayer) {
	for level, tables := range levels {
		if len(tables) == 0 {
			continue
		}
		l := sdk.MapLayer{Name: fmt.Sprintf("L%d", level), Cells: make([]sdk.MapCell, len(g.columns))}
		for _, t := range tables {
			l.Bytes += t.Size
		}
		passed, given := 0.0, int64(0)
		for i := range g.columns {
			h := g.columns[i][level]
			passed += h.bytes
			upTo := min(l.Bytes, int64(passed+0.5))
			l.Cells[i] = h.cell(upTo - given)
			given = upTo
		}
		layers = append(layers, l)
	}
	return layers
}

// cell is the holding with its bytes rounded. Its parts are 100 percent together.
func (h holding) cell(bytes int64) sdk.MapCell {
	if bytes <= 0 || h.bytes <= 0 {
		return sdk.MapCell{Bytes: max(0, bytes)}
	}
	percent := func(part float64) uint8 { return uint8(100*min(1, part/h.bytes) + 0.5) }
	c := sdk.MapCell{Bytes: bytes, Live: percent(h.live)}
	c.Tombstones = min(percent(h.tombstones), 100-c.Live)
	c.Garbage = 100 - c.Live - c.Tombstones
	return c
}
