// Package probe measures how much of a bbolt file is dead, by reading alone and
// without the file's lock, and foretells how large it will be once rewritten.
package probe

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// Depth is how much is read.
type Depth int

const (
	// Quick reads the metas and the length of the freelist.
	Quick Depth = iota
	// Sampled reads up to SampleBytes of each height of the trees, which is
	// all of a small file.
	Sampled
	// Exact reads every page that can be reached.
	Exact
)

// SampleBytes of pages are read when sampling, and the freelist, which is a part
// of 1/512 of the file at most.
const SampleBytes = 16 << 20

// minSample is how many pages are read at least, however large they are or
// often a writer has been in the way.
const minSample = 32

// Config of a measurement.
type Config struct {
	Depth Depth
	// Fill is how full the rewritten pages will be, 0.1 to 1.
	Fill float64
	// SamplePages is about how many pages are read; 0 for SampleBytes.
	SamplePages int
	// Picture asks for Measurement.Map.
	Picture bool
}

// Measurement of one committed state of a file.
type Measurement struct {
	Tally
	Meta page.Meta
	// FreePages are free or wait for a read transaction to end: the file does
	// not tell them apart. FreelistPages hold their list.
	FreePages, FreelistPages int64
	// LostPages are neither free nor reachable; known to Exact alone.
	LostPages int64
	// SampledNodes were read; Whole is set when no node was left out. Both
	// are zero when no tree was read (Quick).
	SampledNodes int64
	Whole        bool
	// PackedBytes is the size that a rewritten file is expected to have.
	PackedBytes int64
	// Map is how full equal parts of the file below the high-water mark are,
	// in percent; nil where that is not known.
	Map []uint8
	// BytesRead of the file, in tries in vain too.
	BytesRead int64
	// Retries were needed since a writer committed in between.
	Retries int
}

// ErrMoving says that transactions were committed faster than the file could be
// read.
var ErrMoving = errors.New("the file is being written faster than it can be measured")

// errMoved: a transaction was committed during the reading.
var errMoved = errors.New("a transaction was committed")

// How often a measurement is tried while a writer commits: more often when
// each try is small.
const (
	exactTries   = 4
	sampledTries = 200
)

// A freelist longer than shortList is read for the sake of a picture by a sample
// alone, and no longer once longListTries have been in vain.
const (
	shortList     = 1 << 16 // pages: half a MiB of list
	longListTries = 3
)

// Measure reads r, of the given size, while others may write to it.
//
// What was read counts only if the newest meta is still the same afterwards: a
// page that this meta leads to is not written again before the next one is on
// disk. Else it reads anew, a smaller sample each time, and gives up with
// ErrMoving.
// Damage is reported as *page.Error or page.ErrNoMeta.
func Measure(ctx context.Context, r io.ReaderAt, size func() (int64, error), c Config) (Measurement, error) {
	tries := sampledTries
	if c.Depth == Exact {
		tries = exactTries
	}
	metered := &meter{ReaderAt: r}
	r = metered
	for try := range tries {
		if err := ctx.Err(); err != nil {
			return Measurement{}, err
		}
		meta, err := Stable(r, size)
		if err != nil {
			return Measurement{}, err
		}
		m, err := measure(ctx, r, meta, c, try)
		if err == nil || isDamage(err) {
			// Damage that was seen while a writer was at work may be none.
			if again, metaErr := page.ReadMeta(r); metaErr == nil && again == meta {
				m.Retries, m.BytesRead = try, metered.bytes
				return m, err
			}
			err = errMoved
		}
		if !errors.Is(err, errMoved) {
			return Measurement{}, err
		}
	}
	return Measurement{}, ErrMoving
}

// Stable reads the newest meta and holds it against the file's size.
func Stable(r io.ReaderAt, size func() (int64, error)) (page.Meta, error) {
	meta, err := page.ReadMeta(r)
	for wait := 0; wait < 3 && errors.Is(err, page.ErrNoMeta); wait++ {
		// A meta that is being written now may be seen half done.
		time.Sleep(time.Millisecond)
		meta, err = page.ReadMeta(r)
	}
	if err != nil {
		return page.Meta{}, err
	}
	n, err := size()
	if err != nil {
		return page.Meta{}, err
	}
	if n < meta.Bytes() {
		return page.Meta{}, &page.Error{Page: page.ID(n / int64(meta.PageSize)), Problem: truncated(n, meta)}
	}
	return meta, nil
}

func isDamage(err error) bool {
	var damage *page.Error
	return errors.As(err, &damage)
}

