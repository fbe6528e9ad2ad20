package engine

import (
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/wringdb/wring/sdk"
)

// Rounding is what a measurement does not quarrel about: the file system holds a
// block for a log with nothing in it.
const Rounding = 4096

// Tree is an open store as a measurement sees it: how its tables lie, and the
// store to read them by.
type Tree struct {
	DB       *pebbledb.DB
	Comparer *pebbledb.Comparer // with its defaults
	Levels   [][]Table
	// Open reads a table's file by itself; nil where there is no way to. Its error is
	// fs.ErrNotExist where the table is gone.
	Open func(ctx context.Context, table Table, read func(*sstable.Reader) error) error
	// Pending may be nil where nobody knows.
	Pending *Pending
	// Renew is after how many bytes reading goes on with a new iterator, lest it
	// keep tables that others have replaced; 0 for never.
	Renew int64
	// Passive is set for a store without automatic compactions, in which lone
	// tables of the lowest level stay as they are.
	Passive bool
	// BlobsStay is set for a store whose blob files only its application's own settings
	// rewrite: what compaction takes from tables gives back nothing of them.
	BlobsStay bool
	// Whole is set for a compaction that writes all tables anew. What counts as
	// rewritten then is what has anything dead.
	Whole bool
	// Forced is set for a store that nobody else writes to, in which regions that are
	// Forcible are rewritten too.
	Forced bool
}

// Rewrites says whether a compaction of the store writes the region anew.
func (t *Tree) Rewrites(r Region) bool {
	if t.Whole {
		return r.Pending || len(r.Tables) > 1 || r.Tables[0].Dirty()
	}
	if t.Forced && r.Forcible() {
		return true
	}
	return r.Rewritten() && (!t.Passive || r.Pending || r.Compactable())
}

// Regions of the store.
func (t *Tree) Regions() []Region { return Regions(t.Comparer.Compare, t.Levels, t.Pending) }

// Surroundings is what a measurement has to know beside the tree.
type Surroundings struct {
	Size sdk.Size
	// Leftovers are given back with the rewritten regions.
	Leftovers func(rewritten []Region) Leftovers
	// Budget is how many bytes a sampled measurement reads, with what opening the store
	// took. Where that was more than half of it, the other half is for content.
	Budget int64
	// Read is how many bytes of files were read so far. With nil, blocks of keys and
	// values count for all.
	Read func() int64
	// Exact is set when reading everything leaves nothing open.
	Exact bool
}

// Leftovers are files, in allocated bytes, that a compaction removes beside what
// it rewrites. Their content is in the tables already, or goes there.
type Leftovers struct {
	Logs, Tables int64
	// Blobs are the values in blob files that no table refers to.
	Blobs int64
}

// Bytes of all.
func (l Leftovers) Bytes() int64 { return l.Logs + l.Tables + l.Blobs }

// Measure predicts what compaction gives back.
func (t *Tree) Measure(ctx context.Context, depth sdk.Depth, around Surroundings) (sdk.Fragmentation, error) {
	f := sdk.Fragmentation{
		TotalBytes:     around.Size.TotalBytes,
		AllocatedBytes: around.Size.AllocatedBytes,
		Method:         sdk.MethodEstimated,
		Metrics:        t.metrics(),
	}
	all := t.Regions()
	var rewritten []Region
	for _, r := range all {
		if t.Rewrites(r) {
			rewritten = append(rewritten, r)
		}
	}
	// Before the sample, which may have all that is left of the budget.
	stretches, err := t.cut(ctx, all)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	var s survey
	if depth == sdk.DepthQuick {
		s = estimate(rewritten)
	} else {
		m := meter{bytes: around.Read, until: everything}
		if depth != sdk.DepthExact {
			m.begin(around.Budget)
		}
		s, err = t.sample(ctx, rewritten, &m)
		if err != nil {
			return sdk.Fragmentation{}, err
		}
		f.Method = sdk.MethodSampled
		if depth == sdk.DepthExact && around.Exact {
			f.Method = sdk.MethodExact
		}
	}
	before, after := int64(0), int64(0)
	for i, r := range rewritten {
		before += r.Bytes()
		after += t.remains(r, s.after[i])
	}
	moved := rewritten
	if t.Whole {
		moved = all
	}
	leftovers := around.Leftovers(moved)
	f.ReclaimableBytes = min(max(0, before-after+leftovers.Bytes()), f.AllocatedBytes)
	if f.ReclaimableBytes < Rounding {
		f.ReclaimableBytes = 0
	}
	f.LiveBytes = max(0, f.AllocatedBytes-f.ReclaimableBytes)
	f.Map = t.fillMap(all, s)
	f.Layers = t.layers(all, stretches, s)
	f.Metrics["rewrite_bytes"] = float64(bytesOf(moved))
	f.Metrics["obsolete_log_bytes"] = float64(leftovers.Logs)
	f.Metrics["obsolete_table_bytes"] = float64(leftovers.Tables)
	f.Metrics["dead_blob_bytes"] = float64(leftovers.Blobs)
	t.bound(&f, rewritten, s, leftovers)
	if t.Forced && !t.Whole {
		more := max(0, around.Leftovers(all).Bytes()-leftovers.Bytes())
		for _, r := range all {
			if !t.Rewrites(r) {
				more += r.Tables[0].dead()
			}
		}
		f.Metrics[MetricWhole] = float64(min(f.ReclaimableBytes+more, f.AllocatedBytes))
	}
	return f, nil
}

// MetricWhole is about how much comes back where all tables are written anew, of which
// the properties tell what lies beyond a compaction that does not.
const MetricWhole = "rewrite_reclaimable_bytes"

// remains is what is left of a region that is to weigh so much.
func (t *Tree) remains(r Region, after int64) int64 {
	before := r.Bytes()
	if !t.BlobsStay || before == 0 {
		return after
	}
	var tables int64
	for _, t := range r.Tables {
		tables += t.Size
	}
	return before - int64(float64(before-after)*float64(tables)/float64(before))
}

func bytesOf(regions []Region) (n int64) {
	for _, r := range regions {
		n += r.Bytes()
	}
	return n
}

// metrics are what the store's own bookkeeping says; levels without tables are
// left out.
func (t *Tree) metrics() map[string]float64 {
	m := map[string]float64{
		"format_major_version": float64(t.DB.FormatMajorVersion()),
	}
	var tables, bytes, entries, tombstones, ranges, rangeKeys float64
	for level, list := range t.Levels {
		var size float64
		for _, table := range list {
			size += float64(table.Size)
			entries += float64(table.Props.NumEntries)
			tombstones += float64(table.Props.NumDeletions)
			ranges += float64(table.Props.NumRangeDeletions)
			rangeKeys += float64(table.Props.NumRangeKeySets)
		}
		if len(list) > 0 {
			m[fmt.Sprintf("level_%d_bytes", level)] = size
			m[fmt.Sprintf("level_%d_tables", level)] = float64(len(list))
		}
		tables += float64(len(list))
		bytes += size
	}
	m["tables"], m["table_bytes"] = tables, bytes
	m["entries"], m["tombstones"] = entries, tombstones
	m["range_tombstones"], m["range_keys"] = ranges, rangeKeys
	m["blob_bytes"] = float64(t.DB.Metrics().BlobFiles.LiveSize)
	if t.Pending != nil {
		m["unflushed_writes"] = float64(t.Pending.Writes)
	}
	if bits := FilterBits(t.Levels, t.Comparer); bits > 0 {
		m["filter_bits_per_key"] = float64(bits)
	}
	return m
}
