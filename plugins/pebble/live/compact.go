package live

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

const (
	// leastStepBytes is how small the steps of a slow compaction get: they are cut
	// so that one takes about a second of its rate.
	leastStepBytes = 1 << 20
	// worthwhile is how many bytes of writes that are not flushed yet justify a
	// flush, to see whether they overlap anything.
	worthwhile = 64 << 10
	// lookEvery is how often a call looks at what Pebble does, and tells of it.
	lookEvery = 100 * time.Millisecond
)

// Compact implements sdk.Backend. Writers and readers go on. A cancelled call
// returns at once; the step that Pebble is at, it finishes by itself.
func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	s, err := b.find(req.Store)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	if !s.compacting.CompareAndSwap(false, true) {
		return sdk.CompactResult{}, sdk.Errorf(sdk.ErrBusy, "compact %s: it is being compacted already", s.name).
			WithHint("wait until that is done")
	}
	defer s.compacting.Store(false)
	if err := s.alive(); err != nil {
		return sdk.CompactResult{}, s.closedError(sdk.ErrNotFound, "compact")
	}
	c := &compaction{store: s, pace: req.Pace, stalled: s.stalls.sum(), base: s.db.Metrics()}
	c.Report, c.Traffic = report, c.traffic
	var result sdk.CompactResult
	err = unlessClosed(func() error {
		result, err = c.run(ctx)
		return err
	})
	if err != nil {
		return sdk.CompactResult{}, s.workError(ctx, err)
	}
	return result, nil
}

// compaction is one call of Compact.
type compaction struct {
	*store
	engine.Progress
	pace *sdk.Pace // may be nil
	// base is what Pebble had counted when the call began.
	base *pebbledb.Metrics
	// stalled is how long writers had stalled by then.
	stalled time.Duration
	// switched is how long writers may have waited for the change of logs that
	// comes before our own flushes.
	switched time.Duration
	flushes  int64 // of our own

	read    int64 // bytes of content, for the digests
	written int64 // the most that was counted so far
	paced   int64 // bytes that the pace knows of
	notes   []string
}

func (c *compaction) run(ctx context.Context) (result sdk.CompactResult, err error) {
	result.Mode = modeRanges
	c.Tell("look", 0, 0)
	tree, err := c.tree()
	if err != nil {
		return result, err
	}
	if err := c.writable(ctx, tree.Levels); err != nil {
		return result, err
	}
	result.Before = c.size(c.files())
	work := c.work(tree)
	if work.empty() && c.base.WAL.Size >= worthwhile || !work.empty() {
		if err := c.flush(ctx); err != nil {
			return result, err
		}
		if tree, err = c.tree(); err != nil {
			return result, err
		}
		work = c.work(tree)
	}
	if work.empty() {
		result.After = result.Before
		result.NoOp = true
		result.Note = "no tables overlap and none is thick with tombstones"
		if bytes := thickBytes(tree.Levels); bytes > 0 {
			result.Note = "no tables overlap; " + notePassive(bytes)
		}
		result.Pause = c.pause()
		return result, nil
	}
	passed, err := c.choose(ctx, tree, work)
	if err != nil {
		return result, err
	}
	if passed > 0 {
		c.notes = append(c.notes, engine.NotePassed(passed))
	}
	if result.Verification, err = c.rewrite(ctx, work); err != nil {
		return result, err
	}
	if err := c.removed(ctx); err != nil {
		return result, err
	}
	result.After = c.size(c.files())
	result.ReclaimedBytes = result.Before.AllocatedBytes - result.After.AllocatedBytes
	result.Pause = c.pause()
	c.remarks()
	result.Note = strings.Join(c.notes, "; ")
	return result, nil
}

