package pebble

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
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
	// joinedBytes is how much it rewrites where nothing is passed over, if no more than
	// a joinedShare of what is free.
	joinedBytes = 512 << 20
	joinedShare = 4
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
	// openTable reads a table's file by itself.
	openTable func(context.Context, engine.Table, func(*sstable.Reader) error) error
	like      *swap.Model
	blobs     bool // there are blob files
	notes     []string
	traffic   traffic
	engine.Progress

	// windows are what is compacted, in this order, and checks what was compared of
	// those that are done.
	windows  []engine.Window
	checks   []*check
	tracking atomic.Pointer[tracking] // of what is compacted at the time
	// old are the tables that there were before. The cells lie between them, and covered
	// are those of which the content was read.
	old     map[uint64]bool
	cells   *engine.Cells
	covered *engine.Cover
	// checked are the bytes of keys and values that were read beforehand.
	checked int64
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
		f, err := view.measure(ctx, view.tree(), sdk.DepthQuick, 0)
		if note := view.rewriteNote(f); err == nil && note != "" {
			result.Note += "; " + note
		}
		return result, nil
	}
	if err := c.preflight(ctx, view); err != nil {
		return result, err
	}
	if err := view.settleFilters(ctx, c.bits); err != nil {
		return result, engine.ReadError("read the filters of", c.path, err)
	}
	c.sweepLogs(view)
	c.notes, c.openTable = append(c.notes, view.notes...), view.tree().Open
	if c.like, err = swap.Like(view.options, c.hook); err == nil {
		defer c.like.Close()
		err = c.like.Try()
	}
	if err != nil {
		return result, engine.WorkError("compact", c.path, err)
	}
	view.close()

	if err := c.rewrite(ctx, view.own); err != nil {
		return result, err
	}
	before, after, err := c.verify(ctx)
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

// preflight asks for room for the largest step and for the log's content.
func (c *compaction) preflight(ctx context.Context, v *view) error {
	need, err := v.rangesNeed(c.stepBytes)
	if err != nil {
		return err
	}
	err = c.room("the largest step", need)
	var lacking *sdk.Error
	if !errors.As(err, &lacking) || !errors.Is(err, sdk.ErrNoSpace) {
		return err
	}
	lacking = lacking.WithHint("free space on the store's file system") // nothing has been done yet
	if rewrite := c.rewriteNeed(ctx, v); rewrite > 0 && rewrite < need {
		lacking = lacking.WithHint("%s, or use mode %s, which needs about %s", lacking.Hint, modeRewrite, sdk.FormatBytes(rewrite))
	}
	return lacking
}

// room is an error where less is free than what needs it.
func (c *compaction) room(what string, need int64) error {
	free, err := c.free(c.path)
	if err != nil {
		return err
	}
	if free < need {
		return sdk.Errorf(sdk.ErrNoSpace, "compact %s: %s needs %s, and %s are free",
			c.path, what, sdk.FormatBytes(need), sdk.FormatBytes(free)).
			WithHint("free space on the store's file system; what was compacted until then stays so")
	}
	return nil
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
