package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

const (
	// settleEvery is how often an idle Pebble is looked at.
	settleEvery = 20 * time.Millisecond
	// idleLimit is how long Pebble may do nothing about tables it should rewrite.
	idleLimit = 2 * time.Second
)

// rewrite compacts what overlaps, step by step and with nothing else going on.
// Tables that are thick with tombstones in the lowest level are for Pebble's own
// compactions alone, which retry for ever when they fail: they get an opening of
// the store to themselves.
func (c *compaction) rewrite(ctx context.Context, own *ownOptions) error {
	thick := 0
	err := c.open(ctx, own, false, func(db *pebbledb.DB, _ *events) error {
		err := c.compactRanges(ctx, db, own)
		if err == nil {
			thick, err = thickTables(db)
		}
		return err
	})
	if err != nil || thick == 0 {
		return err
	}
	return c.open(ctx, own, true, func(db *pebbledb.DB, events *events) error {
		return c.settleDown(ctx, db, events)
	})
}

// thickTables counts the tables of the lowest level that Pebble rewrites for
// their tombstones' sake.
func thickTables(db *pebbledb.DB) (n int, err error) {
	levels, err := readLevels(db)
	if err != nil {
		return 0, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range levels[bottom] {
		if t.elidable() {
			n++
		}
	}
	return n, nil
}

// open opens the store for writing, lets work do its part, and closes it when
// Pebble has nothing left to do.
func (c *compaction) open(ctx context.Context, own *ownOptions, automatic bool, work func(*pebbledb.DB, *events) error) (err error) {
	if err := ctx.Err(); err != nil {
		return sdk.Errorf(sdk.ErrCancelled, "compact %s: %w", c.path, err)
	}
	fs := &workFS{FS: c.fs, traffic: &c.traffic, options: own.text, cancelled: ctx.Err, watch: c.watch}
	// What is in the log is flushed at the first opening, with nothing else going
	// on in the background.
	events := &events{watch: c.watch, flushes: !automatic}
	options := own.parsed.Clone()
	options.FS = fs
	options.Lock = c.lock
	options.ErrorIfNotExists = true
	// Never above what the store has: the way up is one-way, and its
	// application may be older than this plugin.
	options.FormatMajorVersion = own.parsed.FormatMajorVersion
	options.DisableAutomaticCompactions = !automatic
	cache := pebbledb.NewCache(c.cacheBytes)
	defer cache.Unref()
	options.Cache = cache
	options.Logger = events
	options.EventListener = events.listener()
	// Nobody else uses the disk through this store: obsolete tables go at once.
	options.TargetByteDeletionRate = 0
	if !automatic {
		c.tell("flush", 0, 0)
	}
	c.watch.opening.Store(true)
	db, err := pebbledb.Open(c.path, options)
	c.watch.opening.Store(false)
	if err != nil {
		return workError("open", c.path, err)
	}
	defer func() {
		if c.watch.broken.Load() {
			return // its locks are lost
		}
		// Close waits for running compactions and for the removal of files.
		if cerr := db.Close(); err == nil && cerr != nil {
			err = workError("close", c.path, cerr)
		}
	}()
	if c.watch.left.Load() {
		return errLeft
	}
	fs.heeds.Store(true)
	err = work(db, events)
	switch {
	case ctx.Err() != nil:
		return sdk.Errorf(sdk.ErrCancelled, "compact %s: %w", c.path, ctx.Err())
	case err == nil:
		err = events.first()
	}
	if err != nil {
		return workError("compact", c.path, err)
	}
	return nil
}

// compactRanges goes through the key space step by step.
func (c *compaction) compactRanges(ctx context.Context, db *pebbledb.DB, own *ownOptions) error {
	levels, err := readLevels(db)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	comparer := own.comparer()
	var steps []keyRange
	var total int64
	for _, r := range regions(comparer.Compare, levels, nil) {
		if !r.rewritten() || r.tables[0].level == bottom && len(r.tables) == 1 {
			continue // the latter are Pebble's own to rewrite
		}
		for _, step := range r.steps(comparer.Compare, stepBytes) {
			steps = append(steps, step)
			total += step.bytes
		}
	}
	c.tell("compact", 0, total)
	var done int64
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if comparer.Compare(step.start, step.end) >= 0 {
			step.end = successor(comparer, step.end)
			if step.end == nil {
				c.notes = append(c.notes, "versions of a single key stay: its comparer knows no next key")
				continue
			}
		}
		if err := c.compactRange(ctx, db, step, done, total); err != nil {
			return err
		}
		done += step.bytes
		c.tell("compact", done, total)
	}
	return nil
}

// successor returns a key right behind the given one, or nil where the comparer
// has none.
func successor(comparer *pebbledb.Comparer, key []byte) []byte {
	if comparer.ImmediateSuccessor == nil || (comparer.Split != nil && comparer.Split(key) != len(key)) {
		return nil
	}
	return comparer.ImmediateSuccessor(nil, key)
}

// compactRange does one step. Its progress is what is written meanwhile.
func (c *compaction) compactRange(ctx context.Context, db *pebbledb.DB, step keyRange, done, total int64) error {
	finished := make(chan error, 1)
	go func() { finished <- db.Compact(ctx, step.start, step.end, false) }()
	written := c.traffic.written.Load()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-finished:
			return err
		case <-tick.C:
			c.tell("compact", done+min(step.bytes, c.traffic.written.Load()-written), total)
		}
	}
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
		if m.Compact.Count != lastCount {
			lastCount, lastChange = m.Compact.Count, time.Now()
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
			if left == 0 {
				return nil
			}
			if time.Since(lastChange) > idleLimit {
				c.notes = append(c.notes, fmt.Sprintf("Pebble left %d tables with tombstones", left))
				return nil
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
			c.tell("settle", 0, 0)
		}
	}
}
