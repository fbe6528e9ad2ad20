package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
		Name:         "minilog",
		Version:      "0.1.0",
		Engine:       "minilog",
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
func (backend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	file, err := minilog.Lock(req.Store.Path, os.O_RDONLY, false)
	if err != nil {
		return sdk.Fragmentation{}, explain(err)
	}
	defer file.Close()
	found, err := minilog.Survey(file, func(int64) error { return ctx.Err() })
	if err != nil {
		return sdk.Fragmentation{}, explain(err)
	}
	size, err := sizeOf(file)
	return sdk.Fragmentation{
		TotalBytes: size.TotalBytes, AllocatedBytes: size.AllocatedBytes,
		LiveBytes: found.LiveBytes, ReclaimableBytes: max(0, size.AllocatedBytes-found.LiveBytes),
		Method:  sdk.MethodExact,
		Metrics: map[string]float64{"records": float64(found.Records), "live_records": float64(len(found.Live))},
	}, err
}

// Compact gives the dead space back. Until the rename the store is as it was,
// whatever happens; from then on it is the new one.
func (backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (res sdk.CompactResult, err error) {
	old, err := minilog.Lock(resolve(req.Store.Path), os.O_RDONLY, true)
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

	temp, err := os.CreateTemp(filepath.Dir(old.Name()), tempPrefix(old.Name())+"*")
	if err != nil {
		return res, err
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing by this name
	defer temp.Close()
	p.Phase, p.Done, p.Total = "copy", 0, before.LiveBytes
	if err := minilog.CopyLive(temp, old, before, func(n int64) error { return step(n, n) }); err != nil {
		return res, err
	}
	if req.Options.Bool("sync") {
		if err := temp.Sync(); err != nil {
			return res, err
		}
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

	if err := replace(old, temp); err != nil {
		return res, err
	}
	res.After, err = sizeOf(temp)
	res.ReclaimedBytes = res.Before.AllocatedBytes - res.After.AllocatedBytes
	res.Pause = time.Since(begun) // writers could not open the log in the meantime
	return res, err
}

// Sweep removes what a compaction leaves when it is killed.
func (backend) Sweep(_ context.Context, store sdk.Store) ([]string, error) {
	path := resolve(store.Path)
	temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), tempPrefix(path)+"*"))
	for _, temp := range temps {
		err = errors.Join(err, os.Remove(temp))
	}
	return temps, err
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + ".compact-" }

// resolve follows a symbolic link, which a rename would replace.
func resolve(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// replace puts the new file in the place of the old one, for good.
func replace(old, temp *os.File) error {
	info, err := old.Stat()
	if err != nil {
		return err
	}
	if err := temp.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), old.Name()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(old.Name()))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func sizeOf(file *os.File) (sdk.Size, error) {
	info, err := file.Stat()
	if err != nil {
		return sdk.Size{}, err
	}
	size := sdk.Size{TotalBytes: info.Size(), AllocatedBytes: info.Size()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		size.AllocatedBytes = stat.Blocks * 512
	}
	return size, nil
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

var (
	_ sdk.Backend = backend{}
	_ sdk.Sweeper = backend{}
)
