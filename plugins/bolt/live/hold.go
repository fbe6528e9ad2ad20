package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

// writerWait is how long is waited for a write transaction of the application to
// end, other than in tests.
const writerWait = time.Minute

// lockWriters takes the write lock of a generation by a transaction.
func (db *DB) lockWriters(ctx context.Context, g *generation, path string, meter *rewrite.Meter) (*bbolt.Tx, error) {
	type begun struct {
		tx  *bbolt.Tx
		err error
	}
	waiting, cancel := context.WithTimeout(ctx, db.writerWait)
	defer cancel()
	taken := make(chan begun)
	g.begins.Add(1) // it may be left behind, and nobody may spoil the file before it has begun
	go func() {
		tx, err := g.db.Begin(true)
		g.leave()
		select {
		case taken <- begun{tx, err}:
		case <-waiting.Done():
			if err == nil {
				_ = tx.Rollback()
			}
		}
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case b := <-taken:
			return b.tx, b.err
		case <-ticker.C:
			meter.Beat()
		case <-waiting.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, sdk.Errorf(sdk.ErrBusy, "compact %s: a write transaction has been open for %s, and nothing can be done until it ends", path, db.writerWait).
				WithHint("look for a transaction that is neither committed nor rolled back")
		}
	}
}

// replacement is the swap of the files, of which all that can be done before the
// writers are held up is done by its Prepare.
func (c *compaction) replacement() *replace.Replacement {
	nothing := func(context.Context) error { return nil }
	return &replace.Replacement{
		Path: c.path, Old: c.source, Temp: c.temp, Hook: c.db.hook,
		Sync: nothing, Verify: nothing, // each round does both
		Release: func() error { return nil }, // by whoever closes the generation
	}
}

// hold holds the writers up, makes the last round and puts the new file in the
// old one's place. It returns errLate, and writers go on, when that would take
// too long.
func (c *compaction) hold() (result sdk.CompactResult, err error) {
	r := c.replacement()
	if err := r.Prepare(c.ctx); err != nil {
		return result, err
	}
	lock, err := c.db.lockWriters(c.ctx, c.old, c.path, c.meter)
	if err != nil {
		return result, err
	}
	began := time.Now()
	release := sync.OnceFunc(func() {
		_ = lock.Rollback() // its error would be that it has ended
		c.pause += time.Since(began)
		c.holds++
	})
	if err := c.lastRound(began, release); err != nil {
		release()
		return result, err
	}
	if err := errors.Join(c.seal(), c.temp.Sync()); err != nil {
		release()
		return result, err
	}
	info, err := c.temp.File.Stat()
	if err == nil {
		err = c.temp.Remark(c.path, c.base.meta.TxID)
	}
	if err == nil {
		err = r.Swap()
	}
	if err != nil {
		release()
		return result, err
	}
	c.swapped = true
	r.Poison = rewrite.Poison(c.base.meta)
	next := newGeneration(c.next, info, c.mapped)
	c.next = nil
	var left error
	c.db.swap(next, release, func() {
		c.watcher.stop()
		c.old.drain() // the watcher too may have been about to begin
		if left = r.Finish(); left == nil {
			c.old.file, c.source = c.source, nil
		}
	})
	c.pins.drop(c.base)
	c.temp.Discard() // only its descriptors: the file is the store now
	c.meter.End()
	return c.result(sizeOf(info), left)
}

// lastRound brings over what was written before the writers were held up. When that
// takes too long it lets them go on and returns errLate.
func (c *compaction) lastRound(began time.Time, release func()) error {
	// From here on no page is used again. That the watcher gave the base up may be
	// because it could not begin a transaction in time.
	if c.pins.lost() {
		return errLost
	}
	to, err := c.snapshot()
	if err != nil {
		return err
	}
	l := &limit{
		ctx: c.ctx, end: began.Add(c.options.MaxPause - min(c.synced, c.options.MaxPause/2)),
		ending: c.ending, release: release,
	}
	if err := c.round(to, l); err != nil {
		c.pins.drop(to)
		return err
	}
	c.advance(to)
	if err := l.reached(0); err != nil {
		return err
	}
	return c.smaller()
}

// limit is that of a round that holds writers up.
type limit struct {
	ctx context.Context
	// end is when the round must be over.
	end    time.Time
	ending ending
	// release lets the writers go on.
	release func()
}

// reached is errLate when there is no time left to end a round that has read so
// many bytes.
func (l *limit) reached(bytes int64) error {
	if time.Now().Add(l.ending.of(bytes)).After(l.end) {
		return errLate
	}
	return l.ctx.Err()
}

// committed is called between commit and check. What is written by then stays in
// the copy, but for a check that would come too late nobody has to wait.
func (l *limit) committed() {
	if time.Now().After(l.end) {
		l.release()
	}
}

// ending is how long the end of a round takes, its commit and check, as far as has
// been seen.
type ending struct {
	least   time.Duration // whatever it has read
	perByte float64       // and what comes on top, in nanoseconds
}

func (e *ending) saw(bytes int64, took time.Duration) {
	if e.least == 0 || took < e.least {
		e.least = took
	}
	e.perByte = float64(took-e.least) / float64(max(1, bytes))
}

func (e *ending) of(bytes int64) time.Duration {
	if bytes == 0 {
		return 0 // nothing to end
	}
	return e.least + time.Duration(e.perByte*float64(bytes))
}

// seal gives both metas of the copy the same content, and the numbers of the
// store's last transaction and of the one after it: so numbers go on over the
// swap, and one meta is as good as the other.
func (c *compaction) seal() error {
	newest, err := c.newestMeta()
	if err != nil {
		return err
	}
	if newest.TxID > c.base.meta.TxID {
		return fmt.Errorf("the copy is at transaction %d, the store at %d", newest.TxID, c.base.meta.TxID)
	}
	info, err := c.temp.File.Stat()
	if err != nil {
		return err
	}
	if info.Size() < newest.Bytes() {
		if err := c.temp.Truncate(newest.Bytes()); err != nil {
			return err
		}
	}
	return c.number(newest, c.base.meta.TxID)
}
