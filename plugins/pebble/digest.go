package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	pebbledb "github.com/cockroachdb/pebble/v2"
)

// checkEvery is how many keys are read between two looks at the context.
const checkEvery = 1024

// content is what a reader of a whole store sees, in sum.
type content struct {
	digest string
	items  int64 // keys, and range keys
	bytes  int64 // of keys and values
}

// readContent reads a whole store in key order. Two stores have equal digests if
// and only if a reader cannot tell them apart, but for collisions of xxh64:
// each part goes in with its length before it, and with a byte for its kind.
func readContent(ctx context.Context, db *pebbledb.DB, report func(bytes int64)) (c content, err error) {
	it, err := db.NewIterWithContext(ctx, &pebbledb.IterOptions{KeyTypes: pebbledb.IterKeyTypePointsAndRanges})
	if err != nil {
		return content{}, fmt.Errorf("iterate: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	sum := xxhash.New()
	for valid, n := it.First(), 1; valid; valid, n = it.Next(), n+1 {
		if n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return content{}, err
			}
			report(c.bytes)
		}
		point, span := it.HasPointAndRange()
		if span && it.RangeKeyChanged() {
			from, to := it.RangeBounds()
			for _, k := range it.RangeKeys() {
				c.items++
				c.bytes += int64(len(k.Suffix) + len(k.Value))
				writeParts(sum, 'r', from, to, k.Suffix, k.Value)
			}
		}
		if point {
			value, err := it.ValueAndErr()
			if err != nil {
				return content{}, err
			}
			c.items++
			c.bytes += int64(len(it.Key()) + len(value))
			writeParts(sum, 'p', it.Key(), value)
		}
	}
	if err := it.Error(); err != nil {
		return content{}, err
	}
	report(c.bytes)
	c.digest = fmt.Sprintf("xxh64:%016x", sum.Sum64())
	return c, nil
}

// writeParts never fails: a hash takes everything.
func writeParts(sum io.Writer, kind byte, parts ...[]byte) {
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	from := 0
	for _, part := range parts {
		n := binary.PutUvarint(head[1:], uint64(len(part)))
		_, _ = sum.Write(head[from : 1+n])
		_, _ = sum.Write(part)
		from = 1 // the kind goes in once
	}
}
