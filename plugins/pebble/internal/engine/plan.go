package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

const (
	// cleanShare is the dead share of a step below which it may be passed over, and
	// passedShare is the part of all that is dead which those steps may hold together.
	cleanShare  = 0.1
	passedShare = 0.03
)

// Window is a region whose content is read before and after, and compared. Its key
// range reaches to the start of the next region.
type Window struct {
	Region
	Upper []byte // exclusive; nil is no bound
	// Steps are what Pebble is told to compact. There are none where the region is
	// for Pebble's own compactions, or to be forced.
	Steps []KeyRange
}

// StepBytes is the sum of the steps.
func (w Window) StepBytes() (n int64) {
	for _, step := range w.Steps {
		n += step.Bytes
	}
	return n
}

// RawBytes of the window's keys and values, dead ones too.
func (w Window) RawBytes() (n int64) {
	for _, t := range w.Tables {
		n += t.RawBytes()
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

// weighed is a step and what is known of it.
type weighed struct {
	KeyRange
	dead int64
}

func (w weighed) share() float64 { return float64(w.dead) / float64(max(1, w.Bytes)) }

// Select orders steps by how much of them is dead, most first, and takes those out
// that are not worth their writing: next to nothing of them is dead, and all of them
// together hold next to nothing of what is. It reads about budget bytes to find out.
// It returns how many bytes of tables the steps have that it took out.
func (t *Tree) Select(ctx context.Context, windows []Window, budget int64) (passed int64, err error) {
	steps := 0
	for _, w := range windows {
		steps += len(w.Steps)
	}
	if steps < 2 {
		return 0, nil
	}
	limit := max(samplePiece, budget/int64(steps))
	found := make([][]weighed, len(windows))
	var all []weighed
	var dead int64
	for i, w := range windows {
		for _, step := range w.Steps {
			s, err := t.weigh(ctx, w.Region, step, limit)
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
	least := 0.0 // share of the steps that stay
	for left := int64(passedShare * float64(dead)); len(all) > 0; {
		last := all[len(all)-1]
		if least = last.share(); least >= cleanShare || last.dead > left {
			break
		}
		left -= last.dead
		all = all[:len(all)-1]
	}
	for i := range windows {
		slices.SortStableFunc(found[i], most)
		windows[i].Steps = windows[i].Steps[:0]
		for _, s := range found[i] {
			if s.share() < least {
				passed += s.Bytes
				continue
			}
			windows[i].Steps = append(windows[i].Steps, s.KeyRange)
		}
	}
	return passed, nil
}

// weigh reads the beginning of a step. In no order but that of the keys, a step pulls
// in tables that reach over from its neighbours: its bytes are all of them.
func (t *Tree) weigh(ctx context.Context, r Region, step KeyRange, limit int64) (weighed, error) {
	part := Region{Start: step.Start, End: step.End, Tables: r.overlapping(t.Comparer.Compare, step.Start, step.End)}
	step.Bytes = r.pulledIn(t.Comparer.Compare, part.Tables)
	physical, err := t.DB.EstimateDiskUsage(step.Start, step.End)
	if err != nil {
		return weighed{}, fmt.Errorf("weigh tables: %w", err)
	}
	pieces, err := t.read(ctx, part, step.Start, nil, limit)
	if err != nil {
		return weighed{}, err
	}
	var sum piece
	for _, p := range pieces {
		sum.physical += p.physical
		sum.live += p.live
	}
	live := float64(sum.live) * bytesPerRaw(r.Tables) / float64(max(1, sum.physical))
	return weighed{step, int64(float64(physical) * max(0, 1-live))}, nil
}

// overlapping are the region's tables that have keys between two, both inclusive.
func (r Region) overlapping(compare func(a, b []byte) int, from, to []byte) (tables []Table) {
	for _, t := range r.Tables {
		if compare(t.Smallest, to) <= 0 && compare(t.Largest, from) >= 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// pulledIn is the size of the tables, and of those that they overlap.
func (r Region) pulledIn(compare func(a, b []byte) int, tables []Table) (bytes int64) {
	if len(tables) == 0 {
		return 0
	}
	from, to := tables[0].Smallest, tables[0].Largest
	for _, t := range tables[1:] {
		if compare(t.Smallest, from) < 0 {
			from = t.Smallest
		}
		if compare(t.Largest, to) > 0 {
			to = t.Largest
		}
	}
	for _, t := range r.overlapping(compare, from, to) {
		bytes += t.Bytes()
	}
	return bytes
}
