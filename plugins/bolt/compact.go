package bolt

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
	"github.com/wringdb/wring/sdk"
)

// Phases of a compaction, as progress names them.
const (
	phaseCheck   = "check"
	phaseCopy    = "copy"
	phaseSync    = "sync"
	phaseVerify  = "verify"
	phaseReplace = "replace"
)

// Compact implements sdk.Backend.
//
// It checks every page that can be reached, copies the content into a new file
// beside the store, syncs and verifies that, and puts it in the store's place.
// It is a no-op, and the store stays as it is, when the check foretells that
// less than four pages or less than 1/256 of the file would be given back, and
// when the new file turns out not to be smaller by at least a page.
func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	doing := "compact " + req.Store.Path
	if req.Mode != "" && req.Mode != ModeRewrite {
		return sdk.CompactResult{}, sdk.Errorf(sdk.ErrInvalidOption, "%s: there is no mode %q", doing, req.Mode).
			WithHint("the mode is: %s", ModeRewrite)
	}
	began := b.now()
	c := &compaction{
		backend: b,
		ctx:     ctx,
		fill:    fillOf(req.Options),
		meter: &meter{
			ctx: ctx, now: b.now, report: report,
			pace: pace{bytesPerSecond: req.Limits.BytesPerSecond},
		},
	}
	result, err := c.run(req.Store.Path)
	if err != nil {
		return sdk.CompactResult{}, explain(doing, err)
	}
	result.Mode = ModeRewrite
	result.Duration = b.now().Sub(began)
	return result, nil
}

// compaction is one call of Compact.
type compaction struct {
	backend *backend
	ctx     context.Context
	fill    float64
	meter   *meter

	source *source
	found  probe.Measurement
	packed sdk.Size // of the new file, once that is synced
	before *content.Digest
	after  *content.Digest
}

// errNotSmaller ends a compaction whose new file is of no use.
var errNotSmaller = errors.New("the new file is not smaller")

func (c *compaction) run(path string) (sdk.CompactResult, error) {
	var err error
	if c.source, err = c.backend.openSource(c.ctx, path); err != nil {
		return sdk.CompactResult{}, err
	}
	defer c.source.close()
	if err := c.check(); err != nil {
		return sdk.CompactResult{}, err
	}
	if reclaimable(c.found, c.source.size) == 0 {
		return c.noOp("no rewrite: it would give back next to nothing"), nil
	}
	if err := c.enoughSpace(); err != nil {
		return sdk.CompactResult{}, err
	}
	if err := c.source.openDB(c.meter.await); err != nil {
		return sdk.CompactResult{}, err
	}
	temp, err := replace.NewTemp(c.source.path, c.source.file, c.found.Meta.TxID, c.backend.random)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	defer temp.Discard()
	c.step(replace.StepTempCreated)
	if err := c.copyTo(temp); err != nil {
		return sdk.CompactResult{}, err
	}
	c.step(replace.StepWritten)
	err = c.replace(temp)
	if errors.Is(err, errNotSmaller) {
		return c.noOp("rewritten, but the new file was not smaller, so the old one was kept"), nil
	}
	if err != nil {
		return sdk.CompactResult{}, err
	}
	return c.result(), nil
}

func (c *compaction) step(s replace.Step) {
	if c.backend.step != nil {
		c.backend.step(s)
	}
}

// check reads all pages, so that bbolt will meet none that it trips over, and
// foretells the size of the new file.
func (c *compaction) check() error {
	size := func() (int64, error) { return c.source.size.TotalBytes, nil }
	meta, err := probe.Stable(c.source.file, size)
	if err != nil {
		return err
	}
	c.meter.begin(phaseCheck, "bytes", meta.Bytes())
	reader := &meteredReader{file: c.source.file, meter: c.meter}
	if c.found, err = probe.Measure(c.ctx, reader, size, probeConfig(c.fill)); err != nil {
		return err
	}
	c.meter.end()
	return nil
}

// meteredReader accounts for what is read through it.
type meteredReader struct {
	file  *os.File
	meter *meter
}

// ReadAt implements io.ReaderAt.
func (r *meteredReader) ReadAt(b []byte, off int64) (int, error) {
	if err := r.meter.add(int64(len(b)), int64(len(b)), 0); err != nil {
		return 0, err
	}
	return r.file.ReadAt(b, off)
}

