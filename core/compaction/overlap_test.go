package compaction_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// What a long run has found out long ago does not replace what a later one has
// found out since.
func TestOverlappingRuns(t *testing.T) {
	inBubble(t, compaction.Config{MaxParallel: 2}, func(t *testing.T, w *world) {
		a := &backend{fragmentation: measures(dense, fragmented), compact: sequence(sdk.ErrConnection)}
		b := &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
			time.Sleep(100 * time.Minute)
			return success, nil
		}}
		storeA, storeB := w.store("a", a), w.store("b", b)
		storeA.Retry.Attempts, storeB.StallTimeout = 0, 24*time.Hour
		var first, second history.Run
		var running sync.WaitGroup
		running.Go(func() { first = w.run(storeA, storeB) })
		synctest.Wait()
		if past := w.past("a"); past.LastSuccessAt.IsZero() {
			t.Error("the history knows nothing of the store that was skipped while the run goes on")
		}

		time.Sleep(time.Hour)
		second = w.run(storeA)
		running.Wait()
		if first.Results[0].Outcome != history.Skipped || second.Results[0].Outcome != history.Unknown {
			t.Fatalf("a was %s, then %s", first.Results[0].Outcome, second.Results[0].Outcome)
		}
		past := w.past("a")
		if !past.Unresolved || past.ConsecutiveFailures != 1 || !past.LastAttemptAt.Equal(second.Results[0].FinishedAt) {
			t.Errorf("the past is %+v", past)
		}
		results, err := w.history.Results("a", 0)
		if err != nil || len(results) != 2 || results[0].Run != second.ID {
			t.Errorf("the results are %+v (%v)", results, err)
		}
	})
}
