// Package rewrite copies the content of a bbolt file into a new one, and proves
// on the way that all of it is there: every page that can be reached is checked,
// the new file is audited as it grows, and both are summed up.
package rewrite

import (
	"errors"
	"os"

	"github.com/wringdb/wring/plugins/bolt/internal/audit"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
	"github.com/wringdb/wring/sdk"
)

// Phases, as progress names them.
const (
	phaseCopy   = "copy"
	phaseVerify = "verify"
)

// Same returns the error for sums that differ, of the store at path and of its
// new file; it is of kind sdk.ErrInternal.
func Same(path string, before, after content.Sum) error {
	if before == after {
		return nil
	}
	return sdk.Errorf(sdk.ErrInternal, "compact %s: the new file differs: %s with %d items and %d bytes before, %s with %d items and %d bytes after",
		path, &before, before.Items, before.Bytes, &after, after.Items, after.Bytes).
		WithHint("the store is as it was; please report this, with the output of `bbolt check FILE`")
}

// ErrNotSmaller ends a copy whose file is of no use.
var ErrNotSmaller = errors.New("the new file is not smaller")

// Copy is one new file.
type Copy struct {
	Source *os.File
	// Meta is the state of the source to be copied; nothing that it leads to may
	// change meanwhile.
	Meta page.Meta
	// TreeBytes is how much there is to copy, about, for the progress.
	TreeBytes int64
	Temp      *replace.Temp
	// TxID of the new file: see writer.Config.
	TxID uint64
	// Fill is how full its pages become.
	Fill float64
	// NoFreelist makes a file as NoFreelistSync leaves it.
	NoFreelist bool
	// Most is how many bytes it may have: from there on it is of no use.
	Most  int64
	Meter *Meter
}

// Run writes the content into the new file, and audits that as it grows. It
// returns the sums of what was read and of what lies in the new file, which are
// for the caller to compare. Reading and packing go on in this goroutine, while
// another one writes and audits what has been written. ErrNotSmaller is among
// the errors. Nothing is synced.
func (c *Copy) Run() (before, after content.Sum, err error) {
	c.Meter.Begin(phaseCopy, "bytes", c.TreeBytes)
	mapping, err := page.Map(c.Source, c.Meta.Bytes())
	if err != nil {
		return before, after, err
	}
	defer c.Meter.unmap(mapping)
	file := &page.File{R: c.Source, Data: mapping.Data, Meta: c.Meta}

	config := writer.Config{
		PageSize:   c.Meta.PageSize,
		Fill:       c.Fill,
		NoFreelist: c.NoFreelist,
		Sequence:   c.Meta.Sequence,
		TxID:       c.TxID,
		Accept:     c.accept,
	}
	auditor := audit.New(c.Temp.File, c.Meta.PageSize, config.FirstPage())
	defer auditor.Close()
	var begun int64
	config.Written = func(end int64) error {
		beginWriting(c.Temp.File, begun, end)
		begun = end
		return c.audit(func() error { return auditor.To(end) })
	}
	w := writer.New(c.Meter.ctx, c.Temp, config)
	defer w.Abort()

	copied := &copier{summer: newSummer(c.Meter, mapping), to: w, ahead: newReadAhead(mapping.Data, c.Meta)}
	if err := fault.Contain("read "+c.Source.Name(), func() error {
		reached, err := walk.Walk(file, copied)
		if err != nil {
			return err
		}
		if err := walk.CheckFree(file, reached); err != nil {
			return err
		}
		_, err = w.Finish() // which copies what is left of the mapped file
		return err
	}); err != nil {
		return before, after, err
	}
	before = copied.file(c.Meta)
	c.Meter.End()
	err = c.audit(func() (err error) {
		after, err = auditor.Finish()
		return err
	})
	return before, after, err
}

// accept accounts for bytes that are about to be written. It ends a copy that
// outgrows its use, which a fill near the least may bring about.
func (c *Copy) accept(n int64) error {
	if c.Meter.progress.BytesWritten+n > c.Most {
		return ErrNotSmaller
	}
	return c.Meter.Add(0, 0, n)
}

// audit runs a part of an audit of the new file.
func (c *Copy) audit(part func() error) error {
	return fault.Unsound(c.Source.Name(), fault.Contain("audit "+c.Temp.Path, part))
}

// ReadBack audits the new file as the disk has it, and sums it up.
func (c *Copy) ReadBack() (sum content.Sum, err error) {
	info, err := c.Temp.File.Stat()
	if err != nil {
		return sum, err
	}
	size := info.Size()
	DropCache(c.Temp.File)
	c.Meter.Begin(phaseVerify, "bytes", size)
	auditor := audit.New(c.Temp.File, c.Meta.PageSize, writer.Config{NoFreelist: c.NoFreelist}.FirstPage())
	defer auditor.Close()
	// Whole pages: both numbers are powers of two.
	step := max(readBackStep, int64(c.Meta.PageSize))
	for end := min(step, size); ; end = min(end+step, size) {
		if err := c.Meter.Add(step, step, 0); err != nil {
			return sum, err
		}
		if err := c.audit(func() error { return auditor.To(end) }); err != nil {
			return sum, err
		}
		if end == size {
			break
		}
	}
	if err := c.audit(func() (err error) {
		sum, err = auditor.Finish()
		return err
	}); err != nil {
		return sum, err
	}
	c.Meter.End()
	return sum, nil
}

// readBackStep is how many bytes are audited between two looks at the context.
const readBackStep = int64(lookBytes)

// copier hands what a walk visits to a writer, and sums it up.
type copier struct {
	*summer
	to    *writer.Writer
	ahead *readAhead
}

// Ahead implements walk.Ahead. What keeps to a rate reads nothing early.
func (c *copier) Ahead(branch *page.Node) {
	if c.meter.pace.Rate() == 0 {
		c.ahead.branch(branch)
	}
}

// Item implements walk.Visitor.
func (c *copier) Item(n *page.Node, i int) error {
	key, value, err := n.Item(i)
	if err != nil {
		return err
	}
	c.put(key, value)
	return c.to.Put(key, value)
}

// Enter implements walk.Visitor.
func (c *copier) Enter(n *page.Node, i int, b *page.Bucket) error {
	name, err := n.Key(i)
	if err != nil {
		return err
	}
	c.enter(name, b.Sequence)
	return c.to.Enter(name, b.Sequence)
}

// Leave implements walk.Visitor.
func (c *copier) Leave() error {
	c.leave()
	return c.to.Leave()
}

var (
	_ walk.Visitor = (*copier)(nil)
	_ walk.Ahead   = (*copier)(nil)
)