// flush brings the writes in memory into tables, where they can be compacted.
func (c *compaction) flush(ctx context.Context) error {
	c.Tell("flush", 0, 0)
	var switched time.Duration
	err := engine.Await(ctx, lookEvery, c.beat, func(ctx context.Context) error {
		stalled, began := c.stalls.sum(), time.Now()
		flushed, err := c.db.AsyncFlush()
		if err != nil {
			return err
		}
		// Writers wait while it has them change logs; stalls count by themselves.
		switched = max(0, time.Since(began)-(c.stalls.sum()-stalled))
		select {
		case <-flushed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if errors.Is(err, pebbledb.ErrReadOnly) {
		return c.readOnlyError()
	}
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	c.switched += switched
	c.flushes++
	return nil
}

// beat tells of what Pebble does, and finds out that the store was closed:
// nobody else would tell, and what was waited for never comes.
func (c *compaction) beat() error {
	if err := c.alive(); err != nil {
		return err
	}
	c.Beat()
	return nil
}

// pause is how long writers were held up, as far as that is known.
func (c *compaction) pause() time.Duration {
	return c.switched + c.stalls.sum() - c.stalled
}

// traffic is what this call has read, and what Pebble's compactions, its own
// included, have read and written since it began.
func (c *compaction) traffic() (read, written int64) {
	now := c.db.Metrics()
	for i := range now.Levels {
		was, is := &c.base.Levels[i], &now.Levels[i]
		read += int64(is.TableBytesRead - was.TableBytesRead + is.BlobBytesReadEstimate - was.BlobBytesReadEstimate)
		written += int64(is.TableBytesCompacted - was.TableBytesCompacted + is.BlobBytesCompacted - was.BlobBytesCompacted)
	}
	// The levels count when a compaction is done; until then this does.
	written += now.Compact.InProgressBytes - c.base.Compact.InProgressBytes
	c.written = max(c.written, written) // one that fails is not counted any more
	return read + c.read, c.written
}

// keepPace waits until what has been read and written since the last time is due.
func (c *compaction) keepPace(ctx context.Context) error {
	read, written := c.traffic()
	moved := read + written - c.paced
	c.paced += moved
	return c.pace.Wait(ctx, moved)
}

// incoming is how much the application has written since m was read.
func (c *compaction) incoming(m *pebbledb.Metrics) int64 {
	now := c.db.Metrics()
	logged := int64(now.WAL.BytesIn - m.WAL.BytesIn)
	var flushed, ingested int64 // what is flushed need not have been logged
	for i := range now.Levels {
		flushed += int64(now.Levels[i].TableBytesFlushed - m.Levels[i].TableBytesFlushed)
		ingested += int64(now.Levels[i].TableBytesIngested - m.Levels[i].TableBytesIngested)
	}
	if now.WAL.BytesIn == 0 {
		logged = flushed
	}
	return logged + ingested
}

// remarks are what people should know about the result.
func (c *compaction) remarks() {
	now := c.db.Metrics()
	note := func(format string, args ...any) { c.notes = append(c.notes, fmt.Sprintf(format, args...)) }
	if n := c.incoming(c.base); n > 0 {
		note("the application wrote %s meanwhile", sdk.FormatBytes(n))
	}
	if now.Snapshots.Count > 0 {
		note("%d open snapshots of the application keep what they see", now.Snapshots.Count)
	}
	if n := zombieBytes(now); n > 0 {
		note("open iterators hold %s of tables that are replaced", sdk.FormatBytes(n))
	}
	if n := obsoleteBytes(now); n > 0 {
		note("%s of replaced tables are yet to be removed, at the pace that the application has set", sdk.FormatBytes(n))
	}
	if n := engine.DeadBlobs(now); n >= worthwhile {
		note("%s of dead values in blob files stay until Pebble rewrites these, when the application's ValueSeparationPolicy says so", sdk.FormatBytes(n))
	}
	if n := now.Flush.Count - c.base.Flush.Count - c.flushes; n > 0 {
		note("the pause is without the change of logs before %d flushes that Pebble began itself", n)
	}
	if c.stalls == nil {
		note("write stalls, if there were any, are not in the pause: live.Stalls is not set")
	}
}
