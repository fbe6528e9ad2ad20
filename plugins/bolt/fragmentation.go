package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// replacedTries is how often a file is opened anew that was replaced while it
// was being measured.
const replacedTries = 3

// Fragmentation implements sdk.Backend. It takes no lock and writes nothing.
//
// Metrics: page_size_bytes, hwm_pages (all below the high-water mark),
// tree_pages (in use by keys and values), free_pages (those included that only
// wait for a reader: the file does not tell them apart), freelist_pages,
// freelist_synced (0 with NoFreelistSync), tail_bytes (beyond the high-water
// mark: room to grow), packed_bytes (of a rewritten file), txid, bytes_read,
// retries (tries in vain because of a writer), and
// unless the depth is quick: keys, buckets, inline_buckets, branch_pages,
// leaf_pages, overflow_pages, leaf_fill_ratio, depth, sampled_nodes, and when
// all pages were read lost_pages (neither in use nor free).
func (b *backend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	doing := "measure " + req.Store.Path
	if err := checkMode(doing, req.Mode); err != nil {
		return sdk.Fragmentation{}, err
	}
	for try := 1; ; try++ {
		f, err := b.measure(ctx, req)
		if try < replacedTries && errors.Is(err, replace.ErrChanged) {
			continue
		}
		return f, fault.Explain(doing, err)
	}
}

