package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

// DefaultMaxPause is how long writers are held up at most, unless told otherwise.
const DefaultMaxPause = 100 * time.Millisecond

// defaultFill leaves a tenth of each page free, so that the next writes do not
// split all of them.
const defaultFill = 0.9

// CompactOptions say how to compact. The zero value has the defaults.
type CompactOptions struct {
	// Mode is bolt.ModeAuto, ModeRewrite or ModePunch; empty for auto.
	Mode string
	// MaxPause is how long writers may be held up at a time. The last round is
	// given up and another one made when it would take longer, by how long the
	// rounds before have taken to commit and to sync: only one that is slower than
	// those, such as for a disk that others keep busy, can exceed it.
	MaxPause time.Duration
	// FillPercent is how full the pages of the new file become, 0.1 to 1.
	FillPercent float64
	// VerifyFull reads the copy back from the disk, and all of the store once more
	// before the last round, instead of trusting what the system has in memory and
	// what the rounds say of themselves.
	VerifyFull bool
	// MinRun is how many bytes a run of free pages must hold for mode punch to give
	// it back; 0 for the backend's default.
	MinRun int64
	// Pace limits the rate of reads and writes; nil means no limit. The last
	// round, in which writers wait, does not keep to it.
	Pace *sdk.Pace
	// Report is told of progress; may be nil.
	Report func(sdk.Progress)
}

