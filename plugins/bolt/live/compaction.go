package live

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

// Phases, as progress names them, beside those of package rewrite.
const (
	phaseSync    = "sync"
	phaseCatchUp = "catch_up"
	phaseCheck   = "check"
)

// errLost says that the snapshots had to be given up, and the others why.
var (
	errLost     = errors.New("the copy's snapshot was given up")
	errHeadroom = fmt.Errorf("%w: the store grew to the end of what is mapped of it, where writers would have waited for the copy", errLost)
	errHeldUp   = fmt.Errorf("%w: no read transaction could be begun for %s, which the copy may have been the reason for", errLost, stalled)
)

// compaction is one attempt at a new file.
type compaction struct {
	db        *DB
	old       *generation
	path      string // resolved
	options   CompactOptions
	size      sdk.Size // of the store, the last time that it was looked at
	treeBytes int64
	packed    int64 // bytes that the copy is expected to have

	ctx   context.Context
	meter *rewrite.Meter

	source *os.File
	pins   pins
	// watcher gives the pins up.
	watcher *watcher
	base    *snapshot // what the copy has
	temp    *replace.Temp
	next    *bbolt.DB
	mapped  int64 // bytes of the copy, at least

	// had is the sum of the base, as read from the store; have is what the copy
	// has, as read from there. They are equal between rounds.
	had, have content.Sum

	checked bool // by checkAll
	rounds  int
	synced  time.Duration // how long the last sync of the copy took
	ending  ending        // of rounds
	pause   time.Duration // writers were held up so far
	holds   int           // so many times
	grown   int64         // bytes, by the snapshots

	swapped bool // the new file is in place
}

func (c *compaction) run(ctx context.Context) (result sdk.CompactResult, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.ctx = ctx
	c.meter = rewrite.NewMeter(ctx, time.Now, c.options.Pace, c.options.Report)
	c.meter.Yield(c.old.busy())
	if c.source, err = c.old.opens(c.path); err != nil {
		return result, err
	}
	defer func() {
		if c.source != nil {
			_ = c.source.Close()
		}
	}()
	// Each transaction writes the list of free pages anew, and while a snapshot is
	// held bbolt takes new pages for it each time: of a file with much garbage that
	// is a megabyte, and the file grows by it with each commit. So the list is not
	// written meanwhile. Should the process die, bbolt finds the free pages by
	// itself when it next opens the file.
	c.old.bare.Store(true)
	defer c.old.bare.Store(false)
	if c.base, err = c.snapshot(); err != nil {
		return result, err
	}
	defer c.pins.giveUp()
	c.watcher = c.old.watch(c.base.meta.Bytes(), c.room, func(why error) {
		c.pins.giveUp()
		cancel(why)
	})
	defer func() {
		c.grown = c.watcher.stop()
		if !c.swapped { // it may be a panic of the application's, in Report
			c.discard()
		}
		if why := context.Cause(ctx); err != nil && !c.swapped && (errors.Is(why, errLost) || errors.Is(why, sdk.ErrNoSpace)) {
			err = why // whatever reading pages that are used again has led to
		}
	}()
	if err := c.copy(); err != nil {
		return result, err
	}
	return c.catchUp()
}

// mostReserve of a disk, in bytes, is the application's: it is by how much bbolt
// makes a file longer at a time.
const mostReserve = 16 << 20

// room is an error where the disk is about to be full: the application is not to
// hear of it first. Half of what a rewrite has to find beside the copy is the
// application's.
func (c *compaction) room() error {
	free, err := replace.FreeSpace(c.source)
	if err != nil {
		return err
	}
	if reserve := min(mostReserve, c.packed/20); free < reserve {
		return sdk.Errorf(sdk.ErrNoSpace, "compact %s: given up, as %s are left on the disk and the application needs them to write", c.path, sdk.FormatBytes(free)).
			WithHint("free space where the store lies and try again, or use mode %q, which needs no space", bolt.ModePunch)
	}
	return nil
}

func (c *compaction) snapshot() (*snapshot, error) {
	s, err := c.old.snapshot(c.source)
	if err == nil {
		c.pins.add(s)
	}
	return s, err
}

// advance makes a later snapshot the base.
func (c *compaction) advance(to *snapshot) {
	c.pins.drop(c.base)
	c.base = to
}

// copy makes the new file of the base, and opens it.
func (c *compaction) copy() (err error) {
	if c.temp, err = replace.NewTemp(c.path, c.source, replace.Unfinished, rand.Reader, c.db.hook); err != nil {
		return err
	}
	if _, err := c.temp.Hold(); err != nil {
		return err
	}
	copying := &rewrite.Copy{
		Source: c.source, Meta: c.base.meta, TreeBytes: c.treeBytes,
		Temp: c.temp, TxID: firstTxID, Fill: c.options.FillPercent, NoFreelist: c.db.NoFreelistSync,
		Most: c.size.TotalBytes, Meter: c.meter,
	}
	if c.had, c.have, err = copying.Run(); err != nil {
		return err
	}
	if err := c.sync(); err != nil {
		return err
	}
	if c.options.VerifyFull {
		if c.have, err = copying.ReadBack(); err != nil {
			return err
		}
	}
	if err := rewrite.Same(c.path, c.had, c.have); err != nil {
		return err
	}
	if err := c.smaller(); err != nil {
		return err
	}
	return c.open()
}

