package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

// SelectSteps is from how many steps on it is worth while to Select.
const SelectSteps = 2

// NotePassed is for people, about steps that Select has taken out.
func NotePassed(bytes int64) string {
	return sdk.FormatBytes(bytes) + " of tables were passed over, where next to nothing is dead"
}

const (
	// cleanShare is the dead share of a step below which it may be passed over, and
	// passedShare is the part of all that is dead which those steps may hold together.
	cleanShare  = 0.1
	passedShare = 0.03
	// worthShare is the part of all bytes that steps may reach for it to be worth while to
	// pass over the others: done one by one, they write tables at their ends twice.
	worthShare = 0.8
	// weighShare is the part of a step that is read to find that out; of a small one it
	// is up to weighBytes, but no more than weighMost.
	weighShare = 32
	weighBytes = 512 << 10
	weighMost  = 4
	// weighLeast is the least that is read.
	weighLeast = 64 << 10
)

// Window is a region whose content is read before and after, and compared. Its key
// range reaches to the start of the next region.
type Window struct {
	Region
	Upper []byte // exclusive; nil is no bound
	// Steps are what Pebble is told to compact. There are none where the region is
	// for Pebble's own compactions, or to be forced.
	Steps []KeyRange
	// Passed is how many bytes of tables there are in steps that were passed over.
	Passed int64
}

// StepBytes is the sum of the steps.
func (w Window) StepBytes() (n int64) {
	for _, step := range w.Steps {
		n += step.Bytes
	}
	return n
}

// RawBytes of the window's keys and values, dead ones too.
func (w Window) RawBytes() int64 { return RawBytes([][]Table{w.Tables}) }

// RawBytes of all tables' keys and values, dead ones too.
func RawBytes(levels [][]Table) (n int64) {
	for _, tables := range levels {
		for _, t := range tables {
			n += t.RawBytes()
		}
	}
	return n
}

// Windows are the regions that compaction rewrites, in key order, cut into steps of
// about chunk bytes; with all set they are all regions.
func (t *Tree) Windows(chunk int64, all bool) (windows []Window) {
	regions := t.Regions()
	for i, r := range regions {
		if !all && !t.Rewrites(r) {
			continue
		}
		w := Window{Region: r}
		if i+1 < len(regions) {
			w.Upper = regions[i+1].Start
		}
		if r.Compactable() {
			w.Steps = r.Steps(t.Comparer, chunk)
		}
		windows = append(windows, w)
	}
	return windows
}

// Between is the part of the window from one key to another, which is exclusive; nil
// is no bound. It is false where there is none.
func (w Window) Between(compare pebbledb.Compare, from, to []byte) (Window, bool) {
	if from != nil && compare(w.Start, from) < 0 {
		w.Start = from
	}
	if to != nil && (w.Upper == nil || compare(w.Upper, to) > 0) {
		w.Upper = to
	}
	return w, w.Upper == nil || compare(w.Start, w.Upper) < 0
}

// Overlaps says whether the table has keys in the window, as far as its bounds tell.
func (w Window) Overlaps(compare pebbledb.Compare, t Table) bool {
	return compare(t.Largest, w.Start) >= 0 && (w.Upper == nil || compare(t.Smallest, w.Upper) < 0)
}

// inside are the tables that begin in one of the windows, in the order of their
// smallest keys.
func inside(compare pebbledb.Compare, levels [][]Table, windows []Window) (tables []Table) {
	tables = byKey(compare, levels)
	windows = slices.SortedFunc(slices.Values(windows), func(a, b Window) int { return compare(a.Start, b.Start) })
	return slices.DeleteFunc(tables, func(t Table) bool {
		for len(windows) > 0 && windows[0].Upper != nil && compare(windows[0].Upper, t.Smallest) <= 0 {
			windows = windows[1:]
		}
		return len(windows) == 0 || compare(t.Smallest, windows[0].Start) < 0
	})
}

// Middle is the key at which half of the bytes of tables in the windows is passed; nil
// where there are too few tables.
func Middle(compare pebbledb.Compare, levels [][]Table, windows []Window) []byte {
	tables := inside(compare, levels, windows)
	var ahead int64
	for _, t := range tables {
		ahead += t.Bytes()
	}
	for i := range tables[:max(1, len(tables))-1] {
		if ahead -= 2 * tables[i].Bytes(); ahead <= 0 && compare(tables[0].Smallest, tables[i+1].Smallest) < 0 {
			return tables[i+1].Smallest
		}
	}
	return nil
}

// Stacked says whether tables lie above or below others that are not among the old ones.
func Stacked(compare pebbledb.Compare, levels [][]Table, old map[uint64]bool) bool {
	tables := byKey(compare, levels)
	var every, fresh *Table // that reach furthest
	reaches := func(last *Table, t Table) bool {
		if last == nil {
			return false
		}
		c := compare(last.Largest, t.Smallest)
		return c > 0 || c == 0 && !last.LargestExclusive
	}
	further := func(last, t *Table) *Table {
		if last == nil || compare(t.Largest, last.Largest) > 0 || last.LargestExclusive && compare(t.Largest, last.Largest) == 0 {
			return t
		}
		return last
	}
	for i := range tables {
		t := &tables[i]
		if old[t.Number] {
			if reaches(fresh, *t) {
				return true
			}
		} else {
			if reaches(every, *t) {
				return true
			}
			fresh = further(fresh, t)
		}
		every = further(every, t)
	}
	return false
}

