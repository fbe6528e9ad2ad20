package command

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func printed(status api.Status) string {
	var out strings.Builder
	s := &session{Streams: Streams{Out: &out, Width: 80}}
	s.printStatus(status, noon)
	return out.String()
}

// The widest words of each column, for names of up to 18 characters, fit on a
// terminal of 80 columns.
func TestStatusFitsOnATerminal(t *testing.T) {
	size, growth := int64(1023<<30), int64(-1023<<20)
	store := api.StoreStatus{
		Store: strings.Repeat("s", 18), Plugin: "pebble", State: api.Unresolved, LastOutcome: history.Compacted,
		Health: history.Health{LastSuccessAt: noon.Add(-23*time.Hour - 59*time.Minute)}, NextAt: noon.Add(23*time.Hour + 59*time.Minute),
		Figures: api.Figures{
			AllocatedBytes: &size, ReclaimableBytes: &size, GrowthBytesPerDay: &growth, DiskFreeBytes: &size,
			FullAt: noon.Add(365*24*time.Hour + 23*time.Hour),
		},
		Active: &event.Progress{Progress: sdk.Progress{Phase: "verify", Done: 999, Total: 1000, Unit: "bytes"}, ETAMS: 3_599_000},
	}
	text := printed(api.Status{Version: "v1.2.3", PID: 4_194_304, StartedAt: noon.Add(-time.Hour), Stores: []api.StoreStatus{store}})
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line has %d columns:\n%s", n, line)
		}
	}
	for _, want := range []string{
		"SIZE  RECLAIMABLE   GROWTH/DAY   DISK FREE  DISK FULL", "1023.0 GiB   1023.0 GiB  -1023.0 MiB  1023.0 GiB  in 365d23h",
		"verify 99 %, 59m59s left in this phase",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the status does not have %q:\n%s", want, text)
		}
	}
}

func TestStatusShowsWhatIsKnown(t *testing.T) {
	size := int64(4 << 20)
	text := printed(api.Status{
		StartedAt: noon, ReclaimedBytesTotal: 9 << 20,
		Stores: []api.StoreStatus{
			{Store: "unmeasured", State: api.Healthy, NextAt: noon.Add(time.Hour)},
			{Store: "measured", State: api.Healthy, Figures: api.Figures{AllocatedBytes: &size, PausedAt: noon}},
		},
	})
	for _, want := range []string{
		"unmeasured  -       healthy  -             never         in 1h0m\n",
		"measured    -       healthy  -             never         paused\n",
		"measured  4.0 MiB            -           -          -  -\n",
		"\n9.0 MiB given back so far\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the status does not have %q:\n%s", want, text)
		}
	}
	if strings.Count(text, "unmeasured") != 1 {
		t.Errorf("a store that was not measured is among the sizes:\n%s", text)
	}
	if text := printed(api.Status{StartedAt: noon}); strings.Contains(text, "SIZE") || strings.Contains(text, "given back") {
		t.Errorf("a host without stores shows figures:\n%s", text)
	}
}
