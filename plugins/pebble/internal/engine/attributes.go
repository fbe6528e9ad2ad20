package engine

import (
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// attributeKeys is at how many keys of each table is looked for short attributes.
const attributeKeys = 64

// HasAttributes says whether values have short attributes, as far as the first keys of
// each table with values apart from their keys tell: only those have any.
func (t *Tree) HasAttributes(ctx context.Context) (found bool, err error) {
	it, err := t.DB.NewIterWithContext(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("iterate: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for _, level := range t.Levels {
		for _, table := range level {
			if table.Props.NumValueBlocks == 0 && table.Props.NumValuesInBlobFiles == 0 {
				continue
			}
			if err := ctx.Err(); err != nil {
				return false, err
			}
			valid := it.SeekGE(table.Smallest)
			for range attributeKeys {
				if !valid {
					break
				}
				if hasAttribute(it) {
					return true, nil
				}
				valid = it.Next()
			}
		}
	}
	return false, it.Error()
}

func hasAttribute(it *pebbledb.Iterator) bool {
	value := it.LazyValue()
	attribute, _ := value.TryGetShortAttribute()
	return attribute != 0
}
