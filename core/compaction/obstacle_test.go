package compaction_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// What stands in the way of a compaction is in the plan as the run then says it.
func TestPlanSaysTheObstacle(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		noRoom := sdk.Errorf(sdk.ErrNoSpace, "rewrite a.db: 3 GiB are needed, 1 GiB is free").WithHint("free 2 GiB")
		var stores []config.Store
		add := func(name string, measured sdk.Fragmentation, obstacle *sdk.Error) {
			measured.Obstacle = obstacle
			b := &backend{fragmentation: measures(measured)}
			if obstacle != nil {
				b.compact = sequence(obstacle, obstacle, obstacle)
			}
			stores = append(stores, w.store(name, b))
		}
		add("free", fragmented, nil)
		add("full", fragmented, noRoom)
		add("held", fragmented, sdk.Errorf(sdk.ErrBusy, "a.db is open in process 7"))
		add("bound", fragmented, sdk.Errorf(sdk.ErrUnsupported, "a.db has two names").WithHint("remove one"))
		add("dense", dense, noRoom)
		want := []struct{ action, code, reason, hint string }{
			{"compact", "worthwhile", "", ""},
			{"defer", history.CodeNoSpace, "3 GiB are needed", "free 2 GiB"},
			{"defer", history.CodeLocked, "process 7", ""},
			{"error", history.CodeError, "a.db has two names", "remove one"},
			{"skip", "below_ratio", "", ""},
		}
		plans, err := w.runner.Plan(t.Context(), stores)
		if err != nil {
			t.Fatal(err)
		}
		run := w.run(stores...)
		for i, p := range plans {
			if x := want[i]; p.Action != x.action || p.Code != x.code || !strings.Contains(p.Reason, x.reason) || p.Hint != x.hint {
				t.Errorf("plan is %+v, want %+v", p, x)
			}
			if p.PredictedBytes == 0 {
				t.Errorf("%s: the measurement is not in the plan", p.Store)
			}
			if r := run.Results[i]; r.Code != p.Code || r.Reason != p.Reason {
				t.Errorf("planned %s: %s\ndone %s: %s", p.Code, p.Reason, r.Code, r.Reason)
			}
		}

		inspection, err := w.runner.Inspect(t.Context(), stores[1], "")
		document, _ := json.Marshal(inspection)
		if said := `"obstacle":{"code":"no_space","error":"rewrite a.db: 3 GiB are needed, 1 GiB is free","hint":"free 2 GiB"}`; err != nil || !strings.Contains(string(document), said) {
			t.Errorf("%s (%v), want %s", document, err, said)
		}
	})
}