// measure measures the file that is at the path now.
func (b *backend) measure(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	f, err := openToRead(req.Store.Path)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	defer f.Close()
	config := probeConfig(optionsOf(req.Options).fill)
	config.Picture, config.SamplePages = true, b.samplePages
	switch req.Depth {
	case sdk.DepthQuick:
		config.Depth = probe.Quick
	case sdk.DepthExact:
		config.Depth = probe.Exact
	default:
		config.Depth = probe.Sampled
	}
	m, err := probe.Measure(ctx, f, func() (int64, error) { return fileSize(f) }, config)
	if err != nil {
		if resolved, linkErr := filepath.EvalSymlinks(req.Store.Path); linkErr == nil {
			if changed := replace.Same(resolved, f); errors.Is(changed, replace.ErrChanged) {
				return sdk.Fragmentation{}, changed
			}
		}
		return sdk.Fragmentation{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	measured := result(m, sizeOf(info), config.Depth)
	return measured, b.chooseFor(ctx, f, req, m, &measured)
}

// chooseFor says which mode a compaction would use now, and in mode punch counts
// as reclaimable what that would give back.
func (b *backend) chooseFor(ctx context.Context, f *os.File, req sdk.FragmentationRequest, m probe.Measurement, measured *sdk.Fragmentation) error {
	room, err := roomFor(ctx, f, m, optionsOf(req.Options))
	if err != nil {
		return err
	}
	choice, err := choose(req.Store.Path, req.Mode, room)
	if err != nil {
		return err
	}
	measured.Mode, measured.Note = choice.mode, choice.why
	if choice.lacking != nil {
		_ = errors.As(fault.Explain("compact "+req.Store.Path, choice.lacking), &measured.Obstacle)
	}
	if choice.mode != ModePunch {
		return nil
	}
	measured.ReclaimableBytes, err = room.punchable()
	if errors.Is(err, punch.ErrUnsupported) {
		measured.ReclaimableBytes, err = 0, nil
		measured.Obstacle = sdk.Errorf(sdk.ErrUnsupported, "compact %s: the file system cannot punch holes", req.Store.Path).
			WithHint("use mode %q", ModeRewrite)
	}
	return err
}

func probeConfig(fill float64) probe.Config {
	return probe.Config{Depth: probe.Sampled, Fill: fill}
}

// openToRead opens a regular file; opening anything else might block.
func openToRead(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		what := fmt.Sprintf("no regular file (%s)", info.Mode().Type())
		if info.IsDir() {
			what = "a directory"
		}
		return nil, sdk.Errorf(sdk.ErrUnsupported, "measure %s: it is %s", path, what).
			WithHint("a bbolt store is one file: give the path of that")
	}
	if info.Size() == 0 {
		return nil, errEmpty("measure", path)
	}
	return os.Open(path)
}

func errEmpty(doing, path string) error {
	return sdk.Errorf(sdk.ErrCorrupt, "%s %s: the file is empty (0 bytes), so it is no bbolt file yet", doing, path).
		WithHint("bbolt makes a database of an empty file when it next opens it; if there should be data in it, restore a backup")
}

func fileSize(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func sizeOf(info os.FileInfo) sdk.Size {
	size := sdk.Size{TotalBytes: info.Size(), AllocatedBytes: info.Size()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		size.AllocatedBytes = int64(stat.Blocks) * 512 //nolint:unconvert // the type differs between systems
	}
	return size
}

// result puts a measurement into the contract's words.
func result(m probe.Measurement, size sdk.Size, depth probe.Depth) sdk.Fragmentation {
	f := sdk.Fragmentation{
		TotalBytes:       size.TotalBytes,
		AllocatedBytes:   size.AllocatedBytes,
		LiveBytes:        m.UsedBytes,
		ReclaimableBytes: reclaimable(m, size),
		Method:           sdk.MethodSampled,
		Map:              m.Map,
		Metrics: map[string]float64{
			"page_size_bytes": float64(m.Meta.PageSize),
			"hwm_pages":       float64(m.Meta.HighWater),
			"tree_pages":      float64(m.TreePages()),
			"free_pages":      float64(m.FreePages),
			"freelist_pages":  float64(m.FreelistPages),
			"freelist_synced": 1,
			"tail_bytes":      float64(max(0, size.TotalBytes-m.Meta.Bytes())),
			"txid":            float64(m.Meta.TxID),
			"retries":         float64(m.Retries),
			"packed_bytes":    float64(m.PackedBytes),
			"bytes_read":      float64(m.BytesRead),
		},
	}
	if m.Meta.Freelist == page.NoFreelist {
		f.Metrics["freelist_synced"] = 0
	}
	if m.SampledNodes == 0 {
		f.Method = sdk.MethodEstimated
		return f
	}
	if m.Whole {
		f.Method = sdk.MethodExact
		f.Metrics["lost_pages"] = float64(m.LostPages)
	}
	for name, value := range map[string]int64{
		"keys": m.Keys, "buckets": m.Buckets, "inline_buckets": m.InlineBuckets,
		"branch_pages": m.BranchPages, "leaf_pages": m.LeafPages, "overflow_pages": m.OverflowPages,
		"depth": int64(m.Depth), "sampled_nodes": m.SampledNodes,
	} {
		f.Metrics[name] = float64(value)
	}
	f.Metrics["leaf_fill_ratio"] = float64(m.LeafUsedBytes) / float64(m.LeafPages*int64(m.Meta.PageSize))
	return f
}

// fileSystemBlock is what allocation is counted in, usually.
const fileSystemBlock = 4096

// Below this a rewrite is not worth it: so many pages or this part of the
// file may remain through the way in which pages are packed, and the next
// rewrite would find them again. A sample that is not of everything may be
// wrong by more.
const (
	noisePages   = 4
	noiseShare   = 1.0 / 256
	sampledShare = 1.0 / 100
)

// reclaimable is how much of the allocated bytes a rewrite gives back; 0 where
// that is not worth it. The room to grow beyond the high-water mark comes back
// with the next transaction, and is no gain; what is more than that counts.
func reclaimable(m probe.Measurement, size sdk.Size) int64 {
	held, packed := size.AllocatedBytes, roundUp(m.PackedBytes)
	tail := size.TotalBytes - m.Meta.Bytes()
	held = min(held, roundUp(m.Meta.Bytes()+max(0, tail-punch.GrowthRoom(m.Meta))))
	if inUse := m.Meta.Bytes() - m.FreePages*int64(m.Meta.PageSize); held < inUse {
		// Fewer blocks than pages in use: the file system compresses, and will
		// do so with the new file.
		packed = int64(float64(packed) * float64(held) / float64(inUse))
	}
	share := noiseShare
	if !m.Whole && m.SampledNodes > 0 {
		share = sampledShare
	}
	gain := held - packed
	if gain < max(noisePages*int64(m.Meta.PageSize), int64(share*float64(held))) {
		return 0
	}
	return gain
}

func roundUp(bytes int64) int64 {
	return (bytes + fileSystemBlock - 1) / fileSystemBlock * fileSystemBlock
}
