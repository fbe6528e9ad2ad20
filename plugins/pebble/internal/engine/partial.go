package engine

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"math"
	"math/bits"
	"slices"
)

const (
	// sampleStarts is at how many places content is read, at most, where not all is.
	sampleStarts = 512
	// sampleBytes is the least that is worth reading at one place, and sampleBlocks
	// is how many blocks of each of the tables there, if a sampleShare of the budget
	// has them: those at both ends are read in vain.
	sampleBytes  = 16 << 10
	sampleBlocks = 2
	sampleShare  = 16
	// insideShare is for which part of all tables it takes one, and insideBytes is how
	// large it has to be otherwise, to be read from within too. The insideBudget'th part of
	// the budget is for that. No more than the insideApart'th are places to be apart.
	insideShare  = 32
	insideBytes  = 1 << 20
	insideBudget = 8
	insideApart  = 64
)

// meter says how much may be read yet.
type meter struct {
	bytes func() int64 // of files that were read so far; may be nil
	own   int64        // instead of it
	until int64
}

// begin gives it a budget.
func (m *meter) begin(budget int64) { m.until = max(budget, m.spent()+budget/2) }

func (m *meter) spent() int64 {
	if m.bytes == nil {
		return m.own
	}
	return m.bytes()
}

func (m *meter) left() int64 { return max(0, m.until-m.spent()) }

// place is where reading may begin.
type place struct {
	region int
	index  int // in the region's keys
	at     float64
}

// excerpt is what was read of a region at one place.
type excerpt struct {
	reading
	pieces     []piece
	head, tail edge
	// begins and ends are how many bytes of keys and values the region has before.
	begins, ends float64
}

// edge is what is near one end of an excerpt.
type edge struct{ live, physical float64 }

func (e edge) density() float64 { return e.live / max(1, e.physical) }

// sampler reads parts of regions.
type sampler struct {
	*Tree
	*meter
	regions []Region
	keys    [][][]byte  // of each region, in order: where reading may begin
	blocks  [][]float64 // of each key: the bytes of the block whose separator it is, or 0
	found   [][]excerpt // of each region, in order
	sizes   []float64   // of each region: the bytes of keys and values in tables
	most    int         // of places where reading begins
	turns   int         // places that were read
	turn    float64
}

// samplePart reads regions at places that are spread over their bytes, as many as it
// may, and takes what lies between two places for a mixture of what lives at them.
func (t *Tree) samplePart(ctx context.Context, regions []Region, m *meter) (survey, error) {
	s := &sampler{Tree: t, meter: m, regions: regions, found: make([][]excerpt, len(regions))}
	for _, r := range regions {
		s.sizes = append(s.sizes, float64(r.dataBytes()))
	}
	return s.sample(ctx)
}

// sampleStep is samplePart of what a region has between two keys, to which tables may
// reach over. It returns how many bytes of keys and values tables have there, too.
func (t *Tree) sampleStep(ctx context.Context, r Region, step KeyRange, m *meter) (s survey, physical float64, err error) {
	r = Region{Start: step.Start, End: step.End, Tables: r.overlapping(t.Comparer.Compare, step.Start, step.End), Pending: r.Pending}
	if physical, _, err = t.bytesBetween(r, r.Start, r.End); err != nil {
		return s, 0, err
	}
	one := &sampler{Tree: t, meter: m, regions: []Region{r}, found: make([][]excerpt, 1), sizes: []float64{physical}}
	s, err = one.sample(ctx)
	return s, physical, err
}

func (s *sampler) sample(ctx context.Context) (survey, error) {
	places, total, err := s.places(ctx)
	if err != nil {
		return survey{}, err
	}
	if err := s.beyondTables(ctx); err != nil {
		return survey{}, err
	}
	share := s.left()
	s.most = min(sampleStarts, max(1, len(places)))
	for i := uint32(0); i < 4*sampleStarts; i++ {
		// Each next one lies in the widest gap between those before it.
		position := float64(bits.Reverse32(i)) / (1 << 32) * total
		n, _ := slices.BinarySearchFunc(places, position, func(p place, position float64) int { return cmp.Compare(p.at, position) })
		n = min(n, len(places)-1)
		more, err := s.readAt(ctx, places[n], share)
		if err != nil {
			return survey{}, err
		}
		if !more {
			break
		}
	}
	return s.survey(), nil
}

