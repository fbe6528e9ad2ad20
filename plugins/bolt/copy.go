package bolt

import (
	"github.com/wringdb/wring/plugins/bolt/internal/audit"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
	"github.com/wringdb/wring/sdk"
)

// copyTo writes the content into the new file, and audits that as it grows.
// Reading and packing go on in this goroutine, while another one writes and
// audits what has been written.
func (c *compaction) copyTo(temp *replace.Temp) error {
	meta := c.found.Meta
	c.meter.begin(phaseCopy, "bytes", c.found.TreePages()*int64(meta.PageSize))
	mapping, err := page.Map(c.source.file, meta.Bytes())
	if err != nil {
		return err
	}
	defer mapping.Close()
	file := &page.File{R: c.source.file, Data: mapping.Data, Meta: meta}

	config := writer.Config{
		PageSize:   meta.PageSize,
		Fill:       c.options.fill,
		NoFreelist: meta.Freelist == page.NoFreelist,
		Sequence:   meta.Sequence,
		TxID:       meta.TxID + 1,
		Accept:     c.accept,
	}
	auditor := audit.New(temp.File, meta.PageSize, firstPage(meta))
	defer auditor.Close()
	var begun int64
	config.Written = func(end int64) error {
		beginWriting(temp.File, begun, end)
		begun = end
		return c.audit(temp, func() error { return auditor.To(end) })
	}
	w := writer.New(c.ctx, temp, config)
	defer w.Abort()

	copied := &copier{summer: newSummer(c.meter), to: w, ahead: newReadAhead(mapping.Data, meta)}
	if err := contain("read "+c.source.path, func() error {
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
		return err
	}
	c.before = copied.file(meta)
	c.meter.end()
	return c.audit(temp, func() (err error) {
		c.after, err = auditor.Finish()
		return err
	})
}

// accept accounts for bytes that are about to be written. It ends a copy that
// outgrows the store, which a fill near the least may bring about.
func (c *compaction) accept(n int64) error {
	if c.meter.progress.BytesWritten+n > c.source.size.TotalBytes {
		return errNotSmaller
	}
	return c.meter.add(0, 0, n)
}

// audit runs a part of an audit of the new file.
func (c *compaction) audit(temp *replace.Temp, part func() error) error {
	return unsound(c.source.path, contain("audit "+temp.Path, part))
}

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

// verify holds the new file against the old one, and with the option reads it
// once more, from the disk.
func (c *compaction) verify(temp *replace.Temp) error {
	info, err := temp.File.Stat()
	if err != nil {
		return err
	}
	c.packed = sizeOf(info)
	if c.packed.AllocatedBytes > c.source.size.AllocatedBytes-int64(c.found.Meta.PageSize) {
		return errNotSmaller
	}
	if c.options.verify == verifyFull {
		if err := c.readBack(temp, info.Size()); err != nil {
			return err
		}
	}
	if c.before != c.after {
		return sdk.Errorf(sdk.ErrInternal, "compact %s: the new file differs: %s with %d items and %d bytes before, %s with %d items and %d bytes after",
			c.source.path, &c.before, c.before.Items, c.before.Bytes, &c.after, c.after.Items, c.after.Bytes).
			WithHint("the store is as it was; please report this, with the output of `bbolt check FILE`")
	}
	c.meter.begin(phaseReplace, "files", 1)
	return nil
}

// readBack audits the new file as the disk has it.
func (c *compaction) readBack(temp *replace.Temp, size int64) error {
	dropCache(temp.File)
	c.meter.begin(phaseVerify, "bytes", size)
	auditor := audit.New(temp.File, c.found.Meta.PageSize, firstPage(c.found.Meta))
	defer auditor.Close()
	// Whole pages: both numbers are powers of two.
	step := max(readBackStep, int64(c.found.Meta.PageSize))
	for end := min(step, size); ; end = min(end+step, size) {
		if err := c.meter.add(step, step, 0); err != nil {
			return err
		}
		if err := c.audit(temp, func() error { return auditor.To(end) }); err != nil {
			return err
		}
		if end == size {
			break
		}
	}
	if err := c.audit(temp, func() (err error) {
		c.after, err = auditor.Finish()
		return err
	}); err != nil {
		return err
	}
	c.meter.end()
	return nil
}

// readBackStep is how many bytes are audited between two looks at the context.
const readBackStep = int64(lookBytes)

// firstPage of the trees in a new file.
func firstPage(meta page.Meta) page.ID {
	return writer.Config{NoFreelist: meta.Freelist == page.NoFreelist}.FirstPage()
}

var (
	_ walk.Visitor = (*copier)(nil)
	_ walk.Ahead   = (*copier)(nil)
)
