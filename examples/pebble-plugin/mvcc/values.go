package mvcc

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Int is the value of a counter.
func Int(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// Sum adds what is merged into a counter.
var Sum = &pebble.Merger{
	Name: "example.sum",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		s := new(sum)
		return s, s.add(value)
	},
}

// sum wraps around, as the addition of int64 does.
type sum int64

func (s *sum) add(value []byte) error {
	if len(value) != 8 {
		return fmt.Errorf("%x is no counter", value)
	}
	*s += sum(binary.BigEndian.Uint64(value))
	return nil
}

func (s *sum) MergeNewer(value []byte) error { return s.add(value) }
func (s *sum) MergeOlder(value []byte) error { return s.add(value) }

func (s *sum) Finish(bool) ([]byte, io.Closer, error) { return Int(int64(*s)), nil, nil }

// intervals is the name of a block property: from when to when versions are.
const intervals = "example.times"

// Collectors write down of which times the versions in a block and in a table are.
var Collectors = []func() pebble.BlockPropertyCollector{
	func() pebble.BlockPropertyCollector {
		return sstable.NewBlockIntervalCollector(intervals, byTime{}, nil)
	},
}

// Between lets a reader pass over blocks that have no version from first to last. It
// may be shown some all the same.
func Between(first, last uint64) pebble.BlockPropertyFilter {
	return sstable.NewBlockIntervalFilter(intervals, first, last+1, nil)
}

type byTime struct{}

func (byTime) MapPointKey(key pebble.InternalKey, _ []byte) (sstable.BlockInterval, error) {
	return interval(key.UserKey[split(key.UserKey):]), nil
}

func (byTime) MapRangeKeys(span sstable.Span) (all sstable.BlockInterval, err error) {
	for _, key := range span.Keys {
		all.UnionWith(interval(key.Suffix))
	}
	return all, nil
}

func interval(suffix []byte) sstable.BlockInterval {
	t, ok := timeOf(suffix)
	if !ok {
		return sstable.BlockInterval{}
	}
	return sstable.BlockInterval{Lower: t.Wall, Upper: t.Wall + 1}
}
