package pebble

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

const (
	// settleEvery is how often an idle Pebble is looked at.
	settleEvery = 20 * time.Millisecond
	// idleLimit is how long Pebble may do nothing about tables it should rewrite.
	idleLimit = 2 * time.Second
	// deadBlobs is which part of the blob files may be dead values: each of them is
	// rewritten whole, however little that gives back.
	deadBlobs = 0.01
	// never is a threshold that nothing reaches.
	never = 1 << 30
)

// rewrite compacts what overlaps, step by step and with nothing else going on.
// Tables that are thick with tombstones in the lowest level are for Pebble's own
// compactions alone, which retry for ever when they fail: they get an opening of
// the store to themselves.
func (c *compaction) rewrite(ctx context.Context, own *ownOptions) error {
	unsettled := false
	err := c.open(ctx, own, false, func(db *pebbledb.DB, _ *events) error {
		c.blobs = db.Metrics().BlobFiles.LiveCount > 0
		err := c.compactRanges(ctx, db, own)
		if err == nil {
			unsettled, err = leftToPebble(db)
		}
		if err == nil && unsettled {
			err = c.coverThick(ctx, db)
		}
		return err
	})
	if err != nil || !unsettled {
		return err
	}
	track := newTracking(false)
	c.tracking.Store(track)
	defer c.tracking.Store(nil)
	err = c.open(ctx, own, true, func(db *pebbledb.DB, events *events) error {
		return c.settleDown(ctx, db, events)
	})
	c.noteUnseen(track)
	return err
}

// noteUnseen is for people, about compactions that reached what was not read before. A
// step of ours does not, and Pebble has no reason to, but it decides by itself.
func (c *compaction) noteUnseen(track *tracking) {
	for _, span := range track.left() {
		if !c.covered.Has(span.Start, span.End) {
			c.notes = append(c.notes, "Pebble compacted more than it was told to, and the content of that was not compared")
			return
		}
	}
}

// coverThick reads what tables have that are thick with tombstones, for Pebble to compact,
// unless that was read.
func (c *compaction) coverThick(ctx context.Context, db *pebbledb.DB) error {
	levels, err := engine.ReadLevels(db)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, t := range engine.ThickTables(levels) {
		parts, _ := c.covered.Take(t.Smallest, t.Largest)
		if len(parts) == 0 {
			continue
		}
		k := &check{parts: parts}
		k.before, err = sumAgain(ctx, db, c.covered.Compare, levels, []*check{k}, func(int64) { c.Tell("check", 0, 0) })
		if err != nil {
			return engine.ReadError("check", c.path, err)
		}
		c.checks = append(c.checks, k)
	}
	return nil
}

// leftToPebble says whether there is anything that only Pebble's own compactions
// give back.
func leftToPebble(db *pebbledb.DB) (bool, error) {
	if thinBlobs(db.Metrics()) {
		return true, nil
	}
	thick, err := thickTables(db)
	return thick > 0, err
}

// thinBlobs says whether blob files are worth rewriting for their dead values' sake.
func thinBlobs(m *pebbledb.Metrics) bool {
	dead := engine.DeadBlobs(m)
	return dead >= worthwhile && float64(dead) > deadBlobs*float64(m.BlobFiles.LiveSize)
}

func thickTables(db *pebbledb.DB) (int, error) {
	levels, err := engine.ReadLevels(db)
	if err != nil {
		return 0, fmt.Errorf("list tables: %w", err)
	}
	return len(engine.ThickTables(levels)), nil
}

