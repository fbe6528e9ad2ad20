package punch

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Free is what one committed state of a file does not need: runs of free
// pages, and the room to grow where there is more than growthRoom of it.
type Free struct {
	Meta page.Meta
	// Pages that are free, short runs included.
	Pages int64

	size   int64 // of the file, in bytes
	minRun int64 // in bytes
	runs   []span
	// checked is set when no page of the runs can be reached.
	checked bool
}

// span is a part of a file, in bytes.
type span struct{ from, to int64 }

func (s span) length() int64 { return s.to - s.from }

// parts divides a span into pieces of at most so many bytes.
func (s span) parts(most int64) iter.Seq[span] {
	return func(yield func(span) bool) {
		for from := s.from; from < s.to; from += most {
			if !yield(span{from, min(from+most, s.to)}) {
				return
			}
		}
	}
}

// growthRoom is what bbolt makes a file larger by at a time. So much beyond the
// high-water mark is left as it is: the next transactions will use it.
const growthRoom = 16 << 20

// Checked finds what is free, and makes sure that it is: it walks the trees, so
// that no page which they need counts as free, whatever the freelist says. A
// freelist that lists such a page is damage, reported as *page.Error, as is any
// other; so is page.ErrNoMeta. A file without a freelist has free what the
// trees do not reach. Pages that are lost, neither reachable nor on the
// freelist, are not free: whoever repairs the file may want to see them.
//
// Nobody may write to the file meanwhile. Bytes are read through r, which is f
// or accounts for what it reads from f.
func Checked(ctx context.Context, f *os.File, r io.ReaderAt, c Config) (*Free, error) {
	file, size, err := open(f, r)
	if err != nil {
		return nil, err
	}
	reached, err := reach(ctx, file)
	if err != nil {
		return nil, err
	}
	free := &Free{Meta: file.Meta, size: size, minRun: c.minRun(), checked: true}
	if file.Meta.Freelist == page.NoFreelist {
		free.collect(unreached(reached, file.Meta.HighWater))
		return free, nil
	}
	list, err := freelist(file, reached)
	if err != nil {
		return nil, err
	}
	free.collect(slices.Values(list))
	return free, nil
}

// freelist reads the list and holds it against what the trees reach.
func freelist(file *page.File, reached *pageSet) ([]page.ID, error) {
	list, err := file.Freelist(true)
	if err != nil {
		return nil, err
	}
	first, end := file.Meta.Freelist, file.Meta.Freelist+page.ID(list.Pages)
	for id := first; id < end; id++ {
		if reached.has(id) {
			return nil, damage(id, "holds the freelist and is in use by a tree")
		}
	}
	for _, id := range list.IDs {
		if reached.has(id) {
			return nil, damage(id, "is in use and on the freelist")
		}
		if id >= first && id < end {
			return nil, damage(id, "holds the freelist and is on it")
		}
	}
	return list.IDs, nil
}

// unreached goes through the pages below the high-water mark that are neither
// metas nor in the set.
func unreached(reached *pageSet, highWater page.ID) iter.Seq[page.ID] {
	return func(yield func(page.ID) bool) {
		for id := page.ID(2); id < highWater; id++ {
			if !reached.has(id) && !yield(id) {
				return
			}
		}
	}
}

// Listed finds what the freelist says is free, for measuring. A file without
// one is walked. It reads f alone, which others may write to: where they do so
// faster than it can be read the error is ErrMoving.
func Listed(ctx context.Context, f *os.File, c Config) (*Free, error) {
	for range listedTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		file, size, err := open(f, f)
		if err != nil {
			return nil, err
		}
		free := &Free{Meta: file.Meta, size: size, minRun: c.minRun()}
		err = free.list(ctx, file)
		// What was read counts only if the newest meta is the same still: a page
		// that this meta leads to is not written before the next one is on disk.
		again, metaErr := page.ReadMeta(f)
		if metaErr == nil && again == file.Meta {
			return free, err
		}
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, ErrMoving
}

// ErrMoving says that transactions were committed faster than the free pages
// could be found.
var ErrMoving = errors.New("the file is being written faster than its free pages can be found")

const listedTries = 8

func (free *Free) list(ctx context.Context, file *page.File) error {
	if file.Meta.Freelist == page.NoFreelist {
		reached, err := reach(ctx, file)
		if err != nil {
			return err
		}
		free.collect(unreached(reached, file.Meta.HighWater))
		return nil
	}
	list, err := file.Freelist(true)
	if err != nil {
		return err
	}
	free.collect(slices.Values(list.IDs))
	return nil
}

// open reads the newest meta and holds it against the file's size.
func open(f *os.File, r io.ReaderAt) (*page.File, int64, error) {
	meta, err := page.ReadMeta(r)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.Size() < meta.Bytes() {
		return nil, 0, damage(page.ID(info.Size()/int64(meta.PageSize)),
			"lies beyond the end of the file: it has %d bytes and needs %d", info.Size(), meta.Bytes())
	}
	return &page.File{R: r, Meta: meta}, info.Size(), nil
}

// collect keeps the runs that are long enough, and the tail.
func (free *Free) collect(ids iter.Seq[page.ID]) {
	size := int64(free.Meta.PageSize)
	var run span
	keep := func() {
		if run.length() >= max(free.minRun, 1) {
			free.runs = append(free.runs, run)
		}
	}
	for id := range ids {
		free.Pages++
		from := free.Meta.Offset(id)
		if from != run.to {
			keep()
			run.from = from
		}
		run.to = from + size
	}
	keep()
	run = span{free.Meta.Bytes() + growthRoom, free.size}
	keep()
}
