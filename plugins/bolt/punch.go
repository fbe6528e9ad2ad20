package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
	"github.com/wringdb/wring/sdk"
)

// OptionMinRun is how much a run of free pages must hold to be punched.
const OptionMinRun = "punch_min_run"

func minRunOption() sdk.Option {
	return sdk.Option{
		Name:    OptionMinRun,
		Type:    sdk.TypeSize,
		Help:    "How much a run of free pages must hold on the disk for mode punch to give it back; less gives more back, takes longer, and leaves the file in more pieces.",
		Default: int64(punch.DefaultMinRun),
		Min:     sdk.Bound(1),
	}
}

// Phases of a compaction in mode punch, beside those of a rewrite.
const (
	phasePunchCheck = "check"
	phasePunch      = "punch"
)

// punchable is how many allocated bytes mode punch would give back of a store
// that has been measured, and that others may be writing to. Which pages are
// free is read anew; of a file without a freelist that costs a walk, so that
// unless exact is set all free pages count, however short their runs. The error
// may be of kind punch.ErrUnsupported.
func punchable(ctx context.Context, f *os.File, m probe.Measurement, minRun int64, exact bool) (int64, error) {
	if err := supportsHoles(f); err != nil {
		return 0, err
	}
	if m.Meta.Freelist == page.NoFreelist && !exact {
		return punch.AtMost(f, m.Meta, m.FreePages)
	}
	free, err := punch.Listed(ctx, f, punch.Config{MinRun: minRun})
	if errors.Is(err, punch.ErrMoving) {
		return punch.AtMost(f, m.Meta, m.FreePages)
	}
	if err != nil {
		return 0, err
	}
	return free.Punchable(f)
}

// supportsHoles asks the file system of a file, unless the file is mounted by
// itself: then only trying tells.
func supportsHoles(f *os.File) error {
	path, err := filepath.EvalSymlinks(f.Name())
	if err != nil {
		return err
	}
	var file, dir unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &file), unix.Stat(filepath.Dir(path), &dir)); err != nil {
		return err
	}
	if file.Dev != dir.Dev || errors.Is(replace.Fit(path), replace.ErrUnfit) {
		return nil
	}
	return punch.SupportedIn(filepath.Dir(path))
}

// punch gives the free pages of the source back in place. Before that it walks
// all trees, so that no page in use is taken for free, and sums up the content;
// afterwards it does so again. It is a no-op when there is no run of free pages
// to give back. What a punching that fails has given back stays given back, and
// the content is as it was.
func (c *compaction) punch() (sdk.CompactResult, error) {
	file := c.source.file
	if err := supportsHoles(file); err != nil {
		return sdk.CompactResult{}, c.punchError(err)
	}
	meta, err := probe.Stable(file, func() (int64, error) { return c.source.size.TotalBytes, nil })
	if err != nil {
		return sdk.CompactResult{}, err
	}
	hook := c.backend.hook
	sync := func() error { return hook.Do(replace.Op{Kind: replace.OpSync, Path: c.source.path}, file.Sync) }
	config := punch.Config{
		MinRun:   c.options.minRun,
		Sync:     func() error { return c.meter.Await(sync) },
		Progress: func(bytes int64) error { return c.meter.Add(bytes, 0, 0) },
	}
	if hook != nil {
		config.Before = func(offset, length int64) error {
			return hook(replace.Op{Kind: replace.OpPunch, Path: c.source.path, Offset: offset, Length: length})
		}
	}
	if meta.Freelist != page.NoFreelist {
		listed, err := punch.Listed(c.ctx, file, config)
		if err != nil {
			return sdk.CompactResult{}, c.punchError(err)
		}
		if expected, err := listed.Punchable(file); err != nil || expected == 0 {
			return c.nothingToPunch(err)
		}
	}
	var reached *walk.Pages
	if c.before, reached, err = rewrite.SumUp(file, meta, phasePunchCheck, c.meter); err != nil {
		return sdk.CompactResult{}, err
	}
	free, err := punch.Checked(file, &page.File{R: file, Meta: meta}, reached, config)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	expected, err := free.Punchable(file)
	if err != nil || expected == 0 {
		return c.nothingToPunch(err)
	}
	c.meter.Begin(phasePunch, "bytes", expected)
	punched, err := free.Punch(c.ctx, file, config)
	if err != nil {
		return sdk.CompactResult{}, c.punchError(err)
	}
	c.meter.End()
	return c.punched(meta, punched)
}

// punched reads the content anew and says what was done.
func (c *compaction) punched(meta page.Meta, punched punch.Result) (sdk.CompactResult, error) {
	if c.options.verify == VerifyFull {
		rewrite.DropCache(c.source.file)
	}
	var err error
	if c.after, _, err = rewrite.SumUp(c.source.file, meta, phaseVerify, c.meter); err != nil {
		if c.ctx.Err() != nil {
			return sdk.CompactResult{}, err
		}
		return sdk.CompactResult{}, c.broken("cannot be read any more", err)
	}
	if c.before != c.after {
		return sdk.CompactResult{}, c.broken("has other content than before",
			fmt.Errorf("%s with %d items before, %s with %d after", &c.before, c.before.Items, &c.after, c.after.Items))
	}
	info, err := c.source.file.Stat()
	if err != nil {
		return sdk.CompactResult{}, err
	}
	c.packed = sizeOf(info)
	result := c.result()
	result.Mode = ModePunch
	result.Note = fmt.Sprintf("%d holes were made where pages were free; the file keeps its size", punched.Runs)
	return result, nil
}

// broken is a store that is damaged after it was punched: never seen, but the
// words must be right if it is.
func (c *compaction) broken(how string, err error) error {
	return sdk.Errorf(sdk.ErrInternal, "compact %s: the store was punched, and %s: %v", c.source.path, how, err).
		WithHint("stop whatever uses the store, look at a copy of it with `bbolt check FILE`, and restore a backup; please report this")
}

func (c *compaction) nothingToPunch(err error) (sdk.CompactResult, error) {
	if err != nil {
		return sdk.CompactResult{}, err
	}
	result := c.noOp(fmt.Sprintf("no holes: no run of free pages holds %s on the disk", sdk.FormatBytes(c.options.minRun)))
	result.Mode = ModePunch
	return result, nil
}

func (c *compaction) punchError(err error) error {
	doing := "compact " + c.source.path
	switch {
	case errors.Is(err, punch.ErrUnsupported):
		return sdk.Errorf(sdk.ErrUnsupported, "%s: the file system cannot punch holes: %w", doing, err).
			WithHint("use mode %q, which writes a new file beside the store, or keep the store on a file system such as ext4, XFS, Btrfs or APFS", ModeRewrite)
	case errors.Is(err, punch.ErrChanged), errors.Is(err, punch.ErrMoving):
		return sdk.Errorf(sdk.ErrBusy, "%s: %w", doing, err).
			WithHint("something writes to the store without taking its lock; find it and stop it")
	case errors.Is(err, unix.ENOSPC):
		return sdk.Errorf(sdk.ErrNoSpace, "%s: %w", doing, err).
			WithHint("to make holes the file system needs a few blocks of its own; free a little space where the store lies and try again")
	}
	return err
}