// weighed is a step and what is known of it.
type weighed struct {
	KeyRange
	physical, dead int64 // bytes between its keys
}

func (w weighed) share() float64 { return float64(w.dead) / float64(max(1, w.Bytes)) }

// Select orders steps by how much of them is dead, most first, and takes those out
// that are not worth their writing: next to nothing of them is dead, and all of them
// together hold next to nothing of what is. It reads a part of each to find out, and
// returns how many bytes of tables the steps have that it took out.
func (t *Tree) Select(ctx context.Context, windows []Window) (passed int64, err error) {
	steps := 0
	var once, least int64 // bytes that are pulled in, by all of them and by one
	for _, w := range windows {
		steps += len(w.Steps)
		once += w.StepBytes()
		for _, step := range w.Steps {
			if bytes := sumOf(w.pulledIn(t.Comparer.Compare, step)); least == 0 || bytes < least {
				least = bytes
			}
		}
	}
	if steps < 2 || float64(least) > worthShare*float64(once) {
		return 0, nil
	}
	found := make([][]weighed, len(windows))
	var all []weighed
	var dead int64
	for i, w := range windows {
		for _, step := range w.Steps {
			s, err := t.weighStep(ctx, w.Region, step)
			if err != nil {
				return 0, err
			}
			dead += s.dead
			found[i] = append(found[i], s)
		}
		all = append(all, found[i]...)
	}
	most := func(a, b weighed) int { return cmp.Compare(b.share(), a.share()) }
	slices.SortStableFunc(all, most)
	share := 0.0 // of the steps that stay, at least
	for left := int64(passedShare * float64(dead)); len(all) > 0; {
		last := all[len(all)-1]
		if share = last.share(); share >= cleanShare || last.dead > left {
			break
		}
		left -= last.dead
		all = all[:len(all)-1]
	}
	first := map[string]float64{} // the share of a window's first step
	for i := range windows {
		slices.SortStableFunc(found[i], most)
		if len(found[i]) > 0 {
			first[string(windows[i].Start)] = found[i][0].share()
		}
		windows[i].choose(t.Comparer.Compare, found[i], share)
		passed += windows[i].Passed
	}
	slices.SortStableFunc(windows, func(a, b Window) int {
		return cmp.Compare(first[string(b.Start)], first[string(a.Start)])
	})
	return passed, nil
}

// choose leaves the steps with a share that is dead, in the order in which they are
// given. Where these write next to as much as all of them, it leaves all.
func (w *Window) choose(compare pebbledb.Compare, found []weighed, share float64) {
	var steps []KeyRange
	var passed int64
	reached := map[uint64]Table{}
	for _, s := range found {
		if s.share() < share {
			passed += s.physical
			continue
		}
		steps = append(steps, s.KeyRange)
		for _, t := range w.pulledIn(compare, s.KeyRange) {
			reached[t.Number] = t
		}
	}
	writes := sumOf(slices.Collect(maps.Values(reached)))
	if passed > 0 && float64(writes) <= worthShare*float64(w.StepBytes()) {
		w.Steps, w.Passed = steps, passed
	}
}

// Join cuts windows of which nothing was passed over into steps of about chunk bytes.
func (t *Tree) Join(windows []Window, chunk int64) {
	for i, w := range windows {
		if w.Passed == 0 && len(w.Steps) > 1 {
			windows[i].Steps = w.Region.Steps(t.Comparer, chunk)
		}
	}
}

// weighStep reads a part of a step, at places that are spread over it. In no order but
// that of the keys, a step pulls in tables that reach over from its neighbours: its bytes
// are all of them.
func (t *Tree) weighStep(ctx context.Context, r Region, step KeyRange) (weighed, error) {
	step.Bytes = sumOf(r.pulledIn(t.Comparer.Compare, step))
	limit := max(weighLeast, step.Bytes/weighShare, min(weighBytes, step.Bytes/weighMost))
	s, physical, err := t.sampleStep(ctx, r, step, &meter{until: limit})
	if err != nil {
		return weighed{}, err
	}
	return weighed{step, int64(physical), max(0, int64(physical)-s.sum())}, nil
}

// overlapping are the region's tables that have keys between two, both inclusive.
func (r Region) overlapping(compare pebbledb.Compare, from, to []byte) (tables []Table) {
	for _, t := range r.Tables {
		if compare(t.Smallest, to) > 0 {
			break // they are in the order of their smallest keys
		}
		if compare(t.Largest, from) >= 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// pulledIn are the tables that a step reaches, and those that they overlap.
func (r Region) pulledIn(compare pebbledb.Compare, step KeyRange) []Table {
	from, to := step.Start, step.End
	lowest := LowestLevel(r.Tables)
	for _, t := range r.overlapping(compare, step.Start, step.End) {
		if t.Level == lowest {
			continue // it pulls nothing in
		}
		if compare(t.Smallest, from) < 0 {
			from = t.Smallest
		}
		if compare(t.Largest, to) > 0 {
			to = t.Largest
		}
	}
	return r.overlapping(compare, from, to)
}

func sumOf(tables []Table) (bytes int64) {
	for _, t := range tables {
		bytes += t.Bytes()
	}
	return bytes
}
