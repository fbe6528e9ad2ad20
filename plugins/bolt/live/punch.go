package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

const (
	phasePunch  = "punch"
	phaseVerify = "verify"
	// readerWait is how long is waited in all for readers that see pages which
	// have become free since they began.
	readerWait = time.Minute
	// betweenSlices is left to the writers.
	betweenSlices = 20 * time.Millisecond
)

// punching is a compaction in mode punch: the free pages' blocks are given back in
// place, in slices between which writers go on.
//
// A page on the freelist may be one that an open reader sees: bbolt keeps such
// pages from being used again, and tells only how many there are, not which. So
// holes are made only while there is none at all: writers are held up, and the
// readers that began before the last transaction have ended. Those that begin
// meanwhile see the last transaction, to which no free page matters.
type punching struct {
	db      *DB
	options CompactOptions
	path    string
	size    sdk.Size
	meter   *rewrite.Meter
	ctx     context.Context

	g      *generation
	source *os.File
	slices *punch.Slices
	pause  time.Duration
	holds  int
}

func (db *DB) punch(ctx context.Context, path string, size sdk.Size, o CompactOptions) (result sdk.CompactResult, err error) {
	p := &punching{
		db: db, options: o, path: path, size: size, ctx: ctx, g: db.current.Load(),
		meter: rewrite.NewMeter(ctx, time.Now, o.Pace, o.Report),
	}
	p.meter.Yield(p.g.busy())
	if p.source, err = p.g.opens(path); err != nil {
		return result, err
	}
	defer p.source.Close()
	before, meta, err := p.find()
	if err != nil {
		return result, err
	}
	if err := p.all(); err != nil {
		result.Pause = p.pause
		return result, p.explain(err)
	}
	after, now, err := p.verify()
	if err != nil {
		return result, sdk.Errorf(sdk.ErrInternal, "compact %s: the store was punched, and cannot be read any more: %v", path, err).
			WithHint("stop the application, look at a copy of the store with `bbolt check FILE`, and restore a backup; please report this")
	}
	return p.result(before, after, meta.TxID == now.TxID)
}

// find walks all that is in use now, so that no page of it is taken for free.
func (p *punching) find() (content.Sum, page.Meta, error) {
	if meta, err := page.ReadMeta(p.source); err == nil && meta.Freelist == page.NoFreelist && !p.db.NoFreelistSync {
		// A rewrite that was given up has left it unwritten.
		if err := p.commit(false); err != nil {
			return content.Sum{}, page.Meta{}, err
		}
	}
	snapshot, err := p.g.snapshot(p.source)
	if err != nil {
		return content.Sum{}, page.Meta{}, err
	}
	defer snapshot.release() // what is freed from now on would not become free before
	sum, reached, err := rewrite.SumUp(p.source, snapshot.meta, phaseCheck, p.meter)
	if err != nil {
		return sum, snapshot.meta, err
	}
	config := punch.Config{MinRun: p.options.MinRun, Progress: func(bytes int64) error { p.meter.Beat(); return p.ctx.Err() }}
	if hook := p.db.hook; hook != nil {
		config.Before = func(offset, length int64) error {
			return hook(replace.Op{Kind: replace.OpPunch, Path: p.path, Offset: offset, Length: length})
		}
	}
	free, err := punch.Checked(p.source, &page.File{R: p.source, Meta: snapshot.meta}, reached, config)
	if err != nil {
		return sum, snapshot.meta, err
	}
	p.slices, err = free.Slices(p.source, config)
	return sum, snapshot.meta, p.explain(err)
}

// all makes slice after slice.
func (p *punching) all() error {
	p.meter.Begin(phasePunch, "holes", 0)
	deadline := time.Now().Add(readerWait)
	for wait := betweenSlices; ; {
		// Most is on the disk before writers have to wait for it.
		if err := p.meter.Await(p.db.Sync); err != nil {
			return err
		}
		left, err := p.slice()
		if !errors.Is(err, errReaders) {
			if err != nil || !left {
				return err
			}
			deadline, wait = time.Now().Add(readerWait), betweenSlices
		} else if time.Now().After(deadline) {
			return sdk.Errorf(sdk.ErrBusy, "compact %s: for %s there has always been a read transaction from before the last change, and pages that it may see cannot be given back", p.path, readerWait).
				WithHint("look for a read transaction that is never ended; what was given back until then stays so")
		} else {
			wait = min(2*wait, time.Second)
		}
		if err := p.sleep(wait); err != nil {
			return err
		}
	}
}