// places are in order, and total is the bytes of all regions.
func (s *sampler) places(ctx context.Context) (places []place, total float64, err error) {
	inside, err := s.inside(ctx)
	if err != nil {
		return nil, 0, err
	}
	compare := s.Comparer.Compare
	for i, r := range s.regions {
		type mark struct {
			key   []byte
			bytes float64 // that have passed by then
			block float64 // that ends there, if any
			last  bool    // of its table: nothing is to be read from there on
		}
		marks := []mark{{key: r.Start}}
		for _, table := range r.Tables {
			keys := inside[table.Number]
			part := float64(table.Bytes()) / float64(len(keys)+1)
			marks = append(marks, mark{key: table.Smallest})
			for _, key := range keys {
				marks = append(marks, mark{key: key, bytes: part, block: table.block()})
			}
			marks = append(marks, mark{key: table.Largest, bytes: part, last: true})
		}
		slices.SortFunc(marks, func(a, b mark) int { return compare(a.key, b.key) })
		var keys [][]byte
		var blocks []float64
		for _, m := range marks {
			if compare(m.key, r.Start) < 0 || compare(m.key, r.End) > 0 {
				continue // a table reaches over
			}
			total += m.bytes
			if !m.last && (len(keys) == 0 || compare(keys[len(keys)-1], m.key) < 0) {
				places = append(places, place{region: i, index: len(keys), at: total})
				keys, blocks = append(keys, m.key), append(blocks, m.block)
			}
		}
		s.keys, s.blocks = append(s.keys, keys), append(s.blocks, blocks)
	}
	return places, total, nil
}

// inside are the keys inside of tables that are large among all.
func (s *sampler) inside(ctx context.Context) (map[uint64][][]byte, error) {
	inside := map[uint64][][]byte{}
	if s.Open == nil {
		return inside, nil
	}
	var tables []Table
	var total int64
	for _, r := range s.regions {
		tables = append(tables, r.Tables...)
		total += r.Bytes()
	}
	slices.SortStableFunc(tables, func(a, b Table) int { return cmp.Compare(b.Size, a.Size) })
	budget := s.left()
	left := budget / insideBudget
	for _, table := range tables {
		if table.Size < min(total/insideShare, insideBytes) || len(tables) > 2*sampleStarts {
			break
		}
		cost := int64(openBytes + table.Props.IndexSize)
		all := true
		if top := int64(table.Props.TopLevelIndexSize); top > 0 {
			// Where nothing lives, reading can only end at such a key.
			apart := table.Size / int64(max(1, table.Props.IndexPartitions))
			if all = apart > budget/insideApart && cost <= left; !all {
				cost = openBytes + top
			}
		}
		if left -= cost; left < 0 {
			break
		}
		keys, err := s.keysInside(ctx, table, all)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // the iterators will see what has become of it
			}
			return nil, err
		}
		inside[table.Number] = keys
		s.own += cost
	}
	return inside, nil
}