// open opens the store for writing, lets work do its part, and closes it when
// Pebble has nothing left to do.
func (c *compaction) open(ctx context.Context, own *ownOptions, automatic bool, work func(*pebbledb.DB, *events) error) (err error) {
	if err := ctx.Err(); err != nil {
		return sdk.Errorf(sdk.ErrCancelled, "compact %s: %w", c.path, err)
	}
	c.working = &workFS{FS: c.fs, traffic: &c.traffic, options: own.text, like: c.like, cancelled: ctx.Err, watch: c.watch, rewritesBlobs: automatic && c.blobs}
	// What is in the log is flushed at the first opening, with nothing else going
	// on in the background.
	events := &events{watch: c.watch, flushes: !automatic, begins: func(info pebbledb.CompactionInfo) {
		if t := c.tracking.Load(); t != nil {
			t.begins(info)
		}
	}}
	options := own.parsed.Clone()
	options.FS = c.working
	own.readSecondary(options)
	options.Lock = c.lock
	options.ErrorIfNotExists = true
	// Never above what the store has: the way up is one-way, and its
	// application may be older than this plugin.
	options.FormatMajorVersion = own.parsed.FormatMajorVersion
	options.DisableAutomaticCompactions = !automatic
	if automatic {
		// Nothing is to be compacted because of what the levels weigh.
		options.L0CompactionThreshold, options.L0CompactionFileThreshold, options.L0StopWritesThreshold = never, never, never
		options.LBaseMaxBytes, options.Experimental.TombstoneDenseCompactionThreshold = never<<20, -1
	}
	if separation := options.Experimental.ValueSeparationPolicy(); automatic {
		// The application rewrites blob files when they are old and thin. Here it is
		// now or never.
		separation.RewriteMinimumAge, separation.TargetGarbageRatio = 0, deadBlobs
		options.Experimental.ValueSeparationPolicy = func() pebbledb.ValueSeparationPolicy { return separation }
	}
	// Pebble reads statistics in a goroutine that ends the process when opening
	// fails under it. They are for automatic compactions alone.
	options.DisableTableStats = !automatic
	// Nothing is written that must outlive this process before it is flushed, and
	// Pebble ends the process when it cannot begin another log.
	options.DisableWAL = true
	cache := pebbledb.NewCache(min(c.cacheBytes, onceBytes))
	defer cache.Unref()
	options.Cache = cache
	options.Logger = events
	options.EventListener = events.listener()
	// Nobody else uses the disk through this store: obsolete tables go at once.
	options.TargetByteDeletionRate = 0
	if !automatic {
		c.Tell("flush", 0, 0)
	}
	c.watch.flushing.Store(true)
	db, err := pebbledb.Open(c.path, options)
	c.watch.flushing.Store(false)
	if err != nil {
		return engine.WorkError("open", c.path, err)
	}
	defer func() {
		if c.watch.broken.Load() {
			return // its locks are lost
		}
		// Close waits for running compactions and for the removal of files.
		if cerr := db.Close(); err == nil && cerr != nil {
			err = engine.WorkError("close", c.path, cerr)
		}
	}()
	if c.watch.left.Load() {
		return errLeft
	}
	c.working.heeds.Store(true)
	err = work(db, events)
	switch {
	case ctx.Err() != nil:
		return sdk.Errorf(sdk.ErrCancelled, "compact %s: %w", c.path, ctx.Err())
	case err == nil:
		err = events.first()
	}
	if err != nil {
		return engine.WorkError("compact", c.path, err)
	}
	return nil
}

// compactRanges goes through the key space, the parts with the most dead first.
func (c *compaction) compactRanges(ctx context.Context, db *pebbledb.DB, own *ownOptions) error {
	levels, err := engine.ReadLevels(db)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	c.old, c.cells = engine.Numbers(levels), engine.CellsOf(own.compare(), levels)
	c.covered = c.cells.Cover()
	tree := &engine.Tree{DB: db, Comparer: own.comparer(), Levels: levels, Forced: true, Open: c.openTable}
	// Rewriting a blob file moves values of tables that stay as they are: with those
	// about, all content is compared.
	c.windows = tree.Windows(c.stepBytes, db.Metrics().BlobFiles.LiveCount > 0)
	var bytes int64
	for _, w := range c.windows {
		bytes += w.StepBytes()
	}
	if bytes > engine.SelectSteps*c.stepBytes {
		c.Tell("select", 0, 0)
		passed, err := tree.Select(ctx, c.windows)
		if err != nil {
			return err
		}
		if passed > 0 {
			c.notes = append(c.notes, engine.NotePassed(passed))
		}
	}
	chunk, err := c.chunk()
	if err != nil {
		return err
	}
	tree.Join(c.windows, chunk)
	for i, w := range c.windows {
		if w.Forcible() {
			c.windows[i].Steps = []engine.KeyRange{w.Whole(tree.Comparer.Compare)}
		}
		c.total += c.windows[i].StepBytes()
	}
	return c.compactWindows(ctx, db, tree.Comparer)
}