func (p *punching) sleep(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		p.meter.Beat()
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// errReaders says that an open reader may see pages that are free.
var errReaders = errors.New("a reader sees pages that have become free")

// slice holds the writers up and makes holes.
func (p *punching) slice() (left bool, err error) {
	began := time.Now()
	p.db.hold.close()
	defer func() {
		p.db.hold.open()
		p.pause += time.Since(began)
		p.holds++
	}()
	most := p.options.MaxPause / 4
	txid, err := p.quiet(began.Add(most))
	if errors.Is(err, errReaders) {
		if err = p.commitNothing(); err == nil {
			txid, err = p.quiet(began.Add(2 * most))
		}
	}
	if err != nil {
		return true, err
	}
	lock, err := p.db.lockWriters(p.ctx, p.g, p.path, p.meter)
	if err != nil {
		return true, err
	}
	defer func() { _ = lock.Rollback() }()
	if lock.ID() != txid {
		return true, errReaders // a writer that had begun to wait before came between
	}
	if err := p.source.Sync(); err != nil {
		return true, err
	}
	end := time.Now().Add(most)
	return p.slices.Punch(p.ctx, func() bool { return time.Now().Before(end) })
}

// commitNothing makes two transactions that change nothing, so that bbolt lets go
// of all pages once the readers from before have ended. It keeps what the last
// transaction freed until nobody reads that one's state, to whom it does not
// matter; where readers overlap there is always somebody. The only pages that such
// transactions free are those that the freelist is on: so the first one does not
// write it anew, and the second one has none to free.
func (p *punching) commitNothing() error {
	if err := p.commit(true); err != nil {
		return err
	}
	return p.commit(false)
}

// commit makes a transaction that changes nothing, without a freelist if bare.
func (p *punching) commit(bare bool) error {
	tx, err := p.db.lockWriters(p.ctx, p.g, p.path, p.meter)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	p.db.settle(p.g)
	if bare {
		p.g.db.NoFreelistSync = true // until the next writer settles it
	}
	return tx.Commit()
}

// quiet waits until all pages on the freelist are free for everybody, and returns
// the number of the next transaction, which is that for as long as none is
// committed. bbolt finds out which are free when a write transaction begins, and
// tells when it ends.
func (p *punching) quiet(deadline time.Time) (int, error) {
	for {
		lock, err := p.db.lockWriters(p.ctx, p.g, p.path, p.meter)
		if err != nil {
			return 0, err
		}
		txid := lock.ID()
		if err := lock.Rollback(); err != nil {
			return 0, err
		}
		if p.g.db.Stats().PendingPageN == 0 {
			return txid, nil
		}
		if time.Now().After(deadline) {
			return 0, errReaders
		}
		time.Sleep(pollEvery)
	}
}

// verify reads all that is in use: a page of it that had become a hole would be
// none any more.
func (p *punching) verify() (content.Sum, page.Meta, error) {
	snapshot, err := p.g.snapshot(p.source)
	if err != nil {
		return content.Sum{}, page.Meta{}, err
	}
	defer snapshot.release()
	sum, _, err := rewrite.SumUp(p.source, snapshot.meta, phaseVerify, p.meter)
	if p.ctx.Err() != nil {
		err = nil // what is not known is no damage
	}
	return sum, snapshot.meta, err
}

func (p *punching) result(before, after content.Sum, same bool) (sdk.CompactResult, error) {
	if err := p.ctx.Err(); err != nil {
		return sdk.CompactResult{}, err
	}
	info, err := p.source.Stat()
	if err != nil {
		return sdk.CompactResult{}, err
	}
	size := sizeOf(info)
	done := p.slices.Result()
	result := sdk.CompactResult{
		Before: p.size, After: size, ReclaimedBytes: p.size.AllocatedBytes - size.AllocatedBytes,
		Mode: bolt.ModePunch, Pause: p.pause, NoOp: done.Runs == 0,
		Note: fmt.Sprintf("%s made where pages were free; writers were held up %s; the file keeps its size", plural(int(done.Runs), "hole"), plural(p.holds, "time")),
	}
	if !same {
		result.Note = join(result.Note, "all content was read afterwards, and not compared, as it was written to meanwhile")
		return result, nil
	}
	if before != after {
		return result, sdk.Errorf(sdk.ErrInternal, "compact %s: the store was punched, and has other content than before", p.path).
			WithHint("stop the application, look at a copy of the store with `bbolt check FILE`, and restore a backup; please report this")
	}
	result.Verification = &sdk.Verification{
		DigestBefore: before.String(), DigestAfter: after.String(), ItemsBefore: before.Items, ItemsAfter: after.Items,
	}
	return result, nil
}

func (p *punching) explain(err error) error {
	doing := "compact " + p.path
	switch {
	case errors.Is(err, punch.ErrNoList):
		return sdk.Errorf(sdk.ErrUnsupported, "%s: %w: while it is in use nobody knows which pages are free", doing, err).
			WithHint("use mode %q, or punch it while the application is stopped", bolt.ModeRewrite)
	case errors.Is(err, punch.ErrUnsupported):
		return sdk.Errorf(sdk.ErrUnsupported, "%s: the file system cannot punch holes: %w", doing, err).WithHint("use mode %q", bolt.ModeRewrite)
	}
	return err
}
