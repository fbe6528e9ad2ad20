// Package prometheus holds the alert rules that go with wring. It is a module of
// its own for the sake of its tests, which read the rules and the dashboard with
// Prometheus's own libraries.
package prometheus

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// documented are the names in docs/metrics.md, which a test of the host holds
// against what a running one shows, with those that histograms have in PromQL.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	content, err := os.ReadFile("../metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(wring_[a-z_]+)` \\| ([a-z]+) ").FindAllStringSubmatch(string(content), -1) {
		if row[2] != "histogram" {
			names[row[1]] = true
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			names[row[1]+suffix] = true
		}
	}
	if len(names) < 30 {
		t.Fatalf("docs/metrics.md has only %d metrics: read in the wrong way?", len(names))
	}
	return names
}

// checkNames says which metrics of an expression are none of the host's.
func checkNames(t *testing.T, where string, expr parser.Expr, known map[string]bool) {
	t.Helper()
	selectors := 0
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			selectors++
			if !known[selector.Name] && selector.Name != "up" { // which is Prometheus's own
				t.Errorf("%s asks for %s, which the host does not have", where, selector.Name)
			}
		}
		return nil
	})
	if selectors == 0 {
		t.Errorf("%s asks for no metric", where)
	}
}

func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, problems := rulefmt.ParseFile("alerts.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), nil)
	for _, problem := range problems {
		t.Error(problem)
	}
	if t.Failed() || len(groups.Groups) != 1 {
		t.Fatal("the rules cannot be read")
	}
	return groups.Groups[0].Rules
}

func TestRulesAskForMetricsThatThereAre(t *testing.T) {
	known := documented(t)
	for _, rule := range rules(t) {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
		if err != nil {
			t.Errorf("%s: %v", rule.Alert, err)
			continue
		}
		checkNames(t, rule.Alert, expr, known)
		if rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("%s has no summary or no severity", rule.Alert)
		}
	}
}

func TestDashboardAsksForMetricsThatThereAre(t *testing.T) {
	known := documented(t)
	content, err := os.ReadFile("../grafana/wring.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(target.Expr)
			if err != nil {
				t.Errorf("panel %q: %v", panel.Title, err)
				continue
			}
			checkNames(t, "panel "+panel.Title, expr, known)
			if metrics, chosen := strings.Count(target.Expr, "wring_"), strings.Count(target.Expr, `instance=~"$instance"`); metrics != chosen {
				t.Errorf("panel %q does not keep to the chosen hosts: %s", panel.Title, target.Expr)
			}
		}
	}
	// The variables, and whatever else names a metric.
	for _, name := range regexp.MustCompile(`wring_[a-z_]+`).FindAllString(string(content), -1) {
		if !known[name] {
			t.Errorf("the dashboard names %s, which the host does not have", name)
		}
	}
}

// Each rule is held against two days of samples, one each minute: those in which
// something is wrong, and those in which all is well.
func TestRulesFire(t *testing.T) {
	const day = "x1440"
	for alert, series := range map[string]struct{ wrong, well string }{
		"WringDown":   {`up{job="wring"} 0+0` + day, `up{job="wring"} 1+0` + day},
		"WringAbsent": {`other 1+0` + day, `wring_build_info{version="1"} 1+0` + day},
		// The samples begin at 0 and end a day later.
		"WringDiskFullSoon": {
			`wring_store_disk_full_timestamp_seconds{store="a"} 90000+0` + day,
			`wring_store_disk_full_timestamp_seconds{store="a"} 259200+0` + day,
		},
		"WringStoreOverdue":    {`wring_store_overdue{store="apps/(other)"} 3+0` + day, `wring_store_overdue{store="a"} 0+0` + day},
		"WringStoreDegraded":   {`wring_store_degraded{store="a"} 1+0` + day, `wring_store_degraded{store="a"} 0+0` + day},
		"WringStoreUnresolved": {`wring_store_unresolved{store="a"} 1+0` + day, `wring_store_unresolved{store="a"} 0+0` + day},
		"WringStoreDeferred": {
			`wring_store_runs_total{store="a",outcome="deferred"} 0+0x300 1+0x300 2+0x300 3+0x300 4+0x240
			wring_store_runs_total{store="a",outcome="compacted"} 5+0` + day + `
			wring_store_runs_total{store="a",outcome="skipped"} 0+0` + day,
			`wring_store_runs_total{store="a",outcome="deferred"} 0+0x300 1+0x300 2+0x300 3+0x300 4+0x240
			wring_store_runs_total{store="a",outcome="compacted"} 5+0x700 6+0x740
			wring_store_runs_total{store="a",outcome="skipped"} 0+0` + day,
		},
		"WringWritersHeldUp": {
			`wring_store_compaction_pause_seconds_count{store="a"} 5+0x1420 6+0x20
			wring_store_compaction_pause_seconds_bucket{store="a",le="1"} 5+0` + day,
			`wring_store_compaction_pause_seconds_count{store="a"} 5+0x1420 6+0x20
			wring_store_compaction_pause_seconds_bucket{store="a",le="1"} 5+0x1420 6+0x20`,
		},
		"WringScheduleLate": {
			`wring_scheduler_lag_seconds_count 5+0x1300 6+0x140
			wring_scheduler_lag_seconds_bucket{le="3600.0"} 5+0` + day,
			`wring_scheduler_lag_seconds_count 5+0x1300 6+0x140
			wring_scheduler_lag_seconds_bucket{le="3600.0"} 5+0x1300 6+0x140`,
		},
		"WringSchedulePaused": {`wring_store_paused{store="a"} 1+0` + day, `wring_store_paused{store="a"} 0+0` + day},
		"WringPluginFailed":   {`wring_plugin_failed{plugin="bolt"} 1+0` + day, `wring_plugin_failed{plugin="bolt"} 0+0` + day},
		"WringPluginCrashes":  {`wring_plugin_restarts_total{plugin="bolt"} 0+0x1385 1+1x54`, `wring_plugin_restarts_total{plugin="bolt"} 7+0` + day},
		"WringNotificationsDropped": {
			`wring_notify_dropped_total{target="ops"} 0+0x1400 1+0x40`,
			`wring_notify_dropped_total{target="ops"} 3+0` + day,
		},
		"WringReloadFailed": {`wring_config_last_reload_successful 0+0` + day, `wring_config_last_reload_successful 1+0` + day},
	} {
		t.Run(alert, func(t *testing.T) {
			all := rules(t)
			i := slices.IndexFunc(all, func(r rulefmt.Rule) bool { return r.Alert == alert })
			if i < 0 {
				t.Fatal("there is no such rule")
			}
			if !fires(t, all[i].Expr, series.wrong) {
				t.Errorf("%s does not fire on\n%s", all[i].Expr, series.wrong)
			}
			if fires(t, all[i].Expr, series.well) {
				t.Errorf("%s fires on\n%s", all[i].Expr, series.well)
			}
		})
	}
	for _, rule := range rules(t) {
		if !strings.Contains(source(t), `"`+rule.Alert+`"`) {
			t.Errorf("%s is not tried here", rule.Alert)
		}
	}
}

