package pebble

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// check compares what a window has with what it had.
type check struct {
	// parts are what compacting the window has changed, or may have.
	parts []engine.Window
	// before is what those held; after is nil until they were read again.
	before, after *engine.Sum
	// tables are the numbers of those that lay there once all windows were done.
	tables []uint64
}

// holds is an error where the two are not the same.
func (k *check) holds(path string) error {
	before, after := k.before.Content(), k.after.Content()
	if before.Digest == after.Digest && before.Items == after.Items {
		return nil
	}
	return differenceError(path, fmt.Sprintf("other content: %d items with digest %s, before %d with %s",
		after.Items, after.Digest, before.Items, before.Digest))
}

// lie are the numbers of the tables in its parts, in order.
func (k *check) lie(compare pebbledb.Compare, levels [][]engine.Table) (numbers []uint64) {
	for _, t := range slices.Concat(levels...) {
		if slices.ContainsFunc(k.parts, func(part engine.Window) bool { return part.Overlaps(compare, t) }) {
			numbers = append(numbers, t.Number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// compareWindow reads a window again that is done and that nothing changes any more, from the
// store that is open: what differs ends the compaction before it goes any further.
func (c *compaction) compareWindow(ctx context.Context, db *pebbledb.DB, comparer *pebbledb.Comparer, k *check) error {
	levels, err := engine.ListTables(db)
	if err == nil {
		k.after, err = sumAgain(ctx, db, comparer.Compare, levels, []*check{k}, func(int64) {})
	}
	if err != nil {
		return engine.ReadError("verify", c.path, err)
	}
	return k.holds(c.path)
}

// verify opens the store as the next process will, and reads what was not compared
// yet, or has other tables since. The rest has the tables that were read; that they
// are in order is checked for all of them.
func (c *compaction) verify(ctx context.Context) (before, after engine.Content, err error) {
	reads, stop := context.WithCancel(ctx)
	defer stop()
	view, err := c.openView(reads, c.path, c.viewing())
	if err != nil {
		return before, after, err
	}
	defer view.close()
	// It cannot be interrupted, but its reads fail once their context has ended.
	levels := engine.Beside(func() error { return c.checkLevels(view, c.old) })
	before, after, err = c.compareRest(ctx, view)
	if err != nil {
		stop()
		_ = levels() // the first error counts
		return before, after, engine.ReadError("verify", c.path, err)
	}
	c.Tell("levels", 0, 0)
	err = levels()
	if ctx.Err() != nil {
		return before, after, sdk.Errorf(sdk.ErrCancelled, "verify %s: %w", c.path, ctx.Err())
	}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno): // nothing is known of the levels
		return before, after, engine.WorkError("check the levels of", c.path, err)
	case err != nil:
		return before, after, differenceError(c.path, "inconsistent levels: "+engine.FirstLine(err))
	}
	return before, after, nil
}

// compareRest returns what all windows had and have.
func (c *compaction) compareRest(ctx context.Context, view *view) (before, after engine.Content, err error) {
	compare := view.own.compare()
	all, rest := &check{before: engine.NewSum(compare, 0), after: engine.NewSum(compare, 0)}, &check{before: engine.NewSum(compare, 0)}
	var open []*check
	for _, k := range c.checks {
		all.before.Merge(k.before)
		if k.after != nil && slices.Equal(k.tables, k.lie(compare, view.levels)) {
			all.after.Merge(k.after)
			continue
		}
		rest.before.Merge(k.before)
		open = append(open, k)
	}
	total := max(1, rest.before.Content().Bytes)
	rest.after, err = sumAgain(ctx, view.db, compare, view.levels, open, func(done int64) {
		c.Tell("verify", min(done, total), total)
	})
	if err == nil {
		err = rest.holds(c.path)
	}
	if err == nil {
		err = view.events.first()
	}
	if err != nil {
		return before, after, err
	}
	all.after.Merge(rest.after)
	return all.before.Content(), all.after.Content(), nil
}

// sumAgain adds up what windows have, one half beside the other.
func sumAgain(ctx context.Context, db *pebbledb.DB, compare pebbledb.Compare, levels [][]engine.Table, checks []*check, report func(done int64)) (*engine.Sum, error) {
	var parts []engine.Window
	for _, k := range checks {
		parts = append(parts, k.parts...)
	}
	var done atomic.Int64
	sum := func(from, to []byte) (*engine.Sum, func() error) {
		s := engine.NewSum(compare, 0)
		last := int64(0)
		return s, func() error {
			for _, part := range parts {
				part, ok := part.Between(compare, from, to)
				if !ok {
					continue
				}
				err := s.AddPoints(ctx, db, part.Start, part.Upper, func(bytes int64) error {
					report(done.Add(bytes - last))
					last = bytes
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
	}
	middle := engine.Middle(compare, levels, parts)
	lower, readLower := sum(nil, middle)
	upper, readUpper := sum(middle, nil)
	wait := engine.Beside(readLower)
	var err error
	if middle != nil {
		err = readUpper()
	}
	if werr := wait(); err == nil {
		err = werr
	}
	lower.Merge(upper)
	for _, part := range parts {
		if err == nil {
			err = lower.AddRangeKeys(ctx, db, part.Start, part.Upper)
		}
	}
	return lower, err
}

// checkLevels is Pebble's own check. Where no new tables lie above others or below, there
// is no more to their order than that their keys ascend, which reading them shows, and
// that they do not overlap, which Pebble makes sure of on opening.
func checkLevels(v *view, old map[uint64]bool) error {
	if !engine.Stacked(v.own.compare(), v.levels, old) {
		return nil
	}
	return v.db.CheckLevels(nil)
}

// differenceError is for what is found too late to be undone.
func differenceError(path, what string) error {
	return sdk.Errorf(sdk.ErrInternal, "%s was compacted in place and has %s; the tables from before are gone", path, what).
		WithHint("the store is not what it was, and another compaction does not change that: stop its application, keep a copy of the directory for a report, check the machine's memory and disk, and restore the store from a backup")
}
