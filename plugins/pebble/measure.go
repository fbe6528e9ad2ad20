package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wringdb/wring/sdk"
)

const (
	// attempts at opening a store that somebody may be writing to.
	attempts = 3
	// attemptDelay grows with each attempt.
	attemptDelay = 20 * time.Millisecond
	// replayBytes is how much of the write-ahead log a measurement replays into
	// memory; longer logs are left out of it.
	replayBytes = 256 << 20
	// sampleBytes is the usual budget of a sampled measurement.
	sampleBytes = 64 << 20
	// newLogBytes is what the file system holds for the log of a store that was
	// just compacted and closed: one block.
	newLogBytes = 4096
)

// Fragmentation implements sdk.Backend. It takes no lock, so that tables may
// vanish under it; then it starts over.
func (b *backend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	var err error
	for attempt := 1; attempt <= attempts; attempt++ {
		if attempt > 1 {
			select {
			case <-ctx.Done():
				return sdk.Fragmentation{}, ctx.Err()
			case <-time.After(time.Duration(attempt-1) * attemptDelay):
			}
		}
		// The log is what changes most: the last attempt does without it.
		hideLogs := req.Depth == sdk.DepthQuick || attempt == attempts
		var f sdk.Fragmentation
		w := newWatch()
		var stuck bool
		f, stuck, err = apart(ctx, w, func() {}, func() (sdk.Fragmentation, error) {
			return b.measureOnce(ctx, req, hideLogs, w)
		})
		if stuck {
			return sdk.Fragmentation{}, workError("measure", req.Store.Path, err)
		}
		if err != nil && ctx.Err() != nil {
			return sdk.Fragmentation{}, sdk.Errorf(sdk.ErrCancelled, "measure %s: %w", req.Store.Path, ctx.Err())
		}
		if err == nil || !errors.Is(err, sdk.ErrCorrupt) {
			return f, err
		}
	}
	if d, derr := openDirectory(req.Store.Path); derr == nil {
		if who := holder(d.path); who != "" {
			busy := sdk.Errorf(sdk.ErrBusy, "measure %s while %s writes to it: %s", d.path, who, firstLine(err))
			return sdk.Fragmentation{}, busy.WithHint("measure again when less is written, or with depth quick")
		}
	}
	return sdk.Fragmentation{}, err
}

func (b *backend) measureOnce(ctx context.Context, req sdk.FragmentationRequest, hideLogs bool, w *watch) (sdk.Fragmentation, error) {
	d, err := openDirectory(req.Store.Path)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	if d.logBytes() > replayBytes {
		hideLogs = true
	}
	v, err := b.openView(ctx, d.path, viewing{hideLogs: hideLogs, bits: req.Options.Number(optionFilterBits), watch: w})
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	defer v.close()
	return v.measure(ctx, req.Depth, b.sampleBytes)
}

func (d *directory) logBytes() (n int64) {
	for _, f := range d.files {
		if f.isLog() {
			n += f.size
		}
	}
	return n
}

// measure predicts what our own Compact gives back.
func (v *view) measure(ctx context.Context, depth sdk.Depth, budget int64) (sdk.Fragmentation, error) {
	size := v.size()
	f := sdk.Fragmentation{
		TotalBytes:     size.TotalBytes,
		AllocatedBytes: size.AllocatedBytes,
		Method:         sdk.MethodEstimated,
		Metrics:        v.metrics(),
	}
	all := v.regions()
	var rewritten []region
	for _, r := range all {
		if r.rewritten() {
			rewritten = append(rewritten, r)
		}
	}
	var s survey
	if depth == sdk.DepthQuick {
		s = estimate(rewritten)
	} else {
		var err error
		if depth == sdk.DepthExact {
			budget = everything
		}
		s, err = v.sample(ctx, rewritten, budget)
		if err != nil {
			return sdk.Fragmentation{}, readError("sample", v.path, err)
		}
		f.Method = sdk.MethodSampled
		if depth == sdk.DepthExact && v.pending != nil {
			f.Method = sdk.MethodExact
		}
	}
	before, after := int64(0), int64(0)
	for i, r := range rewritten {
		before += r.bytes()
		after += s.after[i]
	}
	leftovers := v.leftovers(rewritten)
	f.ReclaimableBytes = min(max(0, before-after+leftovers.bytes()), f.AllocatedBytes)
	if f.ReclaimableBytes < newLogBytes {
		f.ReclaimableBytes = 0 // rounding of blocks
	}
	f.LiveBytes = max(0, size.AllocatedBytes-f.ReclaimableBytes)
	f.Map = fillMap(all, s)
	f.Metrics["rewrite_bytes"] = float64(before)
	f.Metrics["obsolete_log_bytes"] = float64(leftovers.logs)
	f.Metrics["obsolete_table_bytes"] = float64(leftovers.tables)
	f.Metrics["reclaimable_min_bytes"] = float64(max(0, before-s.most+leftovers.bytes()))
	f.Metrics["reclaimable_max_bytes"] = float64(max(0, before-s.least+leftovers.bytes()))
	return f, nil
}

// leftovers are files, in allocated bytes, that opening and closing a store
// removes. Their content is in the tables already, or goes there.
type leftovers struct{ logs, tables int64 }

func (l leftovers) bytes() int64 { return l.logs + l.tables }

// leftovers of the store: logs, tables of no version, and what virtual tables
// hold of their file beyond their own range when all of them get rewritten.
func (v *view) leftovers(rewritten []region) leftovers {
	used := map[uint64]int64{} // bytes that tables use of a file
	for _, level := range v.levels {
		for _, t := range level {
			used[t.backing] += t.size
		}
	}
	moved := map[uint64]int64{}
	for _, r := range rewritten {
		for _, t := range r.tables {
			moved[t.backing] += t.size
		}
	}
	var l leftovers
	var blobs int64
	for _, f := range v.files {
		if f.isLog() {
			l.logs += f.allocated
		}
		if _, ok := f.number(".blob"); ok {
			blobs += f.allocated
		}
		number, ok := f.number(".sst")
		switch {
		case !ok:
		case used[number] == 0:
			l.tables += f.allocated
		case moved[number] == used[number]:
			l.tables += max(0, f.size-used[number])
		}
	}
	l.logs = max(0, l.logs-newLogBytes)
	if live := int64(v.db.Metrics().BlobFiles.LiveSize); blobs > live+newLogBytes {
		l.tables += blobs - live
	}
	return l
}

// metrics are what the store's own bookkeeping says; levels without tables are
// left out.
func (v *view) metrics() map[string]float64 {
	m := map[string]float64{
		"format_major_version": float64(v.format),
		"log_bytes":            float64(v.logBytes()),
	}
	var tables, bytes, entries, tombstones, ranges, rangeKeys float64
	for level, list := range v.levels {
		var size float64
		for _, t := range list {
			size += float64(t.size)
			entries += float64(t.props.NumEntries)
			tombstones += float64(t.props.NumDeletions)
			ranges += float64(t.props.NumRangeDeletions)
			rangeKeys += float64(t.props.NumRangeKeySets)
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
	m["blob_bytes"] = float64(v.db.Metrics().BlobFiles.LiveSize)
	if v.pending != nil {
		m["unflushed_writes"] = float64(v.pending.writes)
	}
	if bits := filterBits(v.levels); bits > 0 {
		m["filter_bits_per_key"] = float64(bits)
	}
	return m
}
