package daemon

import (
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/schedule"
)

// A host that is started anew again and again still tells of a store that no host
// has got to look at.
func TestStoreThatWasNeverLookedAtIsOverdueOverRestarts(t *testing.T) {
	now := time.Now()
	h := &host{startedAt: now.Add(-time.Minute)}
	s := tracked{Store: config.Store{Name: "a", Schedule: schedule.Settings{Every: time.Hour}, OverdueAfter: 3 * time.Hour}}
	if h.healthOf(s, history.Past{}, now).Overdue {
		t.Error("a store is overdue a minute after the first start of a host")
	}
	if h.healthOf(s, history.Past{TriedSince: now.Add(-2 * time.Hour)}, now).Overdue {
		t.Error("a store is overdue within the time that it has")
	}
	if !h.healthOf(s, history.Past{TriedSince: now.Add(-5 * time.Hour)}, now).Overdue {
		t.Error("a store that was tried in vain for hours is not overdue, as the host has just started")
	}
}
