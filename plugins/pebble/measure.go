package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
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
			return sdk.Fragmentation{}, engine.WorkError("measure", req.Store.Path, err)
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
			busy := sdk.Errorf(sdk.ErrBusy, "measure %s while %s writes to it: %s", d.path, who, engine.FirstLine(err))
			return sdk.Fragmentation{}, busy.WithHint("measure again when less is written, or with depth quick")
		}
	}
	return sdk.Fragmentation{}, err
}

func (b *backend) measureOnce(ctx context.Context, req sdk.FragmentationRequest, hideLogs bool, w *watch) (sdk.Fragmentation, error) {
	mode, compression, err := modeOf(req.Mode, req.Options)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	d, err := openDirectory(req.Store.Path)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	own, err := b.readOptions(d)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	log, err := own.logBytes(d)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	if log > replayBytes {
		hideLogs = true
	}
	v, err := b.openView(ctx, d.path, viewing{apart: req.Depth != sdk.DepthExact, hideLogs: hideLogs, watch: w})
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	defer v.close()
	if mode == modeRewrite {
		return b.measureRewrite(ctx, v, req.Depth, compression)
	}
	f, err := v.measure(ctx, v.tree(), req.Depth, b.sampleBytes)
	if err == nil {
		f.Note = v.rewriteNote(f)
	}
	return f, err
}

// rewriteNote says where mode rewrite gives back a good deal more than mode ranges, or
// nothing.
func (v *view) rewriteNote(f sdk.Fragmentation) string {
	whole := int64(f.Metrics[engine.MetricWhole])
	if more := whole - f.ReclaimableBytes; more < worthwhile || more < f.AllocatedBytes/100 || v.replaceable(nil) != nil {
		return ""
	}
	return fmt.Sprintf("mode %s would give back about %s", modeRewrite, sdk.FormatBytes(whole))
}

// measure predicts what our own Compact gives back.
func (v *view) measure(ctx context.Context, tree *engine.Tree, depth sdk.Depth, budget int64) (sdk.Fragmentation, error) {
	log, err := v.own.logBytes(v.directory)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	f, err := tree.Measure(ctx, depth, engine.Surroundings{
		Size:      v.size(),
		Leftovers: v.leftovers,
		Budget:    budget,
		Read:      v.fs.traffic.read.Load,
		Exact:     v.pending != nil,
	})
	if err != nil {
		return sdk.Fragmentation{}, engine.ReadError("sample", v.path, err)
	}
	f.Metrics["log_bytes"] = float64(log)
	read, _ := v.fs.traffic.bytes()
	f.Metrics["bytes_read"] = float64(read)
	return f, nil
}

// leftovers of the store, which opening and closing it removes: logs, tables of
// no version, and what virtual tables hold of their file beyond their own range.
func (v *view) leftovers(rewritten []engine.Region) engine.Leftovers {
	used, moved := engine.Used(v.levels...), engine.UsedBy(rewritten)
	var l engine.Leftovers
	var blobs, blobFiles int64
	for _, f := range v.files {
		if f.IsLog() {
			l.Logs += f.Allocated
		}
		if _, ok := f.Number(".blob"); ok {
			blobs += f.Allocated
			blobFiles++
		}
		if number, ok := f.Number(".sst"); ok && used[number] == 0 {
			l.Tables += f.Allocated
		}
		l.Tables += f.Hole(used, moved)
	}
	l.Logs = max(0, l.Logs-engine.Rounding)
	m := v.db.Metrics()
	if used := int64(m.BlobFiles.LiveCount); blobFiles > used {
		l.Tables += max(0, blobs-int64(m.BlobFiles.LiveSize)-used*engine.Rounding/2)
	}
	if thinBlobs(m) {
		l.Blobs = engine.DeadBlobs(m)
	}
	return l
}
