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

// sizes are a store's samples without their times.
func sizes(t *testing.T, w *world, store string) (all [][5]int64) {
	t.Helper()
	samples, err := w.history.Samples(store, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		all = append(all, [5]int64{s.TotalBytes / mib, s.AllocatedBytes / mib, s.LiveBytes / mib, s.ReclaimableBytes / mib, s.Reclaimed / mib})
	}
	return all
}

func TestMeasurementsAreSamples(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		a := w.store("a", &backend{fragmentation: measures(fragmented, fragmented, sdk.ErrCorrupt)})
		at := time.Now()
		if _, err := w.runner.Plan(t.Context(), []config.Store{a}); err != nil {
			t.Fatal(err)
		}
		if got, want := sizes(t, w, "a"), [][5]int64{{24, 20, 8, 12, 0}}; !slices.Equal(got, want) {
			t.Errorf("after a plan the samples are %v, want %v", got, want)
		}
		if samples, _ := w.history.Samples("a", 1); !samples[0].At.Equal(at) {
			t.Errorf("the sample is of %v, want %v", samples[0].At, at)
		}
		time.Sleep(time.Hour)
		w.run(a)
		want := [][5]int64{{24, 20, 8, 12, 0}, {24, 20, 8, 12, 0}, {9, 8, 8, 0, 12}}
		if got := sizes(t, w, "a"); !slices.Equal(got, want) {
			t.Errorf("after a compaction the samples are %v, want %v", got, want)
		}
		time.Sleep(time.Hour)
		w.run(a)
		if got := sizes(t, w, "a"); !slices.Equal(got, want) {
			t.Errorf("after a store could not be measured the samples are %v, want %v", got, want)
		}
	})
}

func TestSkippedStoreHasASample(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		run := w.run(w.store("a", &backend{fragmentation: measures(dense)}))
		if got, want := sizes(t, w, "a"), [][5]int64{{8, 8, 8, 0, 0}}; run.Results[0].Outcome != history.Skipped || !slices.Equal(got, want) {
			t.Errorf("%s with the samples %v, want skipped with %v", run.Results[0].Outcome, got, want)
		}
	})
}

// What a compaction did not give back of what was promised stays reclaimable.
func TestSampleAfterACompactionThatGaveBackLess(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		half := success
		half.After = sdk.Size{TotalBytes: 15 * mib, AllocatedBytes: 14 * mib}
		half.ReclaimedBytes = 6 * mib
		w.run(w.store("a", &backend{compact: giving(half)}))
		if got, want := sizes(t, w, "a"), [][5]int64{{24, 20, 8, 12, 0}, {15, 14, 8, 6, 6}}; !slices.Equal(got, want) {
			t.Errorf("samples are %v, want %v", got, want)
		}
	})
}

// giving is a compact function with one answer.
func giving(result sdk.CompactResult) func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
	return func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
		return result, nil
	}
}
