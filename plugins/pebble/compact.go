package pebble

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

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
	// reportEvery is how often a running step tells how far it is.
	reportEvery = 100 * time.Millisecond
	// settleEvery is how often an idle Pebble is looked at.
	settleEvery = 20 * time.Millisecond
	// idleLimit is how long Pebble may do nothing about tables it should rewrite.
	idleLimit = 2 * time.Second
)

// Compact implements sdk.Backend. It works in place: each step's result replaces
// its input by one record of Pebble's manifest, so that a crash at any point
// leaves the store with the same content.
func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	d, err := openDirectory(req.Store.Path)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	if _, err := b.readOptions(d); err != nil {
		return sdk.CompactResult{}, err // before LOCK is touched
	}
	lock, unlock, err := b.lock(d.path)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	locked := time.Now()
	c := &compaction{
		backend: b,
		path:    d.path,
		lock:    lock,
		bits:    req.Options.Number(optionFilterBits),
		report:  report,
	}
	result, err := c.run(ctx)
	unlock()
	if err != nil {
		return sdk.CompactResult{}, err
	}
	result.Mode = modeRanges
	if !result.NoOp {
		result.Pause = time.Since(locked)
	}
	return result, nil
}

// compaction is one call of Compact, with the store's lock held.
type compaction struct {
	*backend
	path    string
	lock    *pebbledb.Lock
	bits    float64 // of filters; 0 for what the tables have
	report  func(sdk.Progress)
	traffic traffic
	notes   []string
}

func (c *compaction) run(ctx context.Context) (sdk.CompactResult, error) {
	var result sdk.CompactResult
	view, err := c.openView(c.path, c.lock, false, c.bits, &c.traffic)
	if err != nil {
		return result, err
	}
	defer view.close()
	result.Before = view.size()
	all := view.regions()
	if !worth(view, all) {
		result.After = result.Before
		result.NoOp = true
		result.Note = "no tables overlap and none is thick with tombstones"
		return result, nil
	}
	if err := c.preflight(view, all); err != nil {
		return result, err
	}
	before, err := c.readAll(ctx, "check", view, rawBytes(view.levels))
	if err != nil {
		return result, readError("check", c.path, err)
	}
	c.notes = view.notes
	view.close()

	if err := c.rewrite(ctx, view.own); err != nil {
		return result, err
	}
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
		DigestBefore: before.digest, DigestAfter: after.digest,
		ItemsBefore: before.items, ItemsAfter: after.items,
	}
	result.Note = strings.Join(c.notes, "; ")
	return result, nil
}

// worth says whether there is anything that compaction changes.
func worth(v *view, all []region) bool {
	for _, r := range all {
		if r.rewritten() && len(r.tables) > 0 {
			return true
		}
	}
	return v.leftovers(nil).bytes() >= worthwhile
}

func rawBytes(levels [][]table) (n int64) {
	for _, level := range levels {
		for _, t := range level {
			n += t.rawBytes()
		}
	}
	return n
}

// preflight asks for room for the largest step and for the log's content: the
// input of a step goes as soon as its output is in place.
func (c *compaction) preflight(v *view, all []region) error {
	need := v.logBytes()
	largest := int64(0)
	for _, r := range all {
		for _, step := range r.steps(v.own.compare(), stepBytes) {
			largest = max(largest, step.bytes)
		}
	}
	need += largest + largest/10
	usage, err := c.fs.GetDiskUsage(c.path)
	if err != nil {
		return fmt.Errorf("look for free space at %s: %w", c.path, err)
	}
	if free := int64(min(usage.AvailBytes, 1<<62)); free < need {
		return sdk.Errorf(sdk.ErrNoSpace, "compact %s: the largest step needs %s, and %s are free",
			c.path, sdk.FormatBytes(need), sdk.FormatBytes(free)).
			WithHint("free space on the store's file system")
	}
	return nil
}

// readAll sums the content up and tells how far it is.
func (c *compaction) readAll(ctx context.Context, phase string, v *view, total int64) (content, error) {
	sum, err := readContent(ctx, v.db, func(bytes int64) {
		c.progress(phase, min(bytes, total), total)
	})
	if err == nil {
		err = v.events.first()
	}
	if err == nil {
		c.progress(phase, total, total)
	}
	return sum, err
}

func (c *compaction) progress(phase string, done, total int64) {
	c.report(sdk.Progress{
		Phase: phase, Done: done, Total: total, Unit: "bytes",
		BytesRead: c.traffic.read.Load(), BytesWritten: c.traffic.written.Load(),
	})
}

// verify reads the store as the next process will find it.
func (c *compaction) verify(ctx context.Context, before content) (content, error) {
	view, err := c.openView(c.path, c.lock, false, c.bits, &c.traffic)
	if err != nil {
		return content{}, err
	}
	defer view.close()
	after, err := c.readAll(ctx, "verify", view, max(1, before.bytes))
	if err != nil {
		return content{}, readError("verify", c.path, err)
	}
	if after.digest != before.digest || after.items != before.items {
		return content{}, sdk.Errorf(sdk.ErrInternal, "%s has other content after compaction: %d items with digest %s, before %d with %s",
			c.path, after.items, after.digest, before.items, before.digest).
			WithHint("do not write to the store; restore it from a backup and report this")
	}
	if err := view.db.CheckLevels(nil); err != nil {
		return content{}, sdk.Errorf(sdk.ErrInternal, "%s has inconsistent levels after compaction: %w", c.path, err).
			WithHint("do not write to the store; restore it from a backup and report this")
	}
	return after, nil
}

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
	fs := &workFS{FS: c.fs, traffic: &c.traffic, options: own.text, cancelled: ctx.Err}
	events := &events{}
	options := own.parsed.Clone()
	options.FS = fs
	options.Lock = c.lock
	options.ErrorIfNotExists = true
	// Never above what the store has: the way up is one-way, and its
	// application may be older than this plugin.
	options.FormatMajorVersion = own.parsed.FormatMajorVersion
	options.DisableAutomaticCompactions = !automatic
	cache := pebbledb.NewCache(cacheBytes)
	defer cache.Unref()
	options.Cache = cache
	options.Logger = events
	options.EventListener = events.listener()
	// Nobody else uses the disk through this store: obsolete tables go at once.
	options.TargetByteDeletionRate = 0
	db, err := pebbledb.Open(c.path, options)
	if err != nil {
		return workError("open", c.path, err)
	}
	defer func() {
		if events.hasFailed() {
			return // waiting for its locks would hang the call
		}
		// Close waits for running compactions and for the removal of files.
		if cerr := db.Close(); err == nil && cerr != nil {
			err = workError("close", c.path, cerr)
		}
	}()
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
	c.progress("compact", 0, total)
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
		c.progress("compact", done, total)
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
			c.progress("compact", done+min(step.bytes, c.traffic.written.Load()-written), total)
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
			c.progress("settle", 0, 0)
		}
	}
}