// chunk is about how much a step may rewrite where nothing is passed over: no more than
// a part of what is free.
func (c *compaction) chunk() (int64, error) {
	free, err := c.free(c.path)
	if err != nil {
		return 0, err
	}
	return max(c.stepBytes, min(c.joinedBytes, free/joinedShare)), nil
}

// compactWindows does one after the other, and compares what one has with what it had
// while it does the next. The last one, and those that are to be followed by Pebble's own
// compactions, are left to verify.
func (c *compaction) compactWindows(ctx context.Context, db *pebbledb.DB, comparer *pebbledb.Comparer) (err error) {
	compared := func() error { return nil }
	defer func() {
		// A difference counts for more than what has ended the next window.
		if cerr := compared(); err == nil || errors.Is(cerr, sdk.ErrInternal) || errors.Is(cerr, sdk.ErrCorrupt) {
			err = cerr
		}
	}()
	for i, w := range c.windows {
		k, err := c.compactWindow(ctx, db, comparer, w, func() error { return compared() })
		if err == nil {
			err = compared()
		}
		if err != nil {
			return err
		}
		c.checks = append(c.checks, k)
		if i+1 < len(c.windows) && len(w.Steps) > 0 && !c.blobs {
			compared = engine.Beside(func() error { return c.compareWindow(ctx, db, comparer, k) })
		}
	}
	if err := compared(); err != nil {
		return err
	}
	levels, err := engine.ListTables(db)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, k := range c.checks {
		k.tables = k.lie(comparer.Compare, levels)
	}
	return nil
}

