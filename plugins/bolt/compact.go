package bolt

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

// Phases of a compaction, as progress names them, beside those of package rewrite.
const (
	phaseSync    = "sync"
	phaseVerify  = "verify"
	phaseReplace = "replace"
)

// Compact implements sdk.Backend.
//
// In mode rewrite it copies the content into a new file beside the store, and on the way checks
// every page that can be reached and proves the new file sound and its content
// the same; then it syncs that file and puts it in the store's place.
// It is a no-op, and the store stays as it is, when a sample foretells that
// next to nothing would be given back, and when the new file turns out not to be
// smaller by at least a page. Mode punch gives free pages back in place; auto
// takes that where there is no room for a new file.
func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	doing := "compact " + req.Store.Path
	if err := checkMode(doing, req.Mode); err != nil {
		return sdk.CompactResult{}, err
	}
	began := b.now()
	c := &compaction{
		backend: b,
		ctx:     ctx,
		mode:    req.Mode,
		options: optionsOf(req.Options),
		meter:   rewrite.NewMeter(ctx, b.now, req.Pace, report),
	}
	result, err := c.run(req.Store.Path)
	if err != nil {
		return sdk.CompactResult{}, fault.Explain(doing, err)
	}
	result.Duration = b.now().Sub(began)
	return result, nil
}

// compaction is one call of Compact.
type compaction struct {
	backend *backend
	ctx     context.Context
	mode    string // as asked for
	options options
	meter   *rewrite.Meter

	source *source
	found  probe.Measurement
	packed sdk.Size // of the new file, once that is synced
	before content.Sum
	after  content.Sum
}

func (c *compaction) run(path string) (sdk.CompactResult, error) {
	var err error
	if c.source, err = c.backend.openSource(c.ctx, path); err != nil {
		return sdk.CompactResult{}, err
	}
	defer c.source.close()
	if c.mode == ModePunch {
		return c.punch()
	}
	room, err := c.measure()
	if err != nil {
		return sdk.CompactResult{}, err
	}
	if reclaimable(c.found, c.source.size) == 0 {
		return c.noOp("no rewrite: it would give back next to nothing"), nil
	}
	choice, err := choose(c.source.path, c.mode, room)
	switch {
	case err != nil:
		return sdk.CompactResult{}, err
	case choice.lacking != nil:
		return sdk.CompactResult{}, choice.lacking
	case choice.mode == ModePunch:
		result, err := c.punch()
		if err != nil {
			return sdk.CompactResult{}, err
		}
		result.Note = choice.why + "; " + result.Note
		return result, nil
	}
	return c.rewrite()
}

// measure finds out whether a rewrite pays and what room there is for it. Where
// free pages alone show that it does, and there is room even for the largest
// file that it may make, the trees need not be sampled: whoever asked for the
// compaction did so a moment ago.
func (c *compaction) measure() (room, error) {
	size := func() (int64, error) { return c.source.size.TotalBytes, nil }
	config := probeConfig(c.options.fill)
	for _, config.Depth = range []probe.Depth{probe.Quick, probe.Sampled} {
		var err error
		if c.found, err = probe.Measure(c.ctx, c.source.file, size, config); err != nil {
			return room{}, err
		}
		if c.found.SampledNodes == 0 {
			// All pages in use may be full, and become less so.
			c.found.PackedBytes = int64(float64(c.found.PackedBytes) / c.options.fill)
		}
		found, err := roomFor(c.ctx, c.source.file, c.found, c.options)
		if err != nil || c.found.SampledNodes > 0 ||
			c.options.fill >= leastForesight && reclaimable(c.found, c.source.size) > 0 && found.free >= found.need() {
			return found, err
		}
	}
	return room{}, errors.New("a sample has no nodes") // the root is one
}

// leastForesight is the fill from which on a bound for the size of the new file
// is near it: below, large entries have pages for themselves.
const leastForesight = 0.5