// beyondTables reads what regions have in the log alone, before and behind all
// tables: it is in memory.
func (s *sampler) beyondTables(ctx context.Context) error {
	compare := s.Comparer.Compare
	for i, r := range s.regions {
		if !r.Pending {
			continue
		}
		what := []reading{{from: r.Start}}
		if len(r.Tables) > 0 {
			largest := r.Tables[0].Largest
			for _, table := range r.Tables {
				if compare(table.Largest, largest) > 0 {
					largest = table.Largest
				}
			}
			what = []reading{{from: r.Start, to: r.Tables[0].Smallest}, {from: largest}}
		}
		for _, part := range what {
			if part.to != nil && compare(part.from, part.to) >= 0 {
				continue
			}
			if err := s.take(ctx, i, part, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// readAt reads at a place unless that was read already. It is false where the budget,
// of which a share was for all, has come to its end.
func (s *sampler) readAt(ctx context.Context, at place, share int64) (bool, error) {
	compare := s.Comparer.Compare
	r, key, found := s.regions[at.region], s.keys[at.region][at.index], s.found[at.region]
	next, same := slices.BinarySearchFunc(found, key, func(e excerpt, key []byte) int { return compare(e.from, key) })
	if same || next > 0 && compare(key, found[next-1].to) < 0 {
		return true, nil
	}
	what := reading{from: key, stops: s.keys[at.region][at.index+1:], block: s.blocks[at.region][at.index]}
	if next < len(found) {
		what.to = found[next].from
	}
	var blocks, raw float64 // of the tables at the place, one of each
	near := key
	if len(what.stops) > 0 {
		near = what.stops[0]
	}
	for _, table := range r.overlapping(compare, key, near) {
		if n := float64(table.Props.NumDataBlocks); n > 0 {
			blocks += float64(table.Size) / n
			raw += float64(table.RawBytes()) / n
		}
	}
	least := max(sampleBytes, min(int64(sampleBlocks*blocks), share/sampleShare))
	if s.regions[at.region].rates() == (walk{}) {
		s.turn += math.Phi - 1
		_, fraction := math.Modf(s.turn)
		what.over = int64(fraction * raw)
	}
	what.limit = int64(blocks) + max(least, share/int64(s.most))
	if left := s.left(); s.turns == 0 {
		what.limit = max(1, min(what.limit, left)) // without any, nothing would be known
	} else if left < what.limit {
		return false, nil
	}
	s.turns++
	return true, s.take(ctx, at.region, what, r.withBlobs(what.limit))
}

// take reads, and keeps what it finds in order.
func (s *sampler) take(ctx context.Context, region int, what reading, near int64) error {
	pieces, blocks, err := s.read(ctx, s.regions[region], what)
	s.own += blocks
	if err != nil {
		return err
	}
	e := excerpt{reading: what, pieces: pieces}
	r := s.regions[region]
	if len(pieces) > 0 {
		e.to = pieces[len(pieces)-1].to
	} else if e.to == nil {
		e.to = r.End
	}
	// What that takes of indexes is in memory now.
	if e.begins, err = s.between(region, r.Start, e.from); err == nil {
		e.ends, err = s.between(region, r.Start, e.to)
	}
	if err != nil {
		return err
	}
	if r.rates() == (walk{}) {
		// The fewer cuts, the fewer blocks that are guessed at.
		whole, err := s.between(region, e.from, e.to)
		if err != nil {
			return err
		}
		rescale(pieces, whole)
	}
	e.head = edgeOf(slices.Values(pieces), near)
	e.tail = edgeOf(func(yield func(piece) bool) {
		for i := len(pieces) - 1; i >= 0 && yield(pieces[i]); i-- {
		}
	}, near)
	compare := s.Comparer.Compare
	at, _ := slices.BinarySearchFunc(s.found[region], what.from, func(e excerpt, key []byte) int { return compare(e.from, key) })
	s.found[region] = slices.Insert(s.found[region], at, e)
	return nil
}

// between is bytesBetween two keys of which one may be a separator: the block before
// that is not cut.
func (s *sampler) between(region int, from, to []byte) (float64, error) {
	bytes, _, err := s.bytesBetween(s.regions[region], from, to)
	return max(0, bytes-s.blockAt(region, from)/2+s.blockAt(region, to)/2), err
}

// blockAt is the size of the block whose separator a key is, or 0.
func (s *sampler) blockAt(region int, key []byte) float64 {
	if at, ok := slices.BinarySearchFunc(s.keys[region], key, s.Comparer.Compare); ok {
		return s.blocks[region][at]
	}
	return 0
}

// rescale makes the pieces have so many physical bytes in all.
func rescale(pieces []piece, physical float64) {
	var sum int64
	for _, p := range pieces {
		sum += p.physical
	}
	for i := range pieces {
		if sum > 0 {
			pieces[i].physical = int64(float64(pieces[i].physical) * max(0, physical) / float64(sum))
		}
	}
}

// edgeOf is the first physical bytes of pieces, or a little more.
func edgeOf(pieces iter.Seq[piece], near int64) (e edge) {
	for p := range pieces {
		if e.physical > 0 && p.physical > 2*near {
			break // it reaches over a stretch that was passed over without being read
		}
		e.live += float64(p.live)
		if e.physical += float64(p.physical); e.physical >= float64(near) {
			break
		}
	}
	return e
}

// gap is what was not read between two places.
type gap struct {
	region   int
	part     int // where it stands in the region's parts
	physical float64
	// before and behind are next to it; with nothing physical, there is nothing known.
	before, behind edge
}

// survey puts together what was read and what lies between.
func (s *sampler) survey() survey {
	var gaps []gap
	parts := make([][]part, len(s.regions)) // with what lives in place of how full they are
	var last edge
	for i := range s.regions {
		from := 0.0
		until := func(begins float64, behind edge) {
			gaps = append(gaps, gap{region: i, part: len(parts[i]), physical: max(0, begins-from), before: last, behind: behind})
			parts[i] = append(parts[i], part{})
		}
		for _, e := range s.found[i] {
			until(e.begins, e.head)
			for _, p := range e.pieces {
				parts[i] = append(parts[i], part{weight: float64(p.physical), fill: float64(p.live)})
			}
			last, from = e.tail, e.ends
		}
		until(s.sizes[i], edge{})
	}
	// A gap at the end of a region goes by what comes next.
	var next edge
	for n := len(gaps) - 1; n >= 0; n-- {
		if g := &gaps[n]; g.behind.physical == 0 {
			g.behind = next
		} else {
			next = g.behind
		}
	}
	return s.fill(gaps, parts)
}