// compactWindow compacts a part of the key space while what it had before is read,
// from the tables of before: those stay on the disk until then.
func (c *compaction) compactWindow(ctx context.Context, db *pebbledb.DB, comparer *pebbledb.Comparer, w engine.Window, compared func() error) (*check, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	k := &check{before: engine.NewSum(comparer.Compare, 0)}
	pinned, err := k.before.Pin(reading, db)
	if err != nil {
		return nil, err
	}
	cover := c.cells.Cover()
	track := newTracking(len(w.Steps) == 0 || c.blobs)
	c.tracking.Store(track)
	defer c.tracking.Store(nil)
	defer track.end()
	var stepping atomic.Bool // that is what is told of then
	stepping.Store(len(w.Steps) > 0)
	wait := engine.Beside(func() error {
		var raw int64
		err := track.read(reading, pinned, w, cover, func(more int64) { raw += more }, func(bytes int64) error {
			if !stepping.Load() {
				c.Tell("check", min(c.checked+bytes, c.checked+raw), c.checked+raw)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil && reading.Err() == nil {
			err = engine.ReadError("check", c.path, err)
		}
		return err
	})
	err = c.compactSteps(ctx, db, comparer, w, func() error {
		track.rest() // else what it has pinned stays
		return errors.Join(wait(), compared())
	})
	track.end()
	if err != nil {
		stop()
		_ = wait() // the iterator is closed then; the first error counts
		return nil, err
	}
	stepping.Store(false)
	if err := wait(); err != nil {
		return nil, err
	}
	c.checked += k.before.Content().Bytes
	k.parts = cover.Taken()
	c.covered.Add(cover)
	c.noteUnseen(track)
	if k.before.Content().Attributes && c.config.ShortAttributeExtractor == nil {
		return nil, attributesError(c.path) // no more of them than those until here are lost
	}
	return k, nil
}

func (c *compaction) compactSteps(ctx context.Context, db *pebbledb.DB, comparer *pebbledb.Comparer, w engine.Window, read func() error) error {
	for _, step := range w.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.roomFor(ctx, db, step, read); err != nil {
			return err
		}
		c.Tell("compact", c.done, c.total)
		note, err := c.compactStep(ctx, db, comparer, w, step)
		if err != nil {
			return err
		}
		if note != "" {
			c.notes = append(c.notes, note)
		}
		c.done += step.Bytes
		c.Tell("compact", c.done, c.total)
	}
	return nil
}

// compactStep does one, or notes why it cannot. How far it has come shows by what it
// has written of what is expected to be left.
func (c *compaction) compactStep(ctx context.Context, db *pebbledb.DB, comparer *pebbledb.Comparer, w engine.Window, step engine.KeyRange) (note string, err error) {
	if w.Forcible() {
		ok, err := c.force(db, comparer, w.Region)
		if err != nil {
			return "", err
		}
		if !ok {
			return engine.NoteNoRoom, nil
		}
	}
	wide, ok := step.Widen(comparer)
	if !ok {
		return engine.NoteSingleKey, nil
	}
	began, left := c.traffic.written.Load(), w.LiveShare()
	return "", wide.Compact(ctx, db, reportEvery, func() error {
		read := int64(float64(c.traffic.written.Load()-began) / left)
		c.Tell("compact", c.done+min(step.Bytes, read), c.total)
		return nil
	})
}

// roomFor is an error where a step does not find room. Tables that were replaced and
// are still being read are waited for first.
func (c *compaction) roomFor(ctx context.Context, db *pebbledb.DB, step engine.KeyRange, read func() error) error {
	if c.room("the next step", engine.RoomFor(step.Bytes)) == nil {
		return nil
	}
	if err := read(); err != nil {
		return err
	}
	for deadline := time.Now().Add(idleLimit); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(settleEvery) {
		if m := db.Metrics(); m.Table.ObsoleteCount+m.Table.ZombieCount == 0 {
			break
		}
	}
	return c.room("the next step", engine.RoomFor(step.Bytes))
}

// force lets Pebble flush what gives it a reason to compact the region. A flush
// that fails is tried again for ever: the call returns without it, and the work
// ends here if it succeeds after all.
func (c *compaction) force(db *pebbledb.DB, comparer *pebbledb.Comparer, r engine.Region) (bool, error) {
	c.working.heeds.Store(false)
	c.watch.flushing.Store(true)
	ok, err := r.Force(db, comparer)
	c.watch.flushing.Store(false)
	c.working.heeds.Store(true)
	if c.watch.left.Load() {
		return false, errLeft
	}
	return ok, err
}

// settleDown waits until Pebble has rewritten the tables that are thick with
// tombstones, which only it can, and has removed what is obsolete.
func (c *compaction) settleDown(ctx context.Context, db *pebbledb.DB, events *events) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	lastCount, lastChange := int64(-1), time.Now()
	for {
		if err := errors.Join(ctx.Err(), events.first()); err != nil {
			return err
		}
		m := db.Metrics()
		if count := m.Compact.Count + m.Compact.BlobFileRewriteCount; count != lastCount {
			lastCount, lastChange = count, time.Now()
		}
		quiet := m.Compact.NumInProgress == 0 && m.Flush.NumInProgress == 0 &&
			m.Table.InitialStatsCollectionComplete && m.Table.PendingStatsCollectionCount == 0 &&
			m.Table.ObsoleteCount == 0 && m.Table.ZombieCount == 0 &&
			m.BlobFiles.ObsoleteCount == 0 && m.BlobFiles.ZombieCount == 0
		if quiet {
			left, err := thickTables(db)
			if err != nil {
				return err
			}
			if left == 0 && !thinBlobs(m) {
				return nil
			}
			if time.Since(lastChange) > idleLimit {
				if left > 0 {
					c.notes = append(c.notes, fmt.Sprintf("Pebble left %d tables with tombstones", left))
				}
				if thinBlobs(m) {
					c.notes = append(c.notes, fmt.Sprintf("Pebble left %s of dead values in blob files", sdk.FormatBytes(engine.DeadBlobs(m))))
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
			c.Tell("settle", 0, 0)
		}
	}
}