// Of two hosts, which may have stores of the same name, it is told which one is
// meant, and what is right with one hides nothing of the other.
func TestRulesTellHostsApart(t *testing.T) {
	const day = "x1440"
	for alert, series := range map[string]string{
		"WringDown": `up{job="wring",instance="bad"} 0+0` + day + `
			up{job="wring",instance="good"} 1+0` + day,
		"WringStoreOverdue": `wring_store_overdue{instance="bad",store="a"} 1+0` + day + `
			wring_store_overdue{instance="good",store="a"} 0+0` + day,
		"WringStoreDeferred": `wring_store_runs_total{instance="bad",store="a",outcome="deferred"} 0+0x300 1+0x300 2+0x300 3+0x300 4+0x240
			wring_store_runs_total{instance="bad",store="a",outcome="compacted"} 5+0` + day + `
			wring_store_runs_total{instance="good",store="a",outcome="deferred"} 0+0` + day + `
			wring_store_runs_total{instance="good",store="a",outcome="compacted"} 5+0x700 6+0x740`,
		"WringWritersHeldUp": `wring_store_compaction_pause_seconds_count{instance="bad",store="a"} 5+0x1420 6+0x20
			wring_store_compaction_pause_seconds_bucket{instance="bad",store="a",le="1"} 5+0` + day + `
			wring_store_compaction_pause_seconds_count{instance="good",store="a"} 5+0` + day + `
			wring_store_compaction_pause_seconds_bucket{instance="good",store="a",le="1"} 5+0` + day,
		"WringScheduleLate": `wring_scheduler_lag_seconds_count{instance="bad"} 5+0x1300 6+0x140
			wring_scheduler_lag_seconds_bucket{instance="bad",le="3600.0"} 5+0` + day + `
			wring_scheduler_lag_seconds_count{instance="good"} 5+0x1300 6+0x140
			wring_scheduler_lag_seconds_bucket{instance="good",le="3600.0"} 5+0x1300 6+0x140`,
	} {
		all := rules(t)
		i := slices.IndexFunc(all, func(r rulefmt.Rule) bool { return r.Alert == alert })
		if i < 0 {
			t.Fatalf("there is no rule %s", alert)
		}
		var hosts []string
		for _, sample := range evaluate(t, all[i].Expr, series) {
			hosts = append(hosts, sample.Metric.Get("instance"))
		}
		if !slices.Equal(hosts, []string{"bad"}) {
			t.Errorf("%s fires for %q, want the bad one", alert, hosts)
		}
	}
}

// source is this file.
func source(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("rules_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// fires says whether an expression has a value at the end of the day.
func fires(t *testing.T, expr, series string) bool {
	t.Helper()
	return len(evaluate(t, expr, series)) > 0
}

// evaluate is the value of an expression at the end of the day.
func evaluate(t *testing.T, expr, series string) promql.Vector {
	t.Helper()
	parse := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, Parser: parse})
	query, err := engine.NewInstantQuery(t.Context(), load(t, parse, series), nil, expr, time.Unix(24*60*60, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	vector, err := query.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(vector)
}

// load makes a storage of series, each in a line of its own in the notation of
// promtool, with a sample each minute.
func load(t *testing.T, parse parser.Parser, lines string) storage.Queryable {
	t.Helper()
	var all []promql.Series
	for line := range strings.Lines(lines) {
		metric, values, err := parse.ParseSeriesDesc(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		series := promql.Series{Metric: metric}
		for i, v := range values {
			series.Floats = append(series.Floats, promql.FPoint{T: time.Unix(int64(60*i), 0).UnixMilli(), F: v.Value})
		}
		all = append(all, series)
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			selected := &set{}
			for _, series := range all {
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(series.Metric.Get(m.Name)) }) {
					selected.rest = append(selected.rest, series)
				}
			}
			return selected
		},
	}}
}

// set is a storage.SeriesSet.
type set struct {
	rest []promql.Series
	at   storage.Series
}

func (s *set) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.at, s.rest = promql.NewStorageSeries(s.rest[0]), s.rest[1:]
	return true
}

func (s *set) At() storage.Series              { return s.at }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }
