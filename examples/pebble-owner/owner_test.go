package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCompactedUnderLoad has a host compact the store of the application twice,
// while it writes. The application hears nothing of it, nobody else can open its
// store at any moment, and when it has ended all it has acknowledged is there.
func TestCompactedUnderLoad(t *testing.T) {
	w := newWorld(t)
	first := w.run("pebble-owner", "-every", "1ms")
	w.await("some writes", func() bool { return first.acknowledged(t) >= 1500 })
	w.endApp(first)

	app := w.run("pebble-owner", "-every", "5ms") // goes on where the first has ended
	host := w.run("wring", "run")
	w.await("the store", func() bool { return w.run("wring", "inspect", "events").wait() == 0 })
	stayedLocked := w.tryToOpen()
	if second := w.run("pebble-owner", "-socket", "run/second.sock"); second.wait() != 1 || !strings.Contains(second.stderr.String(), "open events: ") {
		t.Errorf("a second application on the store: %s", second)
	}

	for i := range 2 {
		var found inspection
		w.await("something to give back", func() bool {
			w.wring(&found, "inspect", "events")
			return found.ReclaimableBytes >= 10<<20
		})
		if found.Engine != "Pebble" || found.Path != filepath.Join(w.dir, "events") || found.Obstacle != nil {
			t.Errorf("inspect: %+v", found)
		}
		var plan struct {
			Stores []struct{ Store, Action, Mode string }
		}
		w.wring(&plan, "plan")
		if len(plan.Stores) != 1 || plan.Stores[0].Store != "events" || plan.Stores[0].Action != "compact" || plan.Stores[0].Mode != "ranges" {
			t.Errorf("plan: %+v", plan)
		}
		var r result
		w.wring(&r, "compact", "events")
		t.Logf("compaction %d gave %d bytes back of the %d that were promised, %d bytes remain", i+1, r.ReclaimedBytes, r.PredictedBytes, r.TotalBytesAfter)
		if r.Outcome != "compacted" || !r.Verified || r.Items == 0 {
			t.Fatalf("compaction %d: %+v", i+1, r)
		}
		if r.PauseMS == nil || *r.PauseMS < 0 || *r.PauseMS > r.DurationMS || strings.Contains(r.Reason, "live.Stalls is not set") {
			t.Errorf("compaction %d: writers were held up for %v of %d ms: %s", i+1, r.PauseMS, r.DurationMS, r.Reason)
		}
		if r.ReclaimedBytes <= 0 || r.TotalBytesAfter >= r.TotalBytesBefore {
			t.Errorf("compaction %d gave nothing back: %+v", i+1, r)
		}
		acknowledged := app.acknowledged(t)
		w.await("writes after it", func() bool { return app.acknowledged(t) > acknowledged })
	}

	var status struct {
		Stores []struct {
			Store, State string
			LastOutcome  string `json:"last_outcome"`
		}
	}
	w.wring(&status, "status")
	if len(status.Stores) != 1 || status.Stores[0].State != "healthy" || status.Stores[0].LastOutcome != "compacted" {
		t.Errorf("status: %+v", status)
	}
	var history struct{ Runs []struct{ Results []result } }
	w.wring(&history, "history")
	if len(history.Runs) != 2 {
		t.Errorf("history has %d runs, want 2", len(history.Runs))
	}
	for _, run := range history.Runs {
		if len(run.Results) != 1 || run.Results[0].Outcome != "compacted" || run.Results[0].PauseMS == nil || run.Results[0].ReclaimedBytes <= 0 {
			t.Errorf("history: %+v", run)
		}
	}

	stayedLocked()
	w.endApp(app)
	if status := host.end(syscall.SIGTERM); status != 0 {
		t.Errorf("the host ended with exit status %d: %s", status, host)
	}
}
