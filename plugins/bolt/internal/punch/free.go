package punch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// Free is what one committed state of a file does not need: runs of free
// pages, and the room to grow where there is more of it than GrowthRoom.
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

// allocSize is bbolt's DefaultAllocSize.
const allocSize = 16 << 20

// GrowthRoom is how many bytes bbolt leaves beyond the high-water mark when it
// has made a file larger: a page, and what it grows by at a time. So much is left
// as it is: the next transactions will use it.
func GrowthRoom(meta page.Meta) int64 { return int64(meta.PageSize) + allocSize }

// Checked finds what is free, and makes sure that it is: pages that the trees
// reach never count as free, whatever the freelist says. A freelist that lists
// such a page is damage, reported as *page.Error. A file without a freelist has
// free what the trees do not reach. Pages that are lost, neither reached nor on
// the freelist, are not free: whoever repairs the file may want to see them.
//
// Reached is what walk.Walk, or Reach, has returned for the same file. Nobody
// may have written to that since.
func Checked(f *os.File, file *page.File, reached *walk.Pages, c Config) (*Free, error) {
	size, err := sizeOf(f, file.Meta)
	if err != nil {
		return nil, err
	}
	free := &Free{Meta: file.Meta, size: size, minRun: c.minRun(), checked: true}
	return free, free.find(file, reached)
}

// Listed finds what the freelist says is free, for measuring. A file without
// one is walked. It reads f alone, which others may write to: where they do so
// faster than it can be read the error is ErrMoving.
func Listed(ctx context.Context, f *os.File, c Config) (*Free, error) {
	for range listedTries {
		meta, err := page.ReadMeta(f)
		if err != nil {
			return nil, err
		}
		free, err := listed(ctx, f, meta, c)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// What was read counts only if the newest meta is the same still: a page
		// that this meta leads to is not written before the next one is on disk.
		if again, metaErr := page.ReadMeta(f); metaErr == nil && again == meta {
			return free, err
		}
	}
	return nil, ErrMoving
}

// ErrMoving says that transactions were committed faster than the free pages
// could be found.
var ErrMoving = errors.New("the file is being written faster than its free pages can be found")

const listedTries = 8

func listed(ctx context.Context, f *os.File, meta page.Meta, c Config) (*Free, error) {
	size, err := sizeOf(f, meta)
	if err != nil {
		return nil, err
	}
	free := &Free{Meta: meta, size: size, minRun: c.minRun()}
	file := &page.File{R: f, Meta: meta}
	var reached *walk.Pages
	if meta.Freelist == page.NoFreelist {
		if reached, err = Reach(ctx, file); err != nil {
			return nil, err
		}
	}
	return free, free.find(file, reached)
}

// sizeOf is the size of the file, which holds all pages of the meta.
func sizeOf(f *os.File, meta page.Meta) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < meta.Bytes() {
		return 0, damage(page.ID(info.Size()/int64(meta.PageSize)),
			"lies beyond the end of the file: it has %d bytes and needs %d", info.Size(), meta.Bytes())
	}
	return info.Size(), nil
}

// Reach walks the trees and returns the pages that they take.
func Reach(ctx context.Context, file *page.File) (*walk.Pages, error) {
	return walk.Walk(file, pages{ctx})
}

// pages visits nothing but looks for the end of the context.
type pages struct{ ctx context.Context }

func (p pages) Node(*page.Node, int) error              { return p.ctx.Err() }
func (pages) Item(*page.Node, int) error                { return nil }
func (pages) Enter(*page.Node, int, *page.Bucket) error { return nil }
func (pages) Leave() error                              { return nil }

// find collects the free pages. Without a freelist reached must not be nil.
func (free *Free) find(file *page.File, reached *walk.Pages) error {
	if file.Meta.Freelist == page.NoFreelist {
		free.collect(unreached(reached, file.Meta.HighWater))
		return nil
	}
	list, err := freelist(file, reached)
	if err != nil {
		return err
	}
	free.collect(list.Each)
	return nil
}

// freelist reads the list and holds it against what the trees reach, where that
// is not nil.
func freelist(file *page.File, reached *walk.Pages) (*walk.Pages, error) {
	head, err := file.Freelist(false)
	if err != nil {
		return nil, err
	}
	first, end := file.Meta.Freelist, file.Meta.Freelist+page.ID(head.Pages)
	for id := first; reached != nil && id < end; id++ {
		if reached.Has(id) {
			return nil, damage(id, "holds the freelist and is in use by a tree")
		}
	}
	list := walk.NewPages(file.Meta.HighWater)
	return list, file.EachFree(func(id page.ID) error {
		switch {
		case reached != nil && reached.Has(id):
			return damage(id, "is in use and on the freelist")
		case id >= first && id < end:
			return damage(id, "holds the freelist and is on it")
		case !list.Add(id):
			return damage(id, "is on the freelist twice")
		}
		return nil
	})
}

// unreached hands on the pages below the high-water mark that are neither metas
// nor in the set.
func unreached(reached *walk.Pages, highWater page.ID) func(func(page.ID)) {
	return func(call func(page.ID)) {
		for id := page.ID(2); id < highWater; id++ {
			if !reached.Has(id) {
				call(id)
			}
		}
	}
}

func damage(id page.ID, format string, args ...any) error {
	return &page.Error{Page: id, Problem: fmt.Sprintf(format, args...)}
}

// collect keeps the runs that are long enough, and the tail. It is given what
// calls a function with every free page, ascending.
func (free *Free) collect(each func(func(page.ID))) {
	size := int64(free.Meta.PageSize)
	var run span
	keep := func() {
		if run.length() >= max(free.minRun, 1) {
			free.runs = append(free.runs, run)
		}
	}
	each(func(id page.ID) {
		free.Pages++
		from := free.Meta.Offset(id)
		if from != run.to {
			keep()
			run.from = from
		}
		run.to = from + size
	})
	keep()
	run = span{free.Meta.Bytes() + GrowthRoom(free.Meta), free.size}
	keep()
}

var _ walk.Visitor = pages{}
