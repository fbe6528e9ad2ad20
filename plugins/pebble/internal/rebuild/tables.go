// Package rebuild writes all that a reader of a store sees into new sorted tables
// that do not overlap. Nothing that is dead comes along: no tombstone, no version
// but the newest, no merge operand by itself.
package rebuild

import (
	"bytes"
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Tables are to be written.
type Tables struct {
	Comparer *pebbledb.Comparer // with its defaults
	Options  sstable.WriterOptions
	// Size is about how many bytes each of them becomes.
	Size int64
	// Create makes the file of the n-th table, from 0.
	Create func(n int) (vfs.File, error)
}

// Write writes the content of r and returns how many tables it takes. It calls
// report now and then, in the goroutine of the caller, with how many bytes of keys
// and values it has written.
//
// The store is read in a goroutine of its own, so that reading and writing do not
// wait for each other.
func (t Tables) Write(ctx context.Context, r pebbledb.Reader, report func(bytes int64)) (n int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	reading := newReading()
	go reading.run(ctx, r)
	defer func() {
		cancel()
		if rerr := reading.wait(); err == nil {
			err = rerr
		}
	}()
	w := &writer{tables: t}
	defer func() {
		if cerr := w.finish(); err == nil {
			err = cerr
		}
		n = w.count
	}()
	var done int64
	for c := range reading.chunks {
		for _, e := range c.entries {
			if err := w.add(e); err != nil {
				return 0, err
			}
			done += e.bytes()
		}
		reading.giveBack(c)
		report(done)
	}
	if err := reading.wait(); err != nil { // before the span that is open is closed
		return 0, err
	}
	return 0, w.endSpan(nil)
}

// writer puts entries into one table after the other.
type writer struct {
	tables Tables
	count  int
	table  *sstable.Writer // nil before the first key of the next one
	// last is the key of the entry before.
	last []byte
	// open are the range keys at last; nil for none. What is before their start is
	// written already.
	open *span
}

func (w *writer) add(e entry) error {
	if e.spanChanged {
		if err := w.endSpan(nil); err != nil {
			return err
		}
	}
	if at := w.cut(e.key); at != nil {
		if err := w.endSpan(at); err != nil {
			return err
		}
		if err := w.finish(); err != nil {
			return err
		}
	}
	if e.spanChanged {
		w.open = e.span
	}
	w.last = append(w.last[:0], e.key...)
	if !e.point {
		return nil
	}
	if err := w.begin(); err != nil {
		return err
	}
	return w.table.Set(e.key, e.value)
}

// cut returns where the next table is to begin, before the key that comes next, or
// nil for nowhere. Tables end between two prefixes, which is where range keys may
// be cut in two. Within a prefix with many keys, they end where no range key is.
func (w *writer) cut(next []byte) []byte {
	if w.table == nil || int64(w.table.Raw().EstimatedSize()) < w.tables.Size {
		return nil
	}
	c := w.tables.Comparer
	prefix := next[:c.Split(next)]
	switch {
	case c.Compare(prefix, w.last[:c.Split(w.last)]) != 0:
		return prefix
	case w.open == nil && int64(w.table.Raw().EstimatedSize()) >= 2*w.tables.Size:
		return next
	}
	return nil
}

// endSpan writes the open range keys as far as a key, or to their end if that is nil.
func (w *writer) endSpan(until []byte) error {
	s := w.open
	if s == nil {
		return nil
	}
	if err := w.begin(); err != nil {
		return err
	}
	end := until
	if until == nil {
		end, w.open = s.end, nil
	}
	for _, k := range s.keys {
		if err := w.table.RangeKeySet(s.start, end, k.Suffix, k.Value); err != nil {
			return err
		}
	}
	s.start = bytes.Clone(end)
	return nil
}

// begin makes sure that there is a table to write to.
func (w *writer) begin() error {
	if w.table != nil {
		return nil
	}
	file, err := w.tables.Create(w.count)
	if err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	w.count++
	w.table = sstable.NewWriter(objstorageprovider.NewFileWritable(file), w.tables.Options)
	return nil
}

// finish syncs and closes the table.
func (w *writer) finish() error {
	if w.table == nil {
		return nil
	}
	table := w.table
	w.table = nil
	if err := table.Close(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
