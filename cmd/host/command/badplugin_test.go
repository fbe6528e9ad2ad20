package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/wringdb/wring/sdk"
)

// badPluginMain is a plugin that misbehaves as its first argument says. Its
// stores are files that begin with BADSTORE. In PATH.attempts is a line for
// each Compact.
//
// Before it serves:
//
//	crash-at-start, hang-at-start, rubbish, old-handshake
//	crash-describe, wrong-protocol: also when it is only asked what it is
//
// In Compact:
//
//	crash        reports progress, then exits
//	stall        is silent, but can be cancelled
//	hang         is silent, and cannot be cancelled
//	panic        panics
//	fail-once    fails at the first attempt for a store
//	fail         fails always
//	slow         works for half a minute, can be cancelled, and leaves a file
//	             while it works
//	no-room      finds too little space, and says so when it measures
//	fine         works
func badPluginMain() {
	mode := "fine"
	if len(os.Args) > 1 && os.Args[1] != "describe" {
		mode = os.Args[1]
		os.Args = append(os.Args[:1], os.Args[2:]...)
	}
	launched := os.Getenv(sdk.HandshakeCookieKey) != ""
	switch {
	case mode == "crash-describe", mode == "crash-at-start" && launched:
		fmt.Fprintln(os.Stderr, "bad: cannot find libbad.so.3")
		os.Exit(7)
	case mode == "hang-at-start" && launched:
		forEver()
	case mode == "rubbish" && launched:
		fmt.Println("Welcome to the bad plugin!")
		os.Exit(0)
	case mode == "old-handshake" && launched:
		fmt.Println("1|99|unix|/nowhere/none.sock|grpc|")
		forEver()
	case mode == "wrong-protocol":
		fmt.Println(`{"protocol_version":99,"name":"bad","version":"7.0.0","engine":"bad","capabilities":{"modes":["only"]}}`)
		return
	}
	sdk.Serve(badBackend{mode: mode})
}

type badBackend struct{ mode string }

// Describe is the same in all modes.
func (badBackend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name: "bad", Version: "1.0.0", Engine: "badstore",
		Capabilities: sdk.Capabilities{Modes: []string{"only", "auto"}},
		Signatures:   []sdk.Signature{{Magic: []byte("BADSTORE")}},
	}, nil
}

// Fragmentation says that 8 of 10 MiB are free until the store was compacted.
func (b badBackend) Fragmentation(_ context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	content, err := os.ReadFile(req.Store.Path)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	if bytes.HasSuffix(content, []byte("compacted\n")) {
		return sdk.Fragmentation{TotalBytes: 2 << 20, AllocatedBytes: 2 << 20, LiveBytes: 2 << 20}, nil
	}
	f := sdk.Fragmentation{TotalBytes: 10 << 20, AllocatedBytes: 10 << 20, LiveBytes: 2 << 20, ReclaimableBytes: 8 << 20}
	if req.Mode == "auto" {
		f.Mode, f.Note = "only", "there is no other"
	}
	if b.mode == "no-room" {
		f.Obstacle = noRoom(req.Store)
	}
	return f, nil
}

func noRoom(store sdk.Store) *sdk.Error {
	return sdk.Errorf(sdk.ErrNoSpace, "copy %s: 8.0 MiB are needed, 1.0 MiB is free", store.Path).WithHint("make room")
}

// Compact misbehaves.
func (b badBackend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	attempt, err := countAttempt(req.Store.Path + ".attempts")
	if err != nil {
		return sdk.CompactResult{}, err
	}
	const total = 8 << 20
	report(sdk.Progress{Phase: "copy", Done: total / 2, Total: total, Unit: "bytes"})
	switch b.mode {
	case "crash":
		fmt.Fprintln(os.Stderr, "bad: assertion failed: page != NULL")
		os.Exit(3)
	case "stall":
		<-ctx.Done()
		return sdk.CompactResult{}, ctx.Err()
	case "hang":
		forEver()
	case "no-room":
		return sdk.CompactResult{}, noRoom(req.Store)
	case "panic":
		panic("page 17 is not there")
	case "fail", "fail-once":
		if b.mode == "fail" || attempt == 1 {
			return sdk.CompactResult{}, fmt.Errorf("the disk hiccuped at attempt %d", attempt)
		}
	case "slow":
		if err := b.work(ctx, req.Store.Path, report); err != nil {
			return sdk.CompactResult{}, err
		}
	}
	if err := os.WriteFile(req.Store.Path, []byte("BADSTORE compacted\n"), 0o600); err != nil {
		return sdk.CompactResult{}, err
	}
	return sdk.CompactResult{
		Before:         sdk.Size{TotalBytes: 10 << 20, AllocatedBytes: 10 << 20},
		After:          sdk.Size{TotalBytes: 2 << 20, AllocatedBytes: 2 << 20},
		ReclaimedBytes: 8 << 20, Mode: "only",
	}, nil
}

// work takes half a minute, unless it is cancelled.
func (badBackend) work(ctx context.Context, path string, report func(sdk.Progress)) error {
	working := path + ".working"
	if err := os.WriteFile(working, nil, 0o600); err != nil {
		return err
	}
	defer os.Remove(working)
	const steps = 600
	for i := range int64(steps) {
		report(sdk.Progress{Phase: "work", Done: i, Total: steps, Unit: "steps"})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// countAttempt adds a line to a file and returns how many there are.
func countAttempt(file string) (int, error) {
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	n := strings.Count(string(content), "\n") + 1
	return n, os.WriteFile(file, fmt.Appendf(content, "attempt %d in process %d\n", n, os.Getpid()), 0o600)
}

var _ sdk.Backend = badBackend{}
