package pebble

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// A compaction keeps to its rate, which may change while it runs, and can be
// cancelled while it waits.
func TestLimit(t *testing.T) {
	path := generate(t, pebbletest.Spec{LiveBytes: 8 << 20, Seed: 1})
	digest, _ := contentOf(t, path)
	request := sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: modeRanges, Pace: sdk.NewPace(2 << 20)}
	var moved int64
	count := func(p sdk.Progress) { moved = p.BytesRead + p.BytesWritten }

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := New(Config{}).Compact(ctx, request, count)
	if !errors.Is(err, sdk.ErrCancelled) || moved == 0 || moved > 4<<20 {
		t.Fatalf("error %v after %s, want %v long before all is moved", err, sdk.FormatBytes(moved), sdk.ErrCancelled)
	}

	let := func(p sdk.Progress) {
		count(p)
		request.Pace.Set(0)
	}
	result, err := New(Config{}).Compact(t.Context(), request, let)
	if err != nil || result.NoOp || moved < 8<<20 {
		t.Errorf("%+v after %s, error %v", result, sdk.FormatBytes(moved), err)
	}
	if after, _ := contentOf(t, path); after != digest {
		t.Error("content changed")
	}
}
