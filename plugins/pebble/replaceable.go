package pebble

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
	"github.com/wringdb/wring/sdk"
)

// replaceable says why a copy cannot take the store's place, or nil.
func (v *view) replaceable(compression *sstable.CompressionProfile) *sdk.Error {
	refuse := func(format string, arguments ...any) *sdk.Error {
		return sdk.Errorf(sdk.ErrUnsupported, "rewrite %s: %s", v.path, fmt.Sprintf(format, arguments...)).WithHint("%s", useRanges)
	}
	if dirs := v.own.logDirs(v.directory); v.own.parsed.WALDir != "" || len(dirs) > 1 {
		return refuse("it keeps its log elsewhere too, in %s", strings.Join(dirs, ", "))
	}
	if n := v.db.Metrics().BlobFiles.LiveCount; n > 0 {
		return refuse("it keeps values in %d blob files, which a copy could not", n)
	}
	if compression != nil && compression.UsesMinLZ() && v.own.tableFormat() < sstable.TableFormatPebblev6 {
		return refuse("tables of its format cannot have the compression %s", compression.Name).
			WithHint("the compressions for it are none, snappy and zstd")
	}
	if err := v.unmixed(); err != nil {
		return err
	}
	if err := swap.Fits(v.path); err != nil {
		return swapError(v.path, err)
	}
	return nil
}

// unmixed refuses a directory with an entry that is neither Pebble's nor wring's, and
// returns nil for any other.
func (v *view) unmixed() *sdk.Error {
	entries, err := os.ReadDir(v.path)
	if err != nil {
		return engine.WorkError("rewrite", v.path, err)
	}
	for _, entry := range entries {
		name := entry.Name()
		_, known := engine.File{Name: name}.Serial()
		if !entry.Type().IsRegular() || !known && !isOurs(name) {
			return sdk.Errorf(sdk.ErrUnsupported, "rewrite %s: %s in it is not Pebble's, and would be lost", v.path, name).
				WithHint("move it out of the directory, or %s", useRanges)
		}
	}
	return nil
}

// rewriteWorth says whether a rewrite of which that is expected changes anything.
func rewriteWorth(expected sdk.Fragmentation, v *view, compression *sstable.CompressionProfile) bool {
	return expected.ReclaimableBytes >= worthwhile || v.recompressed(compression)
}

// ratioError is how far the compression of a part may be from that of the whole.
const ratioError = 0.1

// measureRewrite predicts what mode rewrite gives back.
func (b *backend) measureRewrite(ctx context.Context, v *view, depth sdk.Depth, compression *sstable.CompressionProfile) (sdk.Fragmentation, error) {
	tree := v.tree()
	tree.Whole = true
	f, err := v.measure(ctx, tree, depth, b.sampleBytes)
	if err != nil {
		return f, err
	}
	need := f.LiveBytes
	if v.recompressed(compression) && depth != sdk.DepthQuick { // which reads nothing
		ratio, err := v.ratio(ctx, compression)
		if err != nil {
			return f, engine.ReadError("sample", v.path, err)
		}
		need = int64(ratio * float64(f.LiveBytes))
		f.LiveBytes = min(need, f.AllocatedBytes)
		f.ReclaimableBytes = f.AllocatedBytes - f.LiveBytes
		// A part of the content was compressed on trial.
		for bound, factor := range map[string]float64{"reclaimable_min_bytes": ratio * (1 + ratioError), "reclaimable_max_bytes": ratio * (1 - ratioError)} {
			live := factor * (float64(f.AllocatedBytes) - f.Metrics[bound])
			f.Metrics[bound] = max(0, float64(f.AllocatedBytes)-live)
		}
		if f.Method == sdk.MethodExact {
			f.Method = sdk.MethodSampled
		}
	}
	f.Metrics["copy_bytes"] = float64(need)
	if f.Obstacle = v.replaceable(compression); f.Obstacle == nil && rewriteWorth(f, v, compression) {
		f.Obstacle, err = b.lackingRoom(v, need+need/10)
	}
	return f, err
}

// lackingRoom is an error for a copy that has no room, or nil.
func (b *backend) lackingRoom(v *view, need int64) (*sdk.Error, error) {
	free, err := b.free(v.path)
	if err != nil || free >= need {
		return nil, err
	}
	lacking := sdk.Errorf(sdk.ErrNoSpace, "rewrite %s: the copy needs %s beside it, and %s are free",
		v.path, sdk.FormatBytes(need), sdk.FormatBytes(free)).WithHint("free space on the store's file system")
	if ranges, err := v.rangesNeed(b.stepBytes); err == nil && ranges < need {
		return lacking.WithHint("%s, or %s and needs %s", lacking.Hint, useRanges, sdk.FormatBytes(ranges)), nil
	}
	return lacking, nil
}

// free is how many bytes are free where the store is.
func (b *backend) free(path string) (int64, error) {
	usage, err := b.fs.GetDiskUsage(path)
	if err != nil {
		return 0, engine.WorkError("look for free space at", path, err)
	}
	return int64(min(usage.AvailBytes, 1<<62)), nil
}

// rangesNeed is how much mode ranges needs to be free: room for its largest step and for
// what is in the log. The input of a step goes as soon as its output is in place.
func (v *view) rangesNeed(stepBytes int64) (int64, error) {
	need, err := v.own.logBytes(v.directory)
	if err != nil {
		return 0, err
	}
	largest := int64(0)
	for _, r := range v.regions() {
		if !r.Compactable() {
			continue
		}
		for _, step := range r.Steps(v.own.comparer(), stepBytes) {
			largest = max(largest, step.Bytes)
		}
	}
	return need + engine.RoomFor(largest), nil
}

// rewriteNeed is about how much mode rewrite needs, or 0 where it cannot be used.
func (b *backend) rewriteNeed(ctx context.Context, v *view) int64 {
	f, err := b.measureRewrite(ctx, v, sdk.DepthQuick, nil)
	if err != nil || v.replaceable(nil) != nil {
		return 0
	}
	return engine.RoomFor(f.LiveBytes)
}
