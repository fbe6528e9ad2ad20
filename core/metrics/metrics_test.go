package metrics

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/wringdb/wring/core/history"
)

const mib = 1 << 20

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// compacted are the totals of n compactions of a second each.
func compacted(n int) *history.Totals {
	var t history.Totals
	for range n {
		t = t.After(history.Result{Outcome: history.Compacted, ReclaimedBytes: mib, DurationMS: 1000, PauseMS: 5})
	}
	return &t
}

// storeOf is a store of which all is known.
func storeOf(name, foundBy string, compactions int) Store {
	growth, free := float64(24*60*60), int64(100*mib)
	return Store{
		Name: name, FoundBy: foundBy, LastSuccessAt: noon,
		Size:         &history.Sample{At: noon, TotalBytes: 4 * mib, AllocatedBytes: 3 * mib, LiveBytes: 2 * mib, ReclaimableBytes: mib},
		GrowthPerDay: &growth, DiskFreeBytes: &free, FullAt: noon.Add(time.Hour),
		Totals:    compacted(compactions),
		Timetable: &Timetable{NextAt: noon.Add(time.Minute), Failures: 2, Overdue: true},
	}
}

// scraped is what a scrape of an Exporter found.
type scraped map[string]*dto.MetricFamily

func scrape(t *testing.T, e *Exporter) (scraped, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	e.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("a scrape is answered with %d: %s", answer.Code, answer.Body)
	}
	text := answer.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families, text
}

// value is that of one series, by its labels; NaN when it is not there.
func (s scraped) value(name string, labels ...string) float64 {
	for _, m := range s[name].GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		slices.Sort(labels)
		if !slices.Equal(got, labels) {
			continue
		}
		switch {
		case m.Gauge != nil:
			return m.GetGauge().GetValue()
		case m.Counter != nil:
			return m.GetCounter().GetValue()
		case m.Histogram != nil:
			return float64(m.GetHistogram().GetSampleCount())
		}
	}
	return math.NaN()
}

func (s scraped) expect(t *testing.T, want map[string]float64) {
	t.Helper()
	for series, v := range want {
		name, rest, _ := strings.Cut(series, " ")
		if got := s.value(name, strings.Fields(rest)...); got != v && !(math.IsNaN(got) && math.IsNaN(v)) {
			t.Errorf("%s is %v, want %v", series, got, v)
		}
	}
}