// rewrite puts a new file with the same content in the store's place.
func (c *compaction) rewrite() (sdk.CompactResult, error) {
	temp, err := replace.NewTemp(c.source.path, c.source.file, c.found.Meta.TxID, c.backend.random, c.backend.hook)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	defer temp.Discard()
	copying := c.copyTo(temp)
	if c.before, c.after, err = copying.Run(); err == nil {
		err = c.replace(copying)
	}
	if errors.Is(err, rewrite.ErrNotSmaller) {
		return c.noOp("rewritten, but the new file was not smaller, so the old one was kept"), nil
	}
	if err != nil {
		return sdk.CompactResult{}, err
	}
	return c.result(), nil
}

func (c *compaction) copyTo(temp *replace.Temp) *rewrite.Copy {
	meta := c.found.Meta
	return &rewrite.Copy{
		Source: c.source.file, Meta: meta, TreeBytes: c.found.TreePages() * int64(meta.PageSize),
		Temp: temp, TxID: meta.TxID + 1, Fill: c.options.fill, NoFreelist: meta.Freelist == page.NoFreelist,
		Most: c.source.size.TotalBytes, Meter: c.meter,
	}
}

// replace makes the new file the store.
func (c *compaction) replace(copied *rewrite.Copy) error {
	temp := copied.Temp
	r := replace.Replacement{
		Path:    c.source.path,
		Old:     c.source.file,
		Temp:    temp,
		Sync:    func(context.Context) error { return c.sync(temp) },
		Verify:  func(context.Context) error { return c.verify(copied) },
		SyncDir: func(dir *os.File) error { return c.meter.Finish(dir.Sync) },
		Poison:  rewrite.Poison(c.found.Meta),
		Release: func() error { return c.source.release(c.backend.now) },
		Hook:    c.backend.hook,
	}
	replaced, err := r.Run(c.ctx)
	if err != nil && replaced {
		return sdk.Errorf(sdk.ErrInternal, "compact %s: the new file is in place, but: %w", c.source.path, err).
			WithHint("the content is complete; look at the file system's health")
	}
	if err != nil {
		return err
	}
	c.meter.End()
	return nil
}

func (c *compaction) sync(temp *replace.Temp) error {
	info, err := temp.File.Stat()
	if err != nil {
		return err
	}
	c.meter.Begin(phaseSync, "bytes", info.Size())
	if err := c.meter.Await(temp.Sync); err != nil {
		return err
	}
	c.meter.End()
	return nil
}

// verify holds the new file against the old one, and with the option reads it
// once more, from the disk.
func (c *compaction) verify(copied *rewrite.Copy) error {
	info, err := copied.Temp.File.Stat()
	if err != nil {
		return err
	}
	c.packed = sizeOf(info)
	if c.packed.AllocatedBytes > c.source.size.AllocatedBytes-int64(c.found.Meta.PageSize) {
		return rewrite.ErrNotSmaller
	}
	if c.options.verify == VerifyFull {
		if c.after, err = copied.ReadBack(); err != nil {
			return err
		}
	}
	if err := rewrite.Same(c.source.path, c.before, c.after); err != nil {
		return err
	}
	c.meter.Begin(phaseReplace, "files", 1)
	return nil
}

// result tells the size that the new file had when it was put in place: the
// path is the application's again, which may have written to it already, or
// moved it away.
func (c *compaction) result() sdk.CompactResult {
	return sdk.CompactResult{
		Before:         c.source.size,
		After:          c.packed,
		ReclaimedBytes: c.source.size.AllocatedBytes - c.packed.AllocatedBytes,
		Mode:           ModeRewrite,
		Pause:          c.pause(),
		Verification: &sdk.Verification{
			DigestBefore: c.before.String(), DigestAfter: c.after.String(),
			ItemsBefore: c.before.Items, ItemsAfter: c.after.Items,
		},
	}
}

// noOp is the result of a compaction that left the store as it is.
func (c *compaction) noOp(note string) sdk.CompactResult {
	return sdk.CompactResult{
		Before: c.source.size, After: c.source.size,
		Mode: ModeRewrite, Pause: c.pause(), NoOp: true, Note: note,
	}
}

// pause is how long the lock has been held.
func (c *compaction) pause() time.Duration {
	end := c.source.released
	if end.IsZero() {
		end = c.backend.now()
	}
	return end.Sub(c.source.locked)
}
