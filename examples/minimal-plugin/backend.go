package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/wring-plugin-minilog/minilog"
	"github.com/wringdb/wring/sdk"
)

// backend compacts minilog stores: it copies the live records to a new file and
// puts that in the place of the old one.
type backend struct{}

// Describe says what we are. The host asks once, and touches no store for it.
func (backend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name: "minilog", Version: "0.1.0", Engine: "minilog",
		Capabilities: sdk.Capabilities{Modes: []string{"rewrite"}, Verifies: true, LimitsRate: true},
		Options: sdk.Schema{
			{Name: "sync", Type: sdk.TypeBool, Help: "Wait until the new file is on disk before it replaces the old one.", Default: true},
		},
		Signatures: []sdk.Signature{{Magic: []byte(minilog.Magic)}},
	}, nil
}

// Fragmentation says how much a compaction would give back. A log is small
// enough to count; an engine with bookkeeping of its own would look there, and
// read more only for a greater req.Depth.
func (backend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (f sdk.Fragmentation, err error) {
	log, err := minilog.Lock(req.Store.Path, os.O_RDONLY, false)
	if err != nil {
		return f, explain(err)
	}
	defer log.Close()
	found, err := minilog.Survey(log, func(int64) error { return ctx.Err() })
	if err != nil {
		return f, explain(err)
	}
	size, err := sizeOf(log)
	f.Method, f.TotalBytes, f.AllocatedBytes, f.LiveBytes = sdk.MethodExact, size.TotalBytes, size.AllocatedBytes, found.LiveBytes
	f.ReclaimableBytes = max(0, f.AllocatedBytes-f.LiveBytes)
	f.Metrics = map[string]float64{"records": float64(found.Records), "live_records": float64(len(found.Live))}
	return f, err
}

// Compact gives the dead space back. Until the swap the store is as it was,
// whatever happens; from then on it is the new one.
func (backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (res sdk.CompactResult, err error) {
	old, err := minilog.Lock(req.Store.Path, os.O_RDONLY, true)
	if err != nil {
		return res, explain(err)
	}
	defer old.Close()
	begun := time.Now()
	if res.Before, err = sizeOf(old); err != nil {
		return res, err
	}
	// Between pieces of work: say how far we are, keep to the rate, and stop
	// when we are told to.
	p := sdk.Progress{Phase: "read", Unit: "bytes", Total: res.Before.TotalBytes}
	step := func(read, written int64) error {
		p.Done, p.BytesRead, p.BytesWritten = p.Done+read, p.BytesRead+read, p.BytesWritten+written
		report(p)
		return req.Pace.Wait(ctx, read+written)
	}
	before, err := minilog.Survey(old, func(n int64) error { return step(n, 0) })
	if err != nil {
		return res, explain(err)
	}

	temp, err := minilog.CreateTemp(old)
	if err != nil {
		return res, err
	}
	defer os.Remove(temp.Name()) // after the swap there is nothing by this name
	defer temp.Close()
	p.Phase, p.Done, p.Total = "copy", 0, before.LiveBytes
	err = minilog.CopyLive(temp, old, before, func(n int64) error { return step(n, n) })
	if err == nil && req.Options.Bool("sync") {
		err = temp.Sync()
	}
	if err != nil {
		return res, err
	}

	p.Phase, p.Done = "verify", 0
	after, err := minilog.Survey(temp, func(n int64) error { return step(n, 0) })
	if err != nil {
		return res, err
	}
	res.Verification = &sdk.Verification{
		DigestBefore: fmt.Sprintf("fnv64sum:%016x", before.Sum), DigestAfter: fmt.Sprintf("fnv64sum:%016x", after.Sum),
		ItemsBefore: int64(len(before.Live)), ItemsAfter: int64(len(after.Live)),
	}
	if before.Sum != after.Sum || len(before.Live) != len(after.Live) {
		return res, sdk.Errorf(sdk.ErrInternal, "compact %s: the copy is not the same as the original", old.Name())
	}
	if err := minilog.Swap(old, temp); err != nil {
		return res, err
	}
	res.After, err = sizeOf(temp)
	res.ReclaimedBytes = res.Before.AllocatedBytes - res.After.AllocatedBytes
	res.Pause = time.Since(begun) // writers could not open the log in the meantime
	return res, err
}

// Sweep removes what a compaction leaves when it is killed.
func (backend) Sweep(_ context.Context, store sdk.Store) ([]string, error) {
	return minilog.RemoveTemps(store.Path)
}

func sizeOf(log *os.File) (sdk.Size, error) {
	var s syscall.Stat_t
	err := syscall.Fstat(int(log.Fd()), &s)
	return sdk.Size{TotalBytes: s.Size, AllocatedBytes: s.Blocks * 512}, err
}

// explain gives the engine's errors a kind that the host decides on. What the
// operating system says the sdk knows by itself.
func explain(err error) error {
	switch {
	case errors.Is(err, minilog.ErrLocked):
		return sdk.Errorf(sdk.ErrBusy, "%w", err).WithHint("another process has the log open; try again when it is done")
	case errors.Is(err, minilog.ErrCorrupt):
		return sdk.Errorf(sdk.ErrCorrupt, "%w", err).WithHint("restore the log from a backup")
	}
	return err
}

var _ sdk.Sweeper = backend{} // optional, so that nothing else would notice