// measure reads what one meta leads to.
func measure(ctx context.Context, r io.ReaderAt, meta page.Meta, c Config, try int) (Measurement, error) {
	m := Measurement{Meta: meta}
	file := &page.File{R: &watcher{ReaderAt: r, ctx: ctx, meta: meta}, Meta: meta}
	var list page.Freelist
	if meta.Freelist != page.NoFreelist {
		var err error
		if list, err = file.Freelist(false); err != nil {
			return m, err
		}
		m.FreePages, m.FreelistPages = list.Count, int64(list.Pages)
	}
	var p *picture
	short := list.Count <= shortList
	if c.Picture && (short || c.Depth == Exact || c.Depth == Sampled && try < longListTries) {
		p = newPicture(meta.HighWater)
	}
	limit := c.limit(meta.PageSize) >> min(try, 16)
	limit = max(limit, minSample)
	switch {
	case c.Depth == Quick && meta.Freelist != page.NoFreelist:
		if err := m.quick(file, p); err != nil {
			return m, err
		}
	case c.Depth == Exact || m.mostInUse() <= int64(limit):
		if err := m.walk(file, c, p); err != nil {
			return m, err
		}
	default:
		if err := m.sample(file, c, p, limit); err != nil {
			return m, err
		}
	}
	m.predict()
	return m, nil
}

// walkable is how many times the pages of a sample are walked where nothing tells how
// many are in use: many of them are free, and what a sample of many small buckets
// has missed would not be noticed.
const walkable = 8

// mostInUse is how many pages a walk would have to read, at the most, and without a
// freelist as many as a walk of that many is worth.
func (m *Measurement) mostInUse() int64 {
	if m.Meta.Freelist == page.NoFreelist {
		return int64(m.Meta.HighWater) / walkable
	}
	return int64(m.Meta.HighWater) - m.FreePages
}

func (c Config) limit(pageSize int) int {
	if c.SamplePages > 0 {
		return c.SamplePages
	}
	return SampleBytes / pageSize
}

// quick takes all pages in use for full.
func (m *Measurement) quick(file *page.File, p *picture) error {
	m.LeafPages = int64(m.Meta.HighWater) - 2 - m.FreePages - m.FreelistPages
	m.PackedPages = m.LeafPages
	m.UsedBytes = m.LeafPages * int64(m.Meta.PageSize)
	return m.show(file, p)
}

// show completes a picture by what the freelist says.
func (m *Measurement) show(file *page.File, p *picture) error {
	if p == nil {
		return nil
	}
	p.takeAll()
	if err := file.EachFree(func(id page.ID) error { p.give(id); return nil }); err != nil {
		return err
	}
	m.Map = p.percent()
	return nil
}

// walk reads all trees.
func (m *Measurement) walk(file *page.File, c Config, p *picture) error {
	count := newCounter(file.Meta, c.Fill, p)
	reached, err := walk.Walk(file, count)
	if err != nil {
		return err
	}
	m.Tally = count.finish()
	m.Whole, m.SampledNodes = true, count.nodes
	unreached := int64(m.Meta.HighWater) - 2 - reached.Count() - m.FreelistPages
	if m.Meta.Freelist == page.NoFreelist {
		m.FreePages = unreached
	} else {
		m.LostPages = unreached - m.FreePages
		if err := walk.CheckFree(file, reached); err != nil {
			return err
		}
	}
	if p != nil {
		reached.Each(func(id page.ID) { p.take(id, 1) })
		m.take(p)
		m.Map = p.percent()
	}
	return nil
}

// take marks the pages that are neither free nor part of a tree.
func (m *Measurement) take(p *picture) {
	p.take(0, 2)
	if m.Meta.Freelist != page.NoFreelist {
		p.take(m.Meta.Freelist, int(m.FreelistPages))
	}
}

// sample reads a part of the trees and makes it agree with the number of pages
// in use, where the freelist tells that.
func (m *Measurement) sample(file *page.File, c Config, p *picture, limit int) error {
	inUse := int64(m.Meta.HighWater) - 2 - m.FreePages - m.FreelistPages
	known := m.Meta.Freelist != page.NoFreelist
	s := newSampler(file, c.Fill, limit, p)
	if known {
		s.inUse = float64(max(0, inUse))
	}
	if err := s.all(); err != nil {
		return err
	}
	found, err := s.fit()
	if err != nil {
		return err
	}
	if pages := found.pages(); !known && pages > float64(inUse) {
		found.scale(float64(inUse) / pages)
	}
	m.Tally, m.SampledNodes, m.Whole = found.tally(s.depth), s.sampled, s.whole
	if !known {
		m.FreePages = inUse - m.TreePages()
		return nil
	}
	if m.Whole {
		m.LostPages = inUse - m.TreePages()
	}
	return m.show(file, p)
}

// predict fills in PackedBytes.
func (m *Measurement) predict() {
	head := int64(3) // metas and freelist
	if m.Meta.Freelist == page.NoFreelist {
		head--
	}
	m.PackedBytes = (head + m.PackedPages) * int64(m.Meta.PageSize)
}
