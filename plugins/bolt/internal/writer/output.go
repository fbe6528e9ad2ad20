package writer

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Memory of an output: as many chunks as chunkSize, or the page size where that
// is more. One is being filled while the others are being written.
const (
	chunkSize = 1 << 20
	chunks    = 3
)

// output writes chunks of the file, in order, in a goroutine of its own.
type output struct {
	ctx     context.Context
	file    io.WriterAt
	config  Config
	current *chunk
	free    chan *chunk
	full    chan *chunk
	once    sync.Once     // closes full
	done    chan struct{} // closed when nothing is being written any more
	failed  chan struct{} // closed when err is set
	err     error
}

type chunk struct {
	data []byte
	at   int64 // offset in the file
	tree bool  // not the head of the file
}

func startOutput(ctx context.Context, file io.WriterAt, at int64, c Config) *output {
	o := &output{
		ctx: ctx, file: file, config: c,
		free: make(chan *chunk, chunks), full: make(chan *chunk, chunks),
		done: make(chan struct{}), failed: make(chan struct{}),
	}
	for range chunks {
		o.free <- &chunk{data: make([]byte, 0, max(chunkSize, c.PageSize)), tree: true}
	}
	o.current = <-o.free
	o.current.at = at
	go o.run()
	return o
}

func (o *output) run() {
	defer close(o.done)
	for c := range o.full {
		if err := o.put(c); err != nil {
			o.err = err
			close(o.failed)
			return
		}
		c.data = c.data[:0]
		o.free <- c
	}
}

func (o *output) put(c *chunk) error {
	if _, err := o.file.WriteAt(c.data, c.at); err != nil {
		return fmt.Errorf("write at byte %d: %w", c.at, err)
	}
	if o.config.Written == nil || !c.tree {
		return nil
	}
	return o.config.Written(c.at + int64(len(c.data)))
}

// flush hands the current chunk over and takes an empty one.
func (o *output) flush() error {
	if len(o.current.data) == 0 {
		return nil
	}
	end := o.current.at + int64(len(o.current.data))
	if err := o.hand(o.current); err != nil {
		return err
	}
	select {
	case o.current = <-o.free:
		o.current.at = end
		return nil
	case <-o.failed:
		return o.err
	case <-o.ctx.Done():
		return o.ctx.Err()
	}
}

func (o *output) hand(c *chunk) error {
	if o.config.Accept != nil {
		if err := o.config.Accept(int64(len(c.data))); err != nil {
			return err
		}
	}
	select {
	case o.full <- c:
		return nil
	case <-o.failed:
		return o.err
	case <-o.ctx.Done():
		return o.ctx.Err()
	}
}

// node writes a node. One that does not fit into a chunk is written in pieces.
func (o *output) node(id page.ID, leaf bool, pages int, n *node) error {
	size := pages * o.config.PageSize
	if size > cap(o.current.data)-len(o.current.data) {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if size > cap(o.current.data) {
		return o.large(id, leaf, pages, n)
	}
	from := len(o.current.data)
	o.current.data = o.current.data[:from+size]
	fill(o.current.data[from:], id, leaf, pages-1, n.entries)
	return nil
}

// fill makes a node of b.
func fill(b []byte, id page.ID, leaf bool, overflow int, entries []page.Entry) {
	page.PutTable(b, id, leaf, overflow, entries)
	at := page.HeaderSize + len(entries)*page.ElementSize
	for i := range entries {
		at += copy(b[at:], entries[i].Key)
		at += copy(b[at:], entries[i].Value)
	}
	clear(b[at:]) // chunks are used again
}

func (o *output) large(id page.ID, leaf bool, pages int, n *node) error {
	table := make([]byte, page.HeaderSize+len(n.entries)*page.ElementSize)
	page.PutTable(table, id, leaf, pages-1, n.entries)
	if err := o.pieces(table); err != nil {
		return err
	}
	for i := range n.entries {
		if err := o.pieces(n.entries[i].Key); err != nil {
			return err
		}
		if err := o.pieces(n.entries[i].Value); err != nil {
			return err
		}
	}
	rest := pages*o.config.PageSize - int(n.used)
	return o.pieces(make([]byte, rest))
}

func (o *output) pieces(b []byte) error {
	for len(b) > 0 {
		if len(o.current.data) == cap(o.current.data) {
			if err := o.flush(); err != nil {
				return err
			}
		}
		n := min(len(b), cap(o.current.data)-len(o.current.data))
		o.current.data = append(o.current.data, b[:n]...)
		b = b[n:]
	}
	return nil
}

// finish writes what is left, and the head of the file last.
func (o *output) finish(head []byte) error {
	if err := o.flush(); err != nil {
		return err
	}
	if err := o.hand(&chunk{data: head}); err != nil {
		return err
	}
	o.once.Do(func() { close(o.full) })
	select {
	case <-o.done:
		return o.err
	case <-o.ctx.Done():
		return o.ctx.Err()
	}
}

// abort ends the goroutine, once it has written what was handed over.
func (o *output) abort() {
	o.once.Do(func() { close(o.full) })
	<-o.done
}
