package pebble

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

const (
	// worthwhile is how many bytes of leftover files justify opening a store
	// whose tables are all in place.
	worthwhile = 64 << 10
	// stepBytes is about how much one step of a compaction rewrites: one tells
	// of its progress and can be cancelled, but writes its neighbour's first
	// table again.
	stepBytes = 32 << 20
)

// Compact implements sdk.Backend. In mode ranges it works in place: each step's result
// replaces its input by one record of Pebble's manifest, so that a crash at any point
// leaves the store with the same content. For mode rewrite see rebuild.
func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	mode, compression, err := modeOf(req.Mode, req.Options)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	d, held, err := b.lockStore(req.Store.Path)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	locked := time.Now()
	c := &compaction{
		backend: b,
		path:    d.path,
		lock:    held.lock,
		held:    held,
		bits:    req.Options.Number(optionFilterBits),
		watch:   newWatch(),

		mode: mode, compression: compression,
	}
	c.Report, c.Traffic = report, c.traffic.bytes
	// A cancelled call waits no longer; what it does then fails by itself, or must
	// not fail.
	c.traffic.wait = func(bytes int64) { _ = req.Pace.Wait(ctx, bytes) }
	result, stuck, err := apart(ctx, c.watch, c.Beat, func() (sdk.CompactResult, error) {
		result, err := c.run(ctx)
		if !c.watch.broken.Load() {
			held.release()
		}
		return result, err
	})
	if stuck {
		c.Silence()
		return sdk.CompactResult{}, held.abandon(err)
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, sdk.ErrCorrupt) {
		// What was read last, failed to be read because of the cancel.
		err = sdk.Errorf(sdk.ErrCancelled, "compact %s: %w", d.path, ctx.Err())
	}
	if err != nil {
		return sdk.CompactResult{}, err
	}
	result.Mode = mode
	result.Pause = time.Since(locked) // writers were kept out, whatever came of it
	return result, nil
}

// compaction is one call of Compact, with the store's lock held.
type compaction struct {
	*backend
	path  string
	lock  *pebbledb.Lock
	held  *holding
	bits  float64 // of filters; 0 for what the tables have
	watch *watch
	mode  string
	// compression of the tables that a rewrite writes; nil for the store's own.
	compression *sstable.CompressionProfile
	working     *workFS // of the store when it is open for writing
	blobs       bool    // there are blob files
	notes       []string
	traffic     traffic
	engine.Progress

	// windows are what is compacted, in this order, and before is what they held.
	windows []engine.Window
	before  *engine.Sum
	// raw are the bytes of keys and values in them.
	raw int64
	// total are the bytes of tables in all steps, done those in finished ones.
	total, done int64
}

func (c *compaction) run(ctx context.Context) (sdk.CompactResult, error) {
	var result sdk.CompactResult
	c.Tell("open", 0, 0)
	view, err := c.openView(ctx, c.path, c.viewing())
	if err != nil {
		return result, err
	}
	defer view.close()
	c.sweep()
	if err := c.missAttributes(ctx, view); err != nil {
		return result, err
	}
	if c.mode == modeRewrite {
		return c.rebuild(ctx, view)
	}
	result.Before = view.size()
	all := view.regions()
	if !worth(view, all) {
		result.After = result.Before
		result.NoOp = true
		result.Note = "no tables overlap, and none is thick with tombstones or with versions that only a snapshot needed"
		return result, nil
	}
	if err := c.preflight(view, all); err != nil {
		return result, err
	}
	if err := view.settleFilters(ctx, c.bits); err != nil {
		return result, engine.ReadError("read the filters of", c.path, err)
	}
	c.notes = append(c.notes, view.notes...)
	view.close()

	if err := c.rewrite(ctx, view.own); err != nil {
		return result, err
	}
	before := c.before.Content()
	after, err := c.verify(ctx, before)
	if err != nil {
		return result, err
	}
	done := directory{path: c.path}
	if err := done.list(); err != nil {
		return result, err
	}
	result.After = done.size()
	result.ReclaimedBytes = result.Before.AllocatedBytes - result.After.AllocatedBytes
	result.Verification = &sdk.Verification{
		DigestBefore: before.Digest, DigestAfter: after.Digest,
		ItemsBefore: before.Items, ItemsAfter: after.Items,
	}
	result.Note = strings.Join(c.notes, "; ")
	return result, nil
}

func (c *compaction) viewing() viewing {
	return viewing{lock: c.lock, once: true, traffic: &c.traffic, watch: c.watch}
}

// worth says whether there is anything that compaction changes.
func worth(v *view, all []engine.Region) bool {
	tree := v.tree()
	for _, r := range all {
		if tree.Rewrites(r) && len(r.Tables) > 0 {
			return true
		}
	}
	return v.leftovers(nil).Bytes() >= worthwhile
}

