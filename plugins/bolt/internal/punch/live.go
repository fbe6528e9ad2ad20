package punch

import (
	"context"
	"errors"
	"os"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// ErrNoList says that a file has no freelist: without a walk nobody knows what
// is free.
var ErrNoList = errors.New("the file has no freelist, as it is written with NoFreelistSync")

// Slices punches a file that its owner goes on writing to, a slice at a time.
type Slices struct {
	file   *os.File
	config Config
	runs   []span
	result Result
}

// Slices begins with what is free now and was checked.
func (free *Free) Slices(f *os.File, c Config) (*Slices, error) {
	if !free.checked {
		return nil, errors.New("punch holes: the free pages were not checked")
	}
	if free.Meta.Freelist == page.NoFreelist {
		return nil, ErrNoList
	}
	found, err := allocated(f, free.size, free.runs, free.minRun)
	if err != nil {
		return nil, err
	}
	if c.hole == nil {
		c.hole = hole
	}
	return &Slices{file: f, config: c, runs: found.punch}, nil
}

// Result of all slices so far, but for what the file system gave back.
func (s *Slices) Result() Result { return s.result }

// Punch makes holes for as long as more says so, where the freelist still has
// the pages, and returns whether anything is left to do. What is free by then and
// was not in the beginning is left.
//
// The caller keeps everybody from writing, has synced the file since the last
// transaction, and knows that no reader is left to whom a page on the freelist
// matters.
func (s *Slices) Punch(ctx context.Context, more func() bool) (left bool, err error) {
	meta, err := page.ReadMeta(s.file)
	if err != nil {
		return true, err
	}
	if meta.Freelist == page.NoFreelist {
		return true, ErrNoList
	}
	list, err := freelist(&page.File{R: s.file, Meta: meta}, nil)
	if err != nil {
		return true, err
	}
	size := int64(meta.PageSize)
	free := func(at int64) bool {
		if at < meta.Bytes() {
			return list.Has(page.ID(at / size))
		}
		return at >= meta.Bytes()+GrowthRoom(meta)
	}
	p := &puncher{ctx: ctx, file: s.file, config: s.config}
	defer func() {
		s.result.Runs += p.result.Runs
		s.result.Bytes += p.result.Bytes
	}()
	for len(s.runs) > 0 && more() {
		// What is left of the run comes first in the next slice.
		run := &s.runs[0]
		for run.from < run.to && !free(run.from) {
			run.from += size
		}
		part := span{run.from, run.from}
		for part.to < run.to && part.length() < maxCall && free(part.to) {
			part.to = min(part.to+size, run.to)
		}
		if part.length() >= s.config.minRun() || part.length() > 0 && part.to == run.to {
			if err := p.run(part); err != nil {
				return true, err
			}
			p.result.Runs++
		}
		if run.from = part.to; run.from >= run.to {
			s.runs = s.runs[1:]
		}
	}
	return len(s.runs) > 0, nil
}
