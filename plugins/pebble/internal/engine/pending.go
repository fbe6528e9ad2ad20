package engine

import (
	"bytes"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// Pending are the writes that a store has in its write-ahead log alone. A
// compaction flushes them into tables of level 0 first.
type Pending struct {
	Writes            int
	Smallest, Largest []byte
	// Everywhere is set when their key range is not known.
	Everywhere bool
}

// ReadBatch adds the writes of a batch.
func (p *Pending) ReadBatch(repr []byte, compare pebbledb.Compare) error {
	batch := batchrepr.Read(repr)
	for {
		kind, key, value, ok, err := batch.Next()
		if !ok {
			return err
		}
		switch kind {
		case pebbledb.InternalKeyKindLogData:
			continue
		case pebbledb.InternalKeyKindSet, pebbledb.InternalKeyKindSetWithDelete, pebbledb.InternalKeyKindMerge,
			pebbledb.InternalKeyKindDelete, pebbledb.InternalKeyKindDeleteSized, pebbledb.InternalKeyKindSingleDelete:
			p.widen(key, compare)
		case pebbledb.InternalKeyKindRangeDelete:
			p.widen(key, compare)
			p.widen(value, compare)
		default: // range keys and ingested tables
			p.Everywhere = true
		}
		p.Writes++
	}
}

func (p *Pending) widen(key []byte, compare pebbledb.Compare) {
	if p.Smallest == nil || compare(key, p.Smallest) < 0 {
		p.Smallest = bytes.Clone(key)
	}
	if p.Largest == nil || compare(key, p.Largest) > 0 {
		p.Largest = bytes.Clone(key)
	}
}

// span gives the key range, both ends inclusive; ok is false where nothing
// bounds it.
func (p *Pending) span(tables []Table, compare pebbledb.Compare) (from, to []byte, ok bool) {
	from, to = p.Smallest, p.Largest
	if p.Everywhere {
		for _, t := range tables {
			if from == nil || compare(t.Smallest, from) < 0 {
				from = t.Smallest
			}
			if to == nil || compare(t.Largest, to) > 0 {
				to = t.Largest
			}
		}
	}
	return from, to, from != nil
}