// open opens the copy by bbolt.
func (c *compaction) open() error {
	return c.contain("open the copy of", func() (err error) {
		c.next, err = c.openNext()
		return err
	})
}

// firstTxID numbers the copy's transactions. See renumber.
const firstTxID = 1

// renumber begins the copy's numbers anew where they have come beyond the store's:
// those of the store go on in the copy, and must be higher than all that bbolt
// has seen there, since it goes by them to tell which pages a reader may see. It
// takes a large transaction of the store, which is brought over in several.
func (c *compaction) renumber() error {
	newest, err := c.newestMeta()
	if err != nil || newest.TxID <= c.base.meta.TxID {
		return err
	}
	next := c.next
	c.next = nil
	if err := next.Close(); err != nil {
		return err
	}
	if _, err := c.temp.Hold(); err != nil { // bbolt has let go of it
		return err
	}
	if err := c.number(newest, firstTxID-1); err != nil {
		return err
	}
	return c.open()
}

func (c *compaction) newestMeta() (page.Meta, error) {
	metas, err := page.ReadMetas(c.temp.File, c.base.meta.PageSize)
	if metas[1].TxID > metas[0].TxID {
		return metas[1], err
	}
	return metas[0], err
}

// number gives both metas of the copy the same content, the numbers txid and the
// one after it.
func (c *compaction) number(meta page.Meta, txid uint64) error {
	for _, n := range []uint64{txid, txid + 1} {
		meta.TxID, meta.Page = n, page.ID(n%2)
		b := make([]byte, page.HeaderSize+page.MetaSize)
		page.PutMeta(b, meta)
		if _, err := c.temp.WriteAt(b, meta.Offset(meta.Page)); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the copy durable as it is, so that little is left for the moment in
// which writers wait.
func (c *compaction) sync() error {
	info, err := c.temp.File.Stat()
	if err != nil {
		return err
	}
	c.meter.Begin(phaseSync, "bytes", info.Size())
	began := time.Now()
	if err := c.meter.Await(c.temp.Sync); err != nil {
		return err
	}
	c.synced = time.Since(began)
	c.meter.End()
	return nil
}

// smaller makes sure that the copy is of use still: both files grow by what is
// written meanwhile.
func (c *compaction) smaller() error {
	now, err := c.source.Stat()
	if err != nil {
		return err
	}
	info, err := c.temp.File.Stat()
	if err != nil {
		return err
	}
	c.size = sizeOf(now)
	if sizeOf(info).AllocatedBytes > c.size.AllocatedBytes-int64(c.base.meta.PageSize) {
		return rewrite.ErrNotSmaller
	}
	return nil
}

func sizeOf(info os.FileInfo) sdk.Size {
	size := sdk.Size{TotalBytes: info.Size(), AllocatedBytes: info.Size()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		size.AllocatedBytes = int64(stat.Blocks) * 512 //nolint:unconvert // the type differs between systems
	}
	return size
}

// discard removes what was made of the new file.
func (c *compaction) discard() {
	if c.next != nil {
		_ = c.next.Close()
	}
	if c.temp != nil {
		c.temp.Discard()
	}
}

// result is that of a new file in the old one's place.
func (c *compaction) result(after sdk.Size, left error) (sdk.CompactResult, error) {
	result := sdk.CompactResult{
		Before: c.size, After: after, ReclaimedBytes: c.size.AllocatedBytes - after.AllocatedBytes,
		Mode: bolt.ModeRewrite, Pause: c.pause,
		Verification: &sdk.Verification{
			DigestBefore: c.had.String(), DigestAfter: c.have.String(),
			ItemsBefore: c.had.Items, ItemsAfter: c.have.Items,
		},
		Note: fmt.Sprintf("%s brought over what was written meanwhile; writers were held up %s", plural(c.rounds+1, "round"), plural(c.holds, "time")),
	}
	if n := c.old.stats().OpenTxN; n > 0 {
		result.Note = join(result.Note, fmt.Sprintf("%s of before still open, and the old file takes its space until then", plural(n, "read transaction")))
	}
	if left != nil {
		return result, sdk.Errorf(sdk.ErrInternal, "compact %s: the new file is in place, but: %w", c.path, left).
			WithHint("the content is complete; look at the file system's health")
	}
	return result, nil
}

// plural is a number of things: "1 round", "2 rounds".
func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// contain runs what reads mapped files.
func (c *compaction) contain(doing string, call func() error) error {
	return fault.Contain(doing+" "+c.path, call)
}

// pageFile is a state of the store, or of the copy, mapped.
func pageFile(f *os.File, meta page.Meta) (*page.File, func(), error) {
	mapping, err := page.Map(f, meta.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return &page.File{R: f, Data: mapping.Data, Meta: meta}, func() { _ = mapping.Close() }, nil
}