// preflight asks for room for the largest step and for the log's content: the
// input of a step goes as soon as its output is in place.
func (c *compaction) preflight(v *view, all []engine.Region) error {
	need := v.logBytes()
	largest := int64(0)
	for _, r := range all {
		if !r.Compactable() {
			continue
		}
		for _, step := range r.Steps(v.own.comparer(), c.stepBytes) {
			largest = max(largest, step.Bytes)
		}
	}
	return c.room("the largest step", need+engine.RoomFor(largest))
}

// room is an error where less is free than what needs it.
func (c *compaction) room(what string, need int64) error {
	usage, err := c.fs.GetDiskUsage(c.path)
	if err != nil {
		return engine.WorkError("look for free space at", c.path, err)
	}
	if free := int64(min(usage.AvailBytes, 1<<62)); free < need {
		return sdk.Errorf(sdk.ErrNoSpace, "compact %s: %s needs %s, and %s are free",
			c.path, what, sdk.FormatBytes(need), sdk.FormatBytes(free)).
			WithHint("free space on the store's file system; what was compacted until then stays so")
	}
	return nil
}

// verify reads the store as the next process will find it: the content of what was
// rewritten, and the order of all levels beside it.
func (c *compaction) verify(ctx context.Context, before engine.Content) (engine.Content, error) {
	reads, stop := context.WithCancel(ctx)
	defer stop()
	view, err := c.openView(reads, c.path, c.viewing())
	if err != nil {
		return engine.Content{}, err
	}
	defer view.close()
	// It cannot be interrupted, but its reads fail once their context has ended.
	levels := engine.Beside(func() error { return c.checkLevels(view, c.windows) })
	after, err := c.readAgain(ctx, view, max(1, before.Bytes))
	if err == nil && (after.Digest != before.Digest || after.Items != before.Items) {
		err = differenceError(c.path, fmt.Sprintf("other content: %d items with digest %s, before %d with %s",
			after.Items, after.Digest, before.Items, before.Digest))
	}
	if err != nil {
		stop()
		_ = levels() // the first error counts
		return engine.Content{}, engine.ReadError("verify", c.path, err)
	}
	c.Tell("levels", 0, 0)
	err = levels()
	if ctx.Err() != nil {
		return engine.Content{}, sdk.Errorf(sdk.ErrCancelled, "verify %s: %w", c.path, ctx.Err())
	}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno): // nothing is known of the levels
		return engine.Content{}, engine.WorkError("check the levels of", c.path, err)
	case err != nil:
		return engine.Content{}, differenceError(c.path, "inconsistent levels: "+engine.FirstLine(err))
	}
	return after, nil
}

// checkLevels is Pebble's own check. Where no tables lie above others, there is no more
// to their order than that their keys ascend, which reading them shows, and that they do
// not overlap, which Pebble makes sure of on opening.
func checkLevels(v *view, windows []engine.Window) error {
	if !engine.Stacked(v.own.compare(), v.levels, windows) {
		return nil
	}
	return v.db.CheckLevels(nil)
}

// readAgain sums up what was read before, one half beside the other.
func (c *compaction) readAgain(ctx context.Context, v *view, total int64) (engine.Content, error) {
	var done atomic.Int64
	sum := func(from, to []byte) (*engine.Sum, func() error) {
		s := engine.NewSum(v.own.compare(), 0)
		last := int64(0)
		return s, func() error {
			for _, w := range c.windows {
				w, ok := w.Between(v.own.compare(), from, to)
				if !ok {
					continue
				}
				err := s.AddPoints(ctx, v.db, w.Start, w.Upper, func(bytes int64) error {
					c.Tell("verify", min(done.Add(bytes-last), total), total)
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
	middle := engine.Middle(v.own.compare(), v.levels, c.windows)
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
	for _, w := range c.windows {
		if err == nil {
			err = lower.AddRangeKeys(ctx, v.db, w.Start, w.Upper)
		}
	}
	if err == nil {
		err = v.events.first()
	}
	if err != nil {
		return engine.Content{}, err
	}
	c.Tell("verify", total, total)
	return lower.Content(), nil
}

// missAttributes is an error where values have short attributes, and nobody has said how
// to find these.
func (c *compaction) missAttributes(ctx context.Context, v *view) error {
	if c.config.ShortAttributeExtractor != nil {
		return nil
	}
	found, err := v.tree().HasAttributes(ctx)
	if err != nil {
		return engine.ReadError("look at values of", c.path, err)
	}
	if found {
		return attributesError(c.path)
	}
	return nil
}

// attributesError is for values with short attributes, which rewriting would lose.
func attributesError(path string) error {
	return needsCode("ShortAttributeExtractor", "%s has values with short attributes, which only its application can find", path)
}

// differenceError is for what is found too late to be undone.
func differenceError(path, what string) error {
	return sdk.Errorf(sdk.ErrInternal, "%s was compacted in place and has %s; the tables from before are gone", path, what).
		WithHint("the store is not what it was, and another compaction does not change that: stop its application, keep a copy of the directory for a report, check the machine's memory and disk, and restore the store from a backup")
}
