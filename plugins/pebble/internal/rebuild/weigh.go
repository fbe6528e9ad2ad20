package rebuild

import (
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Weigh writes a sample of a store's keys and values, about limit bytes from each of
// the places where to start, into a table in memory. It returns how large the table
// became, and the sample before compression with 8 bytes for each key's sequence number.
func Weigh(ctx context.Context, r pebbledb.Reader, o sstable.WriterOptions, starts [][]byte, limit int64) (size, raw int64, err error) {
	it, err := r.NewIterWithContext(ctx, nil)
	if err != nil {
		return 0, 0, fmt.Errorf("iterate: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	table := &objstorage.MemObj{}
	w := sstable.NewWriter(table, o)
	var last []byte
	for _, start := range starts {
		read := int64(0)
		for valid := it.SeekGE(start); valid && read < limit; valid = it.Next() {
			if last != nil && o.Comparer.Compare(it.Key(), last) <= 0 {
				continue // where the sample before it has ended
			}
			value, verr := it.ValueAndErr()
			if verr == nil {
				verr = w.Set(it.Key(), value)
			}
			if verr != nil {
				_ = w.Close() // it is of no use any more
				return 0, 0, verr
			}
			last = append(last[:0], it.Key()...)
			read += int64(len(last) + 8 + len(value))
		}
		raw += read
	}
	if err := w.Close(); err != nil {
		return 0, 0, err
	}
	return int64(len(table.Data())), raw, it.Error()
}
