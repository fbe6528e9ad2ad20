// Package writer makes a bbolt file out of content that arrives in order: each
// page is written once, in the order of the file, and leaves, branches and
// buckets are built from the bottom up.
//
// The file has its two metas on pages 0 and 1 and an empty freelist on page 2,
// unless it is to have none; the trees follow without a gap.
package writer

import (
	"context"
	"io"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/pack"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Config of a file to write.
type Config struct {
	PageSize int
	// Fill is how full pages become, 0.1 to 1: see package pack.
	Fill float64
	// NoFreelist makes a file as NoFreelistSync leaves it.
	NoFreelist bool
	// Sequence of the root bucket, and TxID of the newer meta, at least 1.
	Sequence, TxID uint64
	// Accept is told how many bytes are about to be written; it may delay the
	// writer, and its error ends the writing. May be nil.
	Accept func(n int64) error
	// Written is called from a goroutine of the writer's when all bytes of the
	// trees below end have been written, while it goes on with the next. Its
	// error ends the writing. May be nil.
	Written func(end int64) error
}

// FirstPage is where the trees begin.
func (c Config) FirstPage() page.ID {
	if c.NoFreelist {
		return 2
	}
	return 3
}

// Writer fills an empty file. It refers to all slices that it is handed until
// it has finished. It is a content.Visitor, whose root bucket is the file's.
type Writer struct {
	config Config
	rule   pack.Rule
	out    *output
	next   page.ID
	open   []*tree // from the root down to the current bucket
	spare  []*tree
	slab   []byte // memory for the headers of buckets
}

// New starts to write. Finish or Abort must follow; the end of ctx ends the
// writing.
func New(ctx context.Context, file io.WriterAt, c Config) *Writer {
	w := &Writer{config: c, rule: pack.New(c.PageSize, c.Fill), next: c.FirstPage()}
	w.out = startOutput(ctx, file, int64(c.FirstPage())*int64(c.PageSize), c)
	w.open = []*tree{w.tree(nil, c.Sequence)}
	return w
}

// tree is a bucket that is being written.
type tree struct {
	name     []byte
	sequence uint64
	nested   bool    // it has buckets in it
	levels   []level // leaves first
}

// level is what has not been written yet at one height of a tree.
type level struct {
	// open takes entries. held is full, but a branch whose last entries open
	// may need, to have enough itself.
	open, held node
}

type node struct {
	entries []page.Entry
	used    int64 // bytes, the header's included
}

func (n *node) add(e page.Entry, size int64) {
	if len(n.entries) == 0 {
		n.used = page.HeaderSize
	}
	n.entries = append(n.entries, e)
	n.used += size
}

func (n *node) reset() {
	clear(n.entries)
	n.entries, n.used = n.entries[:0], page.HeaderSize
}

func (w *Writer) tree(name []byte, sequence uint64) *tree {
	t := new(tree)
	if n := len(w.spare); n > 0 {
		t, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	t.name, t.sequence, t.nested = name, sequence, false
	t.level(0).open.reset()
	return t
}

// level returns the level at a height that is at most one above the top.
func (t *tree) level(height int) *level {
	if height == len(t.levels) {
		if height < cap(t.levels) {
			t.levels = t.levels[:height+1] // with its memory
		} else {
			t.levels = append(t.levels, level{})
		}
		t.levels[height].open.reset()
		t.levels[height].held.reset()
	}
	return &t.levels[height]
}

// Enter implements content.Visitor.
func (w *Writer) Enter(name []byte, sequence uint64) error {
	w.open = append(w.open, w.tree(name, sequence))
	return nil
}

// Put implements content.Visitor.
func (w *Writer) Put(key, value []byte) error {
	return w.add(w.open[len(w.open)-1], 0, page.Entry{Key: key, Value: value})
}

// Leave implements content.Visitor.
func (w *Writer) Leave() error {
	t := w.open[len(w.open)-1]
	w.open = w.open[:len(w.open)-1]
	value, err := w.bucket(t)
	if err != nil {
		return err
	}
	parent := w.open[len(w.open)-1]
	parent.nested = true
	err = w.add(parent, 0, page.Entry{Key: t.name, Value: value, Bucket: true})
	t.levels = t.levels[:0]
	w.spare = append(w.spare, t)
	return err
}

// bucket ends a tree and returns the value by which its parent knows it.
func (w *Writer) bucket(t *tree) (value []byte, err error) {
	if leaf := &t.levels[0].open; len(t.levels) == 1 && !t.nested && w.rule.Inline(leaf.used) {
		value = w.bytes(page.BucketHeaderSize + int(leaf.used))
		page.PutBucket(value, 0, t.sequence)
		fill(value[page.BucketHeaderSize:], 0, true, 0, leaf.entries)
		return value, nil
	}
	root, err := w.finish(t)
	if err != nil {
		return nil, err
	}
	value = w.bytes(page.BucketHeaderSize)
	page.PutBucket(value, root, t.sequence)
	return value, nil
}

// slabSize is how much memory for buckets is asked for at a time. A slab is
// freed when the last leaf that refers to it has been written.
const slabSize = 64 << 10

func (w *Writer) bytes(n int) []byte {
	if n > slabSize/4 {
		return make([]byte, n)
	}
	if n > len(w.slab) {
		w.slab = make([]byte, slabSize)
	}
	b := w.slab[:n:n]
	w.slab = w.slab[n:]
	return b
}

// add puts the next entry into a tree at a height.
func (w *Writer) add(t *tree, height int, e page.Entry) error {
	size := pack.EntrySize(int64(len(e.Key)), int64(len(e.Value)))
	l := t.level(height)
	leaf := height == 0
	count := len(l.open.entries)
	if enough := count >= pack.MinChildren || leaf && count > 0; enough && !w.rule.Joins(l.open.used, count, size) {
		if leaf {
			if err := w.closeNode(t, height, &l.open); err != nil {
				return err
			}
		} else {
			l.open, l.held = l.held, l.open // held is empty
		}
		l = &t.levels[height] // closing may have added a level
	}
	l.open.add(e, size)
	if len(l.held.entries) > 0 && len(l.open.entries) >= pack.MinChildren {
		return w.closeNode(t, height, &l.held)
	}
	return nil
}

// closeNode writes a node and tells its parent.
func (w *Writer) closeNode(t *tree, height int, n *node) error {
	id, err := w.write(n, height == 0)
	if err != nil {
		return err
	}
	key := n.entries[0].Key
	n.reset()
	return w.add(t, height+1, page.Entry{Key: key, Child: id})
}

// finish writes what is left of a tree and returns its root.
func (w *Writer) finish(t *tree) (page.ID, error) {
	for height := 0; ; height++ {
		l := &t.levels[height]
		l.balance()
		if len(l.held.entries) > 0 {
			if err := w.closeNode(t, height, &l.held); err != nil {
				return 0, err
			}
			l = &t.levels[height]
		}
		if height == len(t.levels)-1 {
			return w.write(&l.open, height == 0)
		}
		if err := w.closeNode(t, height, &l.open); err != nil {
			return 0, err
		}
	}
}

// balance makes sure that the last two nodes of a level have enough entries
// each, or makes them one.
func (l *level) balance() {
	held, open := len(l.held.entries), len(l.open.entries)
	if held == 0 || open >= pack.MinChildren {
		return
	}
	from := held - (pack.MinChildren - open)
	if from < pack.MinChildren {
		from = 0
	}
	moved := append(l.held.entries[from:held:held], l.open.entries...)
	l.open.reset()
	for _, e := range moved {
		size := pack.EntrySize(int64(len(e.Key)), 0)
		l.open.add(e, size)
	}
	for _, e := range l.held.entries[from:] {
		l.held.used -= pack.EntrySize(int64(len(e.Key)), 0)
	}
	l.held.entries = l.held.entries[:from]
}

// write gives a node its pages.
func (w *Writer) write(n *node, leaf bool) (page.ID, error) {
	id, pages := w.next, max(1, w.rule.Pages(n.used))
	w.next += page.ID(pages)
	return id, w.out.node(id, leaf, int(pages), n)
}

// Finish completes the file and returns its size: up to the high-water mark
// exactly. Nothing is synced. The Writer is of no use afterwards.
func (w *Writer) Finish() (size int64, err error) {
	root, err := w.finish(w.open[0])
	if err != nil {
		return 0, err
	}
	meta := page.Meta{
		PageSize: w.config.PageSize, Root: root, Sequence: w.config.Sequence,
		Freelist: 2, HighWater: w.next, TxID: w.config.TxID,
	}
	if w.config.NoFreelist {
		meta.Freelist = page.NoFreelist
	}
	return meta.Bytes(), w.out.finish(w.head(meta))
}

// head is all before the trees. The older meta leads to the same content.
func (w *Writer) head(meta page.Meta) []byte {
	size := w.config.PageSize
	head := make([]byte, int(w.config.FirstPage())*size)
	for _, txid := range []uint64{meta.TxID - 1, meta.TxID} {
		m := meta
		m.TxID, m.Page = txid, page.ID(txid%2)
		page.PutMeta(head[int(m.Page)*size:], m)
	}
	if !w.config.NoFreelist {
		page.PutFreelist(head[2*size:], meta.Freelist)
	}
	return head
}

// Abort gives up, and waits until nothing is being written any more. After
// Finish it does nothing.
func (w *Writer) Abort() { w.out.abort() }

var _ content.Visitor = (*Writer)(nil)