// Compact gives dead space back while the store is in use. One compaction runs
// at a time: a second one is refused with sdk.ErrBusy. When ctx ends, or the
// store is closed, it cleans up and returns sdk.ErrCancelled. Whatever its error,
// the store goes on as it was.
//
// The result's Before is the old file as it was replaced, which has grown by what was
// written meanwhile. Its Pause is how long writers were held up in all, also where there is
// an error.
func (db *DB) Compact(ctx context.Context, o CompactOptions) (sdk.CompactResult, error) {
	doing := "compact " + db.file
	select {
	case db.compact <- struct{}{}:
		defer func() { <-db.compact }()
	default:
		if err := db.isClosed(); err != nil {
			return sdk.CompactResult{}, db.closedError(doing)
		}
		return sdk.CompactResult{}, sdk.Errorf(sdk.ErrBusy, "%s: it is being compacted", doing).WithHint("wait for that, or cancel it")
	}
	if db.isClosed() != nil {
		return sdk.CompactResult{}, db.closedError(doing)
	}
	if db.IsReadOnly() {
		return sdk.CompactResult{}, sdk.Errorf(sdk.ErrUnsupported, "%s: it is open for reading only: %w", doing, berrors.ErrDatabaseReadOnly).
			WithHint("compact it where it is written to")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-db.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	result, err := db.compactNow(ctx, o.withDefaults())
	if err != nil && db.isClosed() != nil && ctx.Err() != nil {
		err = fmt.Errorf("the store is being closed: %w", context.Canceled)
	}
	return result, fault.Explain(doing, err)
}

func (o CompactOptions) withDefaults() CompactOptions {
	if o.MaxPause <= 0 {
		o.MaxPause = DefaultMaxPause
	}
	if o.FillPercent == 0 {
		o.FillPercent = defaultFill
	}
	o.FillPercent = max(0.1, min(1, o.FillPercent))
	if o.Report == nil {
		o.Report = func(sdk.Progress) {}
	}
	return o
}

func (db *DB) isClosed() error {
	select {
	case <-db.quit:
		return berrors.ErrDatabaseNotOpen
	default:
		return nil
	}
}

func (db *DB) closedError(doing string) error {
	return sdk.Errorf(sdk.ErrNotFound, "%s: %w", doing, berrors.ErrDatabaseNotOpen).WithHint("the application has closed the store")
}

// attempts is how often a copy is begun anew that would have held writers up.
const attempts = 8

func (db *DB) compactNow(ctx context.Context, o CompactOptions) (sdk.CompactResult, error) {
	began := time.Now()
	path, err := filepath.EvalSymlinks(db.file)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	kept := db.sweep(ctx, path)
	if errors.Is(kept, replace.ErrInvalid) || ctx.Err() != nil {
		return sdk.CompactResult{}, kept
	}
	result, err := db.compactSwept(ctx, path, o)
	result.Duration = time.Since(began)
	if err == nil && kept != nil {
		result.Note = join(result.Note, kept.Error())
	}
	return result, err
}

// compactSwept compacts the store at a path that has been resolved.
func (db *DB) compactSwept(ctx context.Context, path string, o CompactOptions) (sdk.CompactResult, error) {
	foreseen, err := db.fragmentation(ctx, sdk.DepthSampled, o.Mode, o.FillPercent)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	if foreseen.Obstacle != nil {
		return sdk.CompactResult{}, foreseen.Obstacle
	}
	size := sdk.Size{TotalBytes: foreseen.TotalBytes, AllocatedBytes: foreseen.AllocatedBytes}
	if foreseen.Mode == bolt.ModePunch {
		result, err := db.punch(ctx, path, size, o)
		if err == nil {
			result.Note = join(foreseen.Note, result.Note)
		}
		return result, err
	}
	noOp := func(note string) sdk.CompactResult {
		return sdk.CompactResult{Before: size, After: size, Mode: bolt.ModeRewrite, NoOp: true, Note: note}
	}
	if foreseen.ReclaimableBytes == 0 {
		return noOp("no rewrite: it would give back next to nothing"), nil
	}
	var grown, pause = int64(0), time.Duration(0)
	for attempt := 1; ; attempt++ {
		c := &compaction{
			db: db, old: db.current.Load(), path: path, options: o, size: size,
			treeBytes: int64(foreseen.Metrics["tree_pages"] * foreseen.Metrics["page_size_bytes"]),
			packed:    foreseen.AllocatedBytes - foreseen.ReclaimableBytes,
			pause:     pause,
		}
		result, err := c.run(ctx)
		grown += c.grown
		pause, size = c.pause, c.size
		switch {
		case errors.Is(err, rewrite.ErrNotSmaller):
			result, err = noOp("rewritten, but the new file was not smaller, so the old one was kept"), nil
		case errors.Is(err, errLost) && attempt < attempts:
			if !errors.Is(err, errHeadroom) {
				continue
			}
			if err = c.old.outgrown(ctx, c.watcher); err == nil {
				continue
			}
		case errors.Is(err, errLost):
			err = sdk.Errorf(sdk.ErrBusy, "compact %s: tried %d times, and each time %w", db.file, attempts, err).
				WithHint("compact it when less is written and the machine is less busy, or open the store with a larger InitialMmapSize")
		}
		result.Pause = pause
		if grown > growthWorthTelling {
			result.Note = join(result.Note, fmt.Sprintf("the old file grew by %s meanwhile, as the copy kept its pages", sdk.FormatBytes(grown)))
		}
		return result, err
	}
}

// growthWorthTelling of the old file, in bytes.
const growthWorthTelling = 1 << 20

func join(sentences ...string) string {
	var all string
	for _, s := range sentences {
		switch {
		case all == "":
			all = s
		case s != "":
			all += "; " + s
		}
	}
	return all
}

// fragmentation measures the file, which needs no lock.
func (db *DB) fragmentation(ctx context.Context, depth sdk.Depth, mode string, fill float64) (sdk.Fragmentation, error) {
	return bolt.New().Fragmentation(ctx, sdk.FragmentationRequest{
		Store: sdk.Store{Path: db.file}, Depth: depth, Mode: mode, Options: sdk.Options{bolt.OptionFill: fill},
	})
}

// Fragmentation measures how much a compaction would give back, from a sample of
// the file and without holding anybody up.
func (db *DB) Fragmentation(ctx context.Context) (sdk.Fragmentation, error) {
	if db.isClosed() != nil {
		return sdk.Fragmentation{}, db.closedError("measure " + db.file)
	}
	return db.fragmentation(ctx, sdk.DepthSampled, "", defaultFill)
}

// sweep removes what a compaction of this store that died left beside it. Its
// error is a file that is kept, since it may have writes that the store lacks.
func (db *DB) sweep(ctx context.Context, path string) error {
	sweeper, ok := bolt.New().(sdk.Sweeper)
	if !ok {
		return errors.New("the backend does not sweep")
	}
	_, err := sweeper.Sweep(ctx, sdk.Store{Path: path})
	return err
}

// sweepBefore sweeps before the store is opened. What is kept is no reason not to
// open it; it matters where the store itself cannot be opened.
func (db *DB) sweepBefore() error {
	if db.options.ReadOnly {
		return nil
	}
	err := db.sweep(context.Background(), db.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// openNext opens the new file as the generation to come. It has the store's name
// already: what bbolt calls it by is what the application sees.
func (c *compaction) openNext() (*bbolt.DB, error) {
	o := c.db.options
	o.NoSync, o.NoGrowSync = true, true // the last round syncs all at once
	o.NoFreelistSync, o.MmapFlags, o.MaxSize, o.Mlock = c.db.NoFreelistSync, c.db.MmapFlags, c.db.MaxSize, c.db.Mlock
	o.InitialMmapSize = max(o.InitialMmapSize, roomToGrow(max(c.size.TotalBytes, c.base.meta.Bytes())))
	c.mapped = mappedBytes(int64(o.InitialMmapSize))
	o.Timeout = time.Second // it is locked by us
	given, first := o.OpenFile, true
	if given == nil {
		given = os.OpenFile
	}
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		if !first {
			return given(name, flag, mode)
		}
		first = false
		return c.temp.Dup(c.db.path)
	}
	return bbolt.Open(c.db.path, c.db.mode, &o)
}
