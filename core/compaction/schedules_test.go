package compaction_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// codes runs a store n times, so long after one another, and returns the code of
// each result.
func (w *world) codes(store config.Store, n int, every time.Duration) (codes []string) {
	w.t.Helper()
	for range n {
		codes = append(codes, w.run(store).Results[0].Code)
		time.Sleep(every)
	}
	return codes
}

// What failed, was cancelled or deferred is tried again by the next schedule,
// and what succeeded is left alone for the min gap.
func TestScheduleShorterThanMinGap(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var cancel context.CancelFunc
		b := &backend{compact: func(ctx context.Context, n int, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
			if n == 3 {
				cancel()
			}
			return sequence(errFleeting, errFleeting, context.Canceled, errBusy)(ctx, n, req, report)
		}}
		store := w.store("a", b)
		var got []string
		for range 9 {
			var ctx context.Context
			ctx, cancel = context.WithCancel(t.Context())
			r := w.request(ctx, compaction.Request{Stores: []config.Store{store}}).Results[0]
			cancel()
			got = append(got, string(r.Outcome)+" "+r.Code)
			time.Sleep(10 * time.Minute)
		}
		want := []string{
			"failed error", "cancelled cancelled", "deferred locked", "compacted worthwhile",
			"skipped min_gap", "skipped min_gap", "skipped min_gap", "skipped min_gap", "skipped min_gap",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if r := w.run(store).Results[0]; r.Outcome != history.Compacted {
			t.Errorf("an hour after it was compacted: %+v", r)
		}
	})
}

// A store that gives back nothing of what it promises is compacted less and less
// often, down to every fourth look, and at once when it keeps its promise again.
func TestLowYields(t *testing.T) {
	const yes, no = "worthwhile", "low_yield"
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		promised := sdk.Fragmentation{AllocatedBytes: 20 * mib, LiveBytes: 17 * mib, ReclaimableBytes: 3 * mib}
		empty := success
		empty.ReclaimedBytes = 0
		full := success
		full.ReclaimedBytes = 3 * mib
		b := &backend{
			fragmentation: measures(promised),
			compact: func(_ context.Context, n int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
				if n > 5 {
					return full, nil
				}
				return empty, nil
			},
		}
		store := w.store("a", b)
		want := []string{yes, no, yes, no, no, yes, no, no, no, yes, no, no, no, yes, no, no, no, yes, yes, yes}
		if got := w.codes(store, len(want), 2*time.Hour); !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// Looks within the min gap do not count: nothing would have been done anyway.
func TestLowYieldsWithinMinGap(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		promised := sdk.Fragmentation{AllocatedBytes: 20 * mib, LiveBytes: 17 * mib, ReclaimableBytes: 3 * mib}
		empty := success
		empty.ReclaimedBytes = 0
		store := w.store("a", &backend{fragmentation: measures(promised), compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
			return empty, nil
		}})
		want := []string{"worthwhile", "min_gap", "min_gap", "low_yield", "worthwhile"}
		if got := w.codes(store, len(want), 20*time.Minute); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
