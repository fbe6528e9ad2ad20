package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/sstable/rowblk"
)

// openBytes is about what it takes to open a table: footer, properties and the like.
const openBytes = 4 << 10

// keysInside are separators of the table's index, which lie between its smallest and
// largest key, about equally far apart in bytes: those of its topmost level, or of all
// blocks.
func (t *Tree) keysInside(ctx context.Context, table Table, all bool) (keys [][]byte, err error) {
	compare := t.Comparer.Compare
	err = t.Open(ctx, table, func(r *sstable.Reader) error {
		format, err := r.TableFormat()
		if err != nil {
			return err
		}
		top, err := indexOf(ctx, r.BlockReader().Readable(), int64(format.FooterSize()))
		if err != nil {
			return err
		}
		return t.separators(ctx, r, top, all && r.Attributes.Has(sstable.AttributeTwoLevelIndex), func(key []byte) {
			// A virtual table is a part of its file.
			if compare(key, table.Smallest) > 0 && compare(key, table.Largest) < 0 {
				keys = append(keys, bytes.Clone(key))
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the index of table %d: %w", table.Number, err)
	}
	return keys, nil
}

// separators reads a block of the index, or those that it refers to.
func (t *Tree) separators(ctx context.Context, r *sstable.Reader, index block.Handle, below bool, add func(key []byte)) error {
	noMetadata := func(*block.Metadata, []byte) error { return nil }
	b, err := r.BlockReader().Read(ctx, block.NoReadEnv, nil, index, blockkind.Index, noMetadata)
	if err != nil {
		return err
	}
	defer b.Release()
	var it interface {
		Init(*pebbledb.Comparer, []byte, block.IterTransforms) error
		First() bool
		Next() bool
		Separator() []byte
		BlockHandleWithProperties() (block.HandleWithProperties, error)
	} = &rowblk.IndexIter{}
	if format, err := r.TableFormat(); err == nil && format.BlockColumnar() {
		it = &colblk.IndexIter{}
	}
	if err := it.Init(t.Comparer, b.BlockData(), block.NoTransforms); err != nil {
		return err
	}
	for valid := it.First(); valid; valid = it.Next() {
		if !below {
			add(it.Separator())
			continue
		}
		handle, err := it.BlockHandleWithProperties()
		if err != nil {
			return err
		}
		if err := t.separators(ctx, r, handle.Handle, false, add); err != nil {
			return err
		}
	}
	return nil
}

// indexOf finds the topmost index by the table's footer, which has two handles behind
// a byte for the kind of checksum.
func indexOf(ctx context.Context, file objstorage.Readable, length int64) (block.Handle, error) {
	footer := make([]byte, length)
	if err := file.ReadAt(ctx, footer, file.Size()-length); err != nil {
		return block.Handle{}, err
	}
	rest := footer[1:]
	_, n := block.DecodeHandle(rest)
	handle, m := block.DecodeHandle(rest[n:])
	if n == 0 || m == 0 || int64(handle.Offset+handle.Length) > file.Size() {
		return block.Handle{}, errors.New("the footer has no index")
	}
	return handle, nil
}
