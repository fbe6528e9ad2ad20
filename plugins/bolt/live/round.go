package live

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/diff"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

const (
	// maxRounds and maxLate bound how long a compaction runs after writers that
	// are faster than it: rounds, and last rounds that took too long.
	maxRounds = 100
	maxLate   = 8
	// batchBytes is after how many bytes of nodes read the copy's transaction is
	// committed: what it has changed is in memory until then.
	batchBytes = 8 << 20
)

// errLate ends a round that holds writers up for too long.
var errLate = errors.New("takes longer than writers may be held up")

// catchUp makes rounds until the last one, in which writers wait, has been made
// and the new file is in place. It comes to that when a round was so short that
// little can have been written during it, or not shorter than the one before.
func (c *compaction) catchUp() (sdk.CompactResult, error) {
	var last time.Duration
	for late := 0; c.rounds < maxRounds && late < maxLate; {
		began := time.Now()
		if err := c.nextRound(); err != nil {
			return sdk.CompactResult{}, err
		}
		took := time.Since(began)
		settled := took <= c.options.MaxPause/4 || last > 0 && took > last/4*3
		last = took
		if !settled {
			continue
		}
		if err := c.checkAll(); err != nil {
			return sdk.CompactResult{}, err
		}
		result, err := c.hold()
		if !errors.Is(err, errLate) {
			return result, err
		}
		late++
	}
	return sdk.CompactResult{}, sdk.Errorf(sdk.ErrBusy, "compact %s: given up after %d rounds and %d holds: what is written meanwhile takes longer to bring over than the %s for which writers may be held up", c.path, c.rounds, c.holds, c.options.MaxPause).
		WithHint("compact when less is written, or allow a longer pause")
}

// nextRound is one during which writers go on.
func (c *compaction) nextRound() error {
	to, err := c.snapshot()
	if err != nil {
		return err
	}
	c.rounds++
	c.meter.Begin(phaseCatchUp, "bytes", 0)
	if err := c.round(to, nil); err != nil {
		return err
	}
	c.advance(to)
	if err := c.renumber(); err != nil {
		return err
	}
	return c.sync()
}

// checkAll sums up all of the store as of the base, where that is asked for: what
// the rounds have told must come to the same.
func (c *compaction) checkAll() error {
	if !c.options.VerifyFull || c.checked {
		return nil
	}
	c.checked = true
	sum, _, err := rewrite.SumUp(c.source, c.base.meta, phaseCheck, c.meter)
	if err != nil {
		return err
	}
	return rewrite.Same(c.path, sum, c.have)
}

// round brings the copy from the base to a later snapshot, and proves from the
// copy's pages that it has changed as the store has. A limit makes it one
// transaction, which is rolled back when that is reached before its commit.
func (c *compaction) round(to *snapshot, l *limit) error {
	if c.base.meta.Root == to.meta.Root {
		return nil // nothing has changed, and the copy's numbers stay behind
	}
	now, unmapNow, err := pageFile(c.source, to.meta)
	if err != nil {
		return err
	}
	defer unmapNow()
	from := &page.File{R: c.source, Data: now.Data, Meta: c.base.meta}
	b := &copyWriter{c: c, limit: l}
	defer b.rollback()
	var changed content.Sum
	if err := c.contain("read", func() (err error) {
		if err := b.begin(); err != nil {
			return err
		}
		if changed, err = diff.Between(from, now, b, diff.Config{Read: b.read}); err != nil {
			return err
		}
		return b.commit()
	}); err != nil {
		return err
	}
	c.had.Add(changed)
	c.have.Add(b.changed)
	return rewrite.Same(c.path, c.had, c.have)
}

// copyWriter applies a difference to the copy in transactions of bounded size.
type copyWriter struct {
	diff.Applier
	c       *compaction
	limit   *limit // nil for a round that takes its time
	tx      *bbolt.Tx
	bytes   int64
	changed content.Sum // of the copy, by its own pages
}

func (b *copyWriter) begin() (err error) {
	if b.tx, err = b.c.next.Begin(true); err != nil {
		return err
	}
	b.bytes = 0
	b.Begin(b.tx)
	return nil
}

func (b *copyWriter) rollback() {
	if b.tx != nil {
		_ = b.tx.Rollback()
	}
}

// commit also finds out from the copy what the transaction has changed there.
// Its pages are as they were before, until the next one is committed.
func (b *copyWriter) commit() error {
	began := time.Now()
	// After a panic rollback still finds it open: Close would wait for it.
	if err := b.tx.Commit(); err != nil {
		return fmt.Errorf("write %s: %w", b.c.temp.Path, err)
	}
	b.tx = nil
	if b.limit != nil {
		b.limit.committed()
	}
	metas, err := page.ReadMetas(b.c.temp.File, b.c.base.meta.PageSize)
	if err != nil {
		return err
	}
	was, is := metas[0], metas[1]
	if was.TxID > is.TxID {
		was, is = is, was
	}
	to, unmap, err := pageFile(b.c.temp.File, is)
	if err != nil {
		return err
	}
	defer unmap()
	from := &page.File{R: to.R, Data: to.Data, Meta: was}
	changed, err := diff.Between(from, to, nothing{}, diff.Config{})
	b.changed.Add(changed)
	if b.limit == nil {
		b.c.ending.saw(b.bytes, time.Since(began))
	}
	return err
}

// read accounts for a node.
func (b *copyWriter) read(bytes int64) error {
	b.bytes += bytes
	if b.limit != nil {
		return b.limit.reached(b.bytes)
	}
	return b.c.meter.Add(bytes, bytes, bytes)
}

// more is called before each change.
func (b *copyWriter) more() error {
	switch {
	case b.bytes < batchBytes:
		return nil
	case b.limit != nil:
		return errLate
	}
	if err := b.commit(); err != nil {
		return err
	}
	return b.begin()
}

// Put implements diff.Visitor.
func (b *copyWriter) Put(key, value []byte) error {
	if err := b.more(); err != nil {
		return err
	}
	return b.Applier.Put(key, value)
}

// Delete implements diff.Visitor.
func (b *copyWriter) Delete(key []byte) error {
	if err := b.more(); err != nil {
		return err
	}
	return b.Applier.Delete(key)
}

// bucketBytes is about what bbolt keeps in memory for each bucket that a
// transaction has opened, beside what is read of it.
const bucketBytes = 1 << 10

// Create implements diff.Visitor.
func (b *copyWriter) Create(name []byte, sequence uint64) error {
	if err := b.more(); err != nil {
		return err
	}
	b.bytes += bucketBytes
	return b.Applier.Create(name, sequence)
}

// DeleteBucket implements diff.Visitor.
func (b *copyWriter) DeleteBucket(name []byte) error {
	if err := b.more(); err != nil {
		return err
	}
	b.bytes += bucketBytes
	return b.Applier.DeleteBucket(name)
}

// Enter implements diff.Visitor.
func (b *copyWriter) Enter(name []byte, sequence *uint64) error {
	if err := b.more(); err != nil {
		return err
	}
	b.bytes += bucketBytes
	return b.Applier.Enter(name, sequence)
}

// nothing is a diff.Visitor for who wants the sum alone.
type nothing struct{}

func (nothing) Put([]byte, []byte) error    { return nil }
func (nothing) Delete([]byte) error         { return nil }
func (nothing) Create([]byte, uint64) error { return nil }
func (nothing) DeleteBucket([]byte) error   { return nil }
func (nothing) Enter([]byte, *uint64) error { return nil }
func (nothing) Leave() error                { return nil }