func TestMetricsOfOneStore(t *testing.T) {
	s := Snapshot{
		Version: "v1", Configured: 2, Running: 1, ReclaimedBytes: 7 * mib, ReloadedAt: noon,
		Stores:  []Store{storeOf("a", "", 3), {Name: "new", Timetable: &Timetable{Paused: true}, Totals: &history.Totals{}}},
		Plugins: []Plugin{{Name: "bolt", Up: true, Processes: 2, Restarts: 4}, {Name: "acme", Failed: true}},
		Owners:  3, OwnersUp: 2,
		Targets: []Target{{Name: "ops", Waiting: 2, Delivered: 5, Dropped: 1}, {Name: "chat"}},
	}
	e := New(func() Snapshot { return s }, hclog.NewNullLogger())
	e.Waited(2 * time.Second)
	e.Waited(-time.Second) // a clock that was set back
	got, _ := scrape(t, e)
	unix := float64(noon.Unix())
	got.expect(t, map[string]float64{
		"wring_build_info version=v1":                        1,
		"wring_configured_stores":                            2,
		"wring_runs_in_progress":                             1,
		"wring_reclaimed_bytes_total":                        7 * mib,
		"wring_config_last_reload_successful":                1,
		"wring_config_last_reload_success_timestamp_seconds": unix,
		"wring_scheduler_lag_seconds":                        2,
		"wring_store_size_bytes store=a":                     4 * mib,
		"wring_store_allocated_bytes store=a":                3 * mib,
		"wring_store_live_bytes store=a":                     2 * mib,
		"wring_store_reclaimable_bytes store=a":              mib,
		"wring_store_measured_timestamp_seconds store=a":     unix,
		"wring_store_growth_bytes_per_second store=a":        1,
		"wring_store_disk_free_bytes store=a":                100 * mib,
		"wring_store_disk_full_timestamp_seconds store=a":    unix + 3600,
		"wring_store_last_success_timestamp_seconds store=a": unix,
		"wring_store_next_run_timestamp_seconds store=a":     unix + 60,
		"wring_store_consecutive_failures store=a":           2,
		"wring_store_overdue store=a":                        1,
		"wring_store_degraded store=a":                       0,
		"wring_store_paused store=a":                         0,
		"wring_store_paused store=new":                       1,
		"wring_store_runs_total store=a outcome=compacted":   3,
		"wring_store_runs_total store=a outcome=failed":      0,
		"wring_store_runs_total store=new outcome=failed":    0,
		"wring_store_reclaimed_bytes_total store=a":          3 * mib,
		"wring_store_compaction_duration_seconds store=a":    3,
		"wring_store_compaction_pause_seconds store=a":       3,
		"wring_store_compaction_pause_seconds store=new":     0,
		"wring_plugin_up plugin=bolt":                        1,
		"wring_plugin_up plugin=acme":                        0,
		"wring_plugin_failed plugin=acme":                    1,
		"wring_plugin_processes plugin=bolt":                 2,
		"wring_plugin_restarts_total plugin=bolt":            4,
		"wring_owners":                            3,
		"wring_owners_up":                         2,
		"wring_notify_waiting target=ops":         2,
		"wring_notify_delivered_total target=ops": 5,
		"wring_notify_dropped_total target=ops":   1,
		"wring_notify_dropped_total target=chat":  0,
		// What is not known has no series.
		"wring_store_size_bytes store=new":                     math.NaN(),
		"wring_store_growth_bytes_per_second store=new":        math.NaN(),
		"wring_store_disk_full_timestamp_seconds store=new":    math.NaN(),
		"wring_store_last_success_timestamp_seconds store=new": math.NaN(),
		"wring_store_next_run_timestamp_seconds store=new":     math.NaN(),
	})
	h := got["wring_store_compaction_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleSum() != 3 {
		t.Errorf("the durations add up to %v s, want 3", h.GetSampleSum())
	}
	for _, bucket := range h.GetBucket() {
		want := uint64(0)
		if bucket.GetUpperBound() >= 1 {
			want = 3
		}
		if bucket.GetCumulativeCount() != want {
			t.Errorf("%d compactions took %v s at most, want %d", bucket.GetCumulativeCount(), bucket.GetUpperBound(), want)
		}
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	s := Snapshot{Version: "v1", ReloadedAt: noon, Stores: []Store{storeOf("a", "", 3)}, Plugins: []Plugin{{Name: "bolt"}}}
	_, text := scrape(t, New(func() Snapshot { return s }, hclog.NewNullLogger()))
	problems, err := promlint.New(bytes.NewBufferString(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// stores makes a pattern with so many files, each with a number of compactions.
func stores(files, compactions int) []Store {
	all := []Store{{Name: "logs", Timetable: &Timetable{}}}
	for i := range files {
		file := storeOf(fmt.Sprintf("logs/%04d.db", i), "logs", compactions)
		file.Timetable = nil
		all = append(all, file)
	}
	return all
}

func TestOfAPatternsFilesAFewAreNamed(t *testing.T) {
	all := stores(1000, 3)
	e := New(func() Snapshot { return Snapshot{Stores: all} }, hclog.NewNullLogger())
	got, _ := scrape(t, e)
	if n := len(got["wring_store_allocated_bytes"].GetMetric()); n != MaxFound+1 {
		t.Errorf("1000 files have %d series, want %d", n, MaxFound+1)
	}
	if n := len(got["wring_store_overdue"].GetMetric()); n != 1 {
		t.Errorf("%d series say what is overdue, want the pattern's alone", n)
	}
	got.expect(t, map[string]float64{
		"wring_store_allocated_bytes store=logs/0049.db":                3 * mib,
		"wring_store_allocated_bytes store=logs/0050.db":                math.NaN(),
		"wring_store_allocated_bytes store=logs/(other)":                3 * mib * (1000 - MaxFound),
		"wring_store_growth_bytes_per_second store=logs/(other)":        1000 - MaxFound,
		"wring_store_last_success_timestamp_seconds store=logs/(other)": math.NaN(),
		"wring_store_disk_free_bytes store=logs/(other)":                math.NaN(),
		"wring_store_measured_timestamp_seconds store=logs/(other)":     math.NaN(),
		"wring_store_runs_total store=logs/(other) outcome=compacted":   0, // since the first scrape
		"wring_store_compaction_duration_seconds store=logs/(other)":    0,
		"wring_store_runs_total store=logs/0049.db outcome=compacted":   3,
		"wring_store_runs_total store=logs outcome=compacted":           math.NaN(), // its files are counted
		"wring_store_next_run_timestamp_seconds store=logs/0049.db":     math.NaN(),
		"wring_store_last_success_timestamp_seconds store=logs/0049.db": float64(noon.Unix()),
		"wring_store_disk_full_timestamp_seconds store=logs/0049.db":    float64(noon.Unix()) + 3600,
		"wring_store_compaction_duration_seconds store=logs/0000.db":    3,
		"wring_store_reclaimed_bytes_total store=logs/(other)":          0,
		"wring_store_consecutive_failures store=logs":                   0,
		"wring_store_disk_full_timestamp_seconds store=logs/(other)":    math.NaN(),
		"wring_store_reclaimable_bytes store=logs/(other)":              mib * (1000 - MaxFound),
		"wring_store_compaction_pause_seconds store=logs/(other)":       0,
		"wring_store_runs_total store=logs/(other) outcome=failed":      0,
		"wring_store_consecutive_failures store=logs/(other)":           math.NaN(),
		"wring_store_size_bytes store=logs/(other)":                     4 * mib * (1000 - MaxFound),
		"wring_store_live_bytes store=logs/(other)":                     2 * mib * (1000 - MaxFound),
		"wring_store_reclaimed_bytes_total store=logs/0000.db":          3 * mib,
		"wring_store_last_success_timestamp_seconds store=logs":         math.NaN(),
		"wring_store_compaction_duration_seconds store=logs":            math.NaN(),
	})
}

// The counters of those that have no name go up by what becomes of them while
// they have none, and never down, whoever comes, goes, or gets a name.
func TestCountersOfTheRestNeverGoDown(t *testing.T) {
	var all []Store
	e := New(func() Snapshot { return Snapshot{Stores: all} }, hclog.NewNullLogger())
	expect := func(when string, want float64) {
		t.Helper()
		got, _ := scrape(t, e)
		for series, want := range map[string]float64{
			"wring_store_runs_total store=logs/(other) outcome=compacted": want,
			"wring_store_reclaimed_bytes_total store=logs/(other)":        want * mib,
			"wring_store_compaction_duration_seconds store=logs/(other)":  want,
			"wring_store_compaction_pause_seconds store=logs/(other)":     want,
		} {
			name, labels, _ := strings.Cut(series, " ")
			if got := got.value(name, strings.Fields(labels)...); got != want {
				t.Errorf("%s %s is %v, want %v", when, series, got, want)
			}
		}
	}
	const rest = 10
	all = stores(MaxFound+rest, 3)
	expect("at first", 0)
	all = stores(MaxFound+rest, 5)
	expect("after two compactions of each", 2*rest)
	gone := func(store Store) bool { return store.Name == "logs/0000.db" || store.Name == "logs/0055.db" }
	all = slices.DeleteFunc(stores(MaxFound+rest, 5), gone)
	expect("when one with a name and one without are gone", 2*rest)
	all = slices.DeleteFunc(stores(MaxFound+rest, 6), gone)
	expect("after one more of each", 2*rest+(rest-2))
	all = append(all, storeOf("logs/0000.db", "logs", 100))
	expect("when one comes that has no name any more", 2*rest+(rest-2))
	all = slices.DeleteFunc(stores(MaxFound+rest, 2), gone)
	expect("when their history was lost", 2*rest+(rest-2))
}

// A file that has a name keeps it, although others come that sort before it.
func TestNamesStay(t *testing.T) {
	all := stores(MaxFound, 1)
	e := New(func() Snapshot { return Snapshot{Stores: all} }, hclog.NewNullLogger())
	scrape(t, e)
	all = append(all, storeOf("logs/-first.db", "logs", 1))
	got, _ := scrape(t, e)
	got.expect(t, map[string]float64{
		"wring_store_size_bytes store=logs/0049.db":   4 * mib,
		"wring_store_size_bytes store=logs/-first.db": math.NaN(),
		"wring_store_size_bytes store=logs/(other)":   4 * mib,
	})
	all = all[:3]
	got, _ = scrape(t, e)
	if n := len(got["wring_store_size_bytes"].GetMetric()); n != 2 {
		t.Errorf("of 2 files that are left %d have a series", n)
	}
}

// Of stores that owners have, a yes is how many of the rest.
func TestRestOfOwnersStoresIsCounted(t *testing.T) {
	var all []Store
	for i := range MaxFound + 7 {
		all = append(all, storeOf(fmt.Sprintf("apps/%02d", i), "apps", 0))
	}
	got, _ := scrape(t, New(func() Snapshot { return Snapshot{Stores: all} }, hclog.NewNullLogger()))
	got.expect(t, map[string]float64{
		"wring_store_overdue store=apps/(other)":                    7,
		"wring_store_degraded store=apps/(other)":                   0,
		"wring_store_consecutive_failures store=apps/(other)":       14,
		"wring_store_next_run_timestamp_seconds store=apps/(other)": math.NaN(),
	})
}

// Names of files need not be UTF-8, and may be what is shown of another.
func TestNamesThatAreNoLabels(t *testing.T) {
	all := []Store{{Name: "logs", Timetable: &Timetable{}}}
	for _, name := range []string{"logs/a\xff.db", "logs/a\xfe.db", `logs/a\xff.db`, "logs/z.db"} {
		all = append(all, storeOf(name, "logs", 1))
	}
	s := Snapshot{Stores: all, Plugins: []Plugin{{Name: "bolt", Up: true}}, Owners: 3}
	got, _ := scrape(t, New(func() Snapshot { return s }, hclog.NewNullLogger()))
	got.expect(t, map[string]float64{
		`wring_store_size_bytes store=logs/a\xfe.db`:  4 * mib,
		`wring_store_size_bytes store=logs/a\xff.db`:  4 * mib,
		`wring_store_size_bytes store=logs/a\xff.db~`: 4 * mib,
		"wring_store_size_bytes store=logs/z.db":      4 * mib,
		"wring_plugin_up plugin=bolt":                 1,
		"wring_owners":                                3,
	})
}

// A file that is called like the sum of the rest does not hide it.
func TestFileThatIsCalledOther(t *testing.T) {
	all := append(stores(MaxFound+5, 1), storeOf("logs/(other)", "logs", 1))
	got, _ := scrape(t, New(func() Snapshot { return Snapshot{Stores: all} }, hclog.NewNullLogger()))
	got.expect(t, map[string]float64{
		"wring_store_size_bytes store=logs/(other)":  4 * mib,
		"wring_store_size_bytes store=logs/(other)~": 4 * mib * 6,
	})
}

// What cannot be shown takes nothing else with it.
func TestMetricThatCannotBeShown(t *testing.T) {
	s := Snapshot{Plugins: []Plugin{{Name: "\xff"}, {Name: "bolt", Up: true}}, Owners: 3}
	got, _ := scrape(t, New(func() Snapshot { return s }, hclog.NewNullLogger()))
	got.expect(t, map[string]float64{"wring_plugin_up plugin=bolt": 1, "wring_owners": 3})
}
