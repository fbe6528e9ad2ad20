package daemon_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
)

// scrape asks the running host for its metrics, as Prometheus does.
func (p *place) scrape() map[string]*dto.MetricFamily {
	p.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(p.get("/metrics")))
	if err != nil {
		p.t.Fatalf("the metrics cannot be parsed: %v", err)
	}
	return families
}

// series is the value of the first series of a metric with all the labels.
func series(families map[string]*dto.MetricFamily, name string, labels ...string) (float64, bool) {
	for _, m := range families[name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

// documented is a metric as docs/metrics.md has it.
type documented struct{ kind, labels string }

var documentedRow = regexp.MustCompile("(?m)^\\| `(wring_[a-z_]+)` \\| ([a-z]+) \\|[^|]*\\| ([a-z, ]*) ?\\|")

func documentedMetrics(t *testing.T) map[string]documented {
	t.Helper()
	content, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]documented{}
	for _, row := range documentedRow.FindAllSubmatch(content, -1) {
		name := string(row[1])
		if _, twice := all[name]; twice {
			t.Errorf("docs/metrics.md has %s twice", name)
		}
		all[name] = documented{kind: string(row[2]), labels: strings.TrimSpace(string(row[3]))}
	}
	if rows := bytes.Count(content, []byte("\n| `wring_")); rows != len(all) {
		t.Errorf("docs/metrics.md has %d rows that name a metric, %d of them in the form that is read here", rows, len(all))
	}
	return all
}

// labelsOf are the names of the labels that a metric's series have, in the order
// in which they are documented.
func labelsOf(family *dto.MetricFamily) string {
	names := map[string]bool{}
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			names[l.GetName()] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	slices.Reverse(sorted) // store, outcome
	return strings.Join(sorted, ", ")
}

// Each metric that is documented is there in a running host, and each that is
// there is documented, with its type and its labels.
func TestMetricsAreThoseThatAreDocumented(t *testing.T) {
	p := newPlace(t, &lists{half: newHalf()})
	data := filepath.Join(p.dir, "data")
	broken := filepath.Join(p.dir, "broken.db")
	if err := os.WriteFile(broken, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A plugin that does not come up is a plugin all the same.
	p.configure("  start_delay = \"1s\"\n  every = \"1s\"\n  retry {\n    attempts = 0\n  }", fmt.Sprintf(
		"plugin \"broken\" {\n  command = \"/bin/false\"\n}\nstore \"b\" {\n  plugin = \"broken\"\n  path = %q\n}\n"+
			"notify \"ops\" {\n  command = [\"/bin/true\"]\n  stores = [\"a\"]\n}\n", broken))
	grown(t, data, "a", p.dir)
	stop := p.start()
	var got map[string]*dto.MetricFamily
	p.wait("all has been measured, and was due", func() bool {
		got = p.scrape()
		lag, _ := series(got, "wring_scheduler_lag_seconds")
		_, full := series(got, "wring_store_disk_full_timestamp_seconds", "store=a")
		failed, _ := series(got, "wring_store_runs_total", "store=b", "outcome=failed")
		return lag >= 1 && full && failed >= 1
	})

	want := documentedMetrics(t)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] == nil && (runtime.GOOS == "linux" || !strings.HasPrefix(name, "wring_process_")) {
			t.Errorf("%s is documented, and not there", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		family, wanted := got[name], want[name]
		if wanted == (documented{}) {
			t.Errorf("%s is there, and not documented", name)
			continue
		}
		if kind := strings.ToLower(family.GetType().String()); kind != wanted.kind {
			t.Errorf("%s is a %s, and documented as a %s", name, kind, wanted.kind)
		}
		if labels := labelsOf(family); labels != wanted.labels {
			t.Errorf("%s has the labels %q, and documented are %q", name, labels, wanted.labels)
		}
	}
	problems, err := promlint.New(strings.NewReader(p.get("/metrics"))).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("the metrics have the problems %v, %v", problems, err)
	}
	if v, _ := series(got, "wring_plugin_failed", "plugin=broken"); v != 1 {
		t.Errorf("the plugin that does not come up has failed = %v", v)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

func TestCountersGoOnAfterARestart(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	for n := range 2 {
		stop := p.start()
		if _, err := p.client.Compact(t.Context(), api.CompactRequest{All: true, Force: true}); err != nil {
			t.Fatal(err)
		}
		got := p.scrape()
		for name, want := range map[string]float64{
			"wring_store_runs_total":                  1,
			"wring_store_reclaimed_bytes_total":       4 << 20,
			"wring_store_compaction_duration_seconds": 1,
			"wring_store_compaction_pause_seconds":    1,
		} {
			labels := []string{"store=a"}
			if name == "wring_store_runs_total" {
				labels = append(labels, "outcome=compacted")
			}
			if v, _ := series(got, name, labels...); v != want*float64(n+1) {
				t.Errorf("after run %d %s is %v, want %v", n+1, name, v, want*float64(n+1))
			}
		}
		if v, _ := series(got, "wring_reclaimed_bytes_total"); v != float64((n+1)*4<<20) {
			t.Errorf("after run %d all stores have given back %v", n+1, v)
		}
		if s := status(t, p); s.ReclaimedBytesTotal != int64((n+1)*4<<20) {
			t.Errorf("after run %d the status says %d", n+1, s.ReclaimedBytesTotal)
		}
		if err := stop(); err != nil {
			t.Errorf("the host ends with %v", err)
		}
	}
}

func TestStoreThatIsRemovedHasNoSeries(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", fmt.Sprintf("store \"b\" {\n  owner = %q\n}\n", p.owner))
	stop := p.start()
	defer func() { _ = stop() }()
	if _, err := p.client.Plan(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, there := series(p.scrape(), "wring_store_size_bytes", "store=b"); !there {
		t.Error("a store that was measured has no series")
	}
	p.configure("", "")
	if err := p.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := p.scrape()
	for name, family := range got {
		if _, there := series(map[string]*dto.MetricFamily{name: family}, name, "store=b"); there {
			t.Errorf("a store that was removed still has %s", name)
		}
	}
	if _, there := series(got, "wring_store_size_bytes", "store=a"); !there {
		t.Error("the store that stays has no series any more")
	}
	p.configure("", "store \"b\" {\n  ownr = \"/x\"\n}\n")
	if err := p.client.Reload(t.Context()); err == nil {
		t.Error("a wrong configuration was taken")
	}
	if v, there := series(p.scrape(), "wring_config_last_reload_successful"); !there || v != 0 {
		t.Errorf("after a reload that was refused the metric says %v", v)
	}
}

// grown gives a store a history of having grown by 1 GiB an hour for two days.
func grown(t *testing.T, dir, store, path string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := history.Open(filepath.Join(dir, history.FileName), 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-48 * time.Hour)
	for n := range 48 {
		s := history.Sample{At: began.Add(time.Duration(n) * time.Hour), TotalBytes: int64(n) << 30, AllocatedBytes: int64(n) << 30}
		if err := db.AddSample(store, s, 0); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(-time.Hour)
	run := history.Run{ID: "before", StartedAt: at, FinishedAt: at, Results: []history.Result{{
		Store: store, Run: "before", Path: path, Engine: "half", Outcome: history.Skipped, StartedAt: at, FinishedAt: at,
	}}}
	if err := db.AddRun(run); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
