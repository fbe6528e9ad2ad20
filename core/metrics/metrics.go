// Package metrics shows the host to Prometheus. All but the scheduler's lag is
// read from a snapshot at each scrape, so that a store which is gone is gone
// from the metrics too. What there is, is listed in docs/metrics.md.
package metrics

import (
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wringdb/wring/core/history"
)

// MaxFound is how many of the stores that one pattern, or one directory of
// owners, has found are shown by name. The rest are summed up as
// NAME/(other), which is no name of a store.
const MaxFound = 50

// Snapshot is all that is shown, at one moment.
type Snapshot struct {
	Version string
	// Configured is how many stores the configuration has.
	Configured int
	// Running is how many runs are under way.
	Running        int
	ReclaimedBytes int64
	// ReloadedAt is when a configuration was last put into force, ReloadFailed
	// that a later one was refused.
	ReloadedAt   time.Time
	ReloadFailed bool
	Stores       []Store
	Plugins      []Plugin
	// Owners are the applications that are known, OwnersUp those that answer.
	Owners, OwnersUp int
	// Targets are those who are told of what happens.
	Targets []Target
}

// Store is one store, or a pattern, or one of its files.
type Store struct {
	Name string
	// FoundBy is the pattern or directory of owners that the store belongs to;
	// empty for one that is configured itself.
	FoundBy       string
	LastSuccessAt time.Time
	// Size is nil for a pattern, whose files have it, and while it is not known.
	Size *history.Sample
	// GrowthPerDay and DiskFreeBytes are nil, and FullAt zero, while they are not
	// known.
	GrowthPerDay  *float64
	DiskFreeBytes *int64
	FullAt        time.Time
	// Totals are nil for a pattern.
	Totals *history.Totals
	// Timetable is nil for a file of a pattern, which has none of its own.
	Timetable *Timetable
}

// Timetable is how a store is looked after.
type Timetable struct {
	NextAt   time.Time
	Failures int

	Overdue, Degraded, Unresolved, Away, Paused, Compacting bool
}

// Plugin is one that has been in use.
type Plugin struct {
	Name string
	// Up says that it runs, Failed that it crashed or did not start.
	Up, Failed bool
	Processes  int
	Restarts   int
}

// Target is one who is told of what happens.
type Target struct {
	Name string
	// Waiting are the notices that are not delivered yet. Delivered and Dropped
	// count since the host started.
	Waiting            int
	Delivered, Dropped uint64
}

// Exporter serves metrics.
type Exporter struct {
	lag     prometheus.Histogram
	handler http.Handler
}

// New makes an Exporter. Snapshot is called at each scrape, by one goroutine at
// a time.
func New(snapshot func() Snapshot, logger hclog.Logger) *Exporter {
	e := &Exporter{
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wring_scheduler_lag_seconds",
			Help: "How long after it was due the turn of a store came.",
			// What waits for others waits for hours.
			Buckets: []float64{1, 3, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600},
		}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(snapshot), e.lag,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: "wring"}),
	)
	e.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
		// A metric that cannot be shown does not hide the others.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
	return e
}

// Handler answers scrapes.
func (e *Exporter) Handler() http.Handler { return e.handler }

// Waited notes how long after it was due the turn of a store came.
func (e *Exporter) Waited(lag time.Duration) { e.lag.Observe(max(0, lag.Seconds())) }