// enoughSpace makes sure that the new file fits, with a tenth to spare.
func (c *compaction) enoughSpace() error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(c.source.file.Fd()), &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: c.source.path, Err: err}
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // the type differs between systems
	need := c.found.PackedBytes + c.found.PackedBytes/10
	if free >= need {
		return nil
	}
	return sdk.Errorf(sdk.ErrNoSpace, "compact %s: the new file needs %s beside it, and %s are free",
		c.source.path, sdk.FormatBytes(need), sdk.FormatBytes(free)).
		WithHint("free %s where the store lies and try again", sdk.FormatBytes(need-free))
}

// copyTo writes the content into the new file.
func (c *compaction) copyTo(temp *replace.Temp) error {
	c.meter.begin(phaseCopy, "bytes", c.found.ContentBytes)
	w, err := c.backend.write(temp.File, writer.Config{
		PageSize:   c.found.Meta.PageSize,
		Fill:       c.fill,
		NoFreelist: c.found.Meta.Freelist == page.NoFreelist,
		SizeHint:   c.found.PackedBytes,
		BatchBytes: c.batch(),
		Wrote:      func(n int64) error { return c.meter.add(0, 0, n) },
	})
	if err != nil {
		return err
	}
	defer w.Abort()
	c.before = content.NewDigest()
	if err := c.source.walk(content.Tee{c.before, meteredVisitor{c.meter}, w}); err != nil {
		return err
	}
	if c.before.Items != c.found.Items() {
		return sdk.Errorf(sdk.ErrInternal, "compact %s: bbolt finds %d items where %d were counted",
			c.source.path, c.before.Items, c.found.Items()).WithHint("nothing was changed; `bbolt check FILE` may tell more")
	}
	var size int64
	if err := contain("write "+temp.Path, func() (err error) {
		size, err = w.Finish()
		return err
	}); err != nil {
		return err
	}
	if err := c.source.endRead(); err != nil {
		return err
	}
	// Keys and values are accounted for; the rest of their pages is not yet.
	if err := c.meter.add(0, 0, max(0, size-c.meter.progress.BytesWritten)); err != nil {
		return err
	}
	c.meter.end()
	return temp.File.Truncate(size)
}

// minBatch is the least that one transaction of the writer is worth.
const minBatch = 1 << 20

// batch keeps the bursts of a limited compaction to about a second.
func (c *compaction) batch() int64 {
	rate := c.meter.pace.bytesPerSecond
	if c.backend.batch > 0 || rate == 0 {
		return c.backend.batch
	}
	return min(max(rate, minBatch), writer.MaxBatch)
}

// replace makes the new file the store.
func (c *compaction) replace(temp *replace.Temp) error {
	r := replace.Replacement{
		Path:    c.source.path,
		Old:     c.source.file,
		Temp:    temp,
		Sync:    func(context.Context) error { return c.sync(temp) },
		Verify:  func(context.Context) error { return c.verify(temp) },
		SyncDir: func(dir *os.File) error { return c.meter.finish(dir.Sync) },
		Poison:  stateOf(c.found.Meta).Poison,
		Release: c.source.release,
		Step:    c.backend.step,
	}
	replaced, err := r.Run(c.ctx)
	if err != nil && replaced {
		return sdk.Errorf(sdk.ErrInternal, "compact %s: the new file is in place, but: %w", c.source.path, err).
			WithHint("the content is complete; look at the file system's health")
	}
	if err != nil {
		return err
	}
	c.meter.end()
	return nil
}

func (c *compaction) sync(temp *replace.Temp) error {
	info, err := temp.File.Stat()
	if err != nil {
		return err
	}
	c.meter.begin(phaseSync, "bytes", info.Size())
	if err := c.meter.await(temp.File.Sync); err != nil {
		return err
	}
	c.meter.end()
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
		Pause:          c.pause(),
		Verification: &sdk.Verification{
			DigestBefore: c.before.Sum(), DigestAfter: c.after.Sum(),
			ItemsBefore: c.before.Items, ItemsAfter: c.after.Items,
		},
	}
}

// noOp is the result of a compaction that left the store as it is.
func (c *compaction) noOp(note string) sdk.CompactResult {
	return sdk.CompactResult{
		Before: c.source.size, After: c.source.size,
		Pause: c.pause(), NoOp: true, Note: note,
	}
}

// pause is how long the lock has been held.
func (c *compaction) pause() time.Duration { return c.backend.now().Sub(c.source.locked) }
