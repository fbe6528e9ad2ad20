package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wringdb/wring/core/history"
)

// collector turns snapshots into metrics.
type collector struct {
	snapshot func() Snapshot
	all      []*prometheus.Desc

	mu     sync.Mutex // one scrape at a time
	groups groups

	buildInfo, stores, running, reclaimed, reloadSuccessful, reloadedAt *prometheus.Desc

	size, allocated, live, reclaimable, measuredAt, growth, diskFree, fullAt       *prometheus.Desc
	lastSuccessAt, nextAt, failures                                                *prometheus.Desc
	overdue, degraded, unresolved, away, paused, compacting                        *prometheus.Desc
	runs, storeReclaimed, duration, pause                                          *prometheus.Desc
	pluginUp, pluginFailed, pluginProcesses, pluginRestarts, owners, ownersRunning *prometheus.Desc
	waiting, delivered, dropped                                                    *prometheus.Desc
}

func newCollector(snapshot func() Snapshot) *collector {
	c := &collector{snapshot: snapshot, groups: groups{}}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("wring_"+name, help, labels, nil)
		c.all = append(c.all, d)
		return d
	}
	store := func(name, help string, labels ...string) *prometheus.Desc {
		return desc("store_"+name, help, append([]string{"store"}, labels...)...)
	}
	plugin := func(name, help string) *prometheus.Desc { return desc("plugin_"+name, help, "plugin") }
	target := func(name, help string) *prometheus.Desc { return desc("notify_"+name, help, "target") }

	c.buildInfo = desc("build_info", "The host's version; the value is 1.", "version")
	c.stores = desc("configured_stores", "Stores in the configuration.")
	c.running = desc("runs_in_progress", "Runs under way.")
	c.reclaimed = desc("reclaimed_bytes_total", "Bytes that compactions have given back, of all stores that there ever were.")
	c.reloadSuccessful = desc("config_last_reload_successful", "Whether the configuration in force is the one that was last read.")
	c.reloadedAt = desc("config_last_reload_success_timestamp_seconds", "When a configuration was last put into force.")

	c.size = store("size_bytes", "Logical size when it was last measured.")
	c.allocated = store("allocated_bytes", "What the file system held for the store when it was last measured.")
	c.live = store("live_bytes", "What a compaction would keep.")
	c.reclaimable = store("reclaimable_bytes", "What a compaction would give back.")
	c.measuredAt = store("measured_timestamp_seconds", "When the store was last measured.")
	c.growth = store("growth_bytes_per_second", "How fast the store grows between compactions.")
	c.diskFree = store("disk_free_bytes", "What the host may still write where the store lies.")
	c.fullAt = store("disk_full_timestamp_seconds", "When the disk will be full if its stores grow on and nothing is given back.")
	c.lastSuccessAt = store("last_success_timestamp_seconds", "When the store was last looked at and all was as it should be.")
	c.nextAt = store("next_run_timestamp_seconds", "When the store is next due.")
	c.failures = store("consecutive_failures", "Runs since the last success that failed.")
	c.overdue = store("overdue", "Whether the store was not looked at in time.")
	c.degraded = store("degraded", "Whether the store has failed three times in a row.")
	c.unresolved = store("unresolved", "Whether it is not known how the last compaction ended.")
	c.away = store("away", "Whether the application that owns the store does not answer.")
	c.paused = store("paused", "Whether the schedule of the store is paused.")
	c.compacting = store("compacting", "Whether a compaction is under way.")
	c.runs = store("runs_total", "What runs have come to.", "outcome")
	c.storeReclaimed = store("reclaimed_bytes_total", "Bytes that compactions have given back.")
	c.duration = store("compaction_duration_seconds", "How long compactions took that succeeded.")
	c.pause = store("compaction_pause_seconds", "How long they held up those who write to the store.")

	c.pluginUp = plugin("up", "Whether a process of the plugin runs; one that nobody needs does not.")
	c.pluginFailed = plugin("failed", "Whether the plugin crashed or did not start when it was last needed.")
	c.pluginProcesses = plugin("processes", "Processes of the plugin.")
	c.pluginRestarts = plugin("restarts_total", "Starts that followed a crash or a start that went wrong.")
	c.owners = desc("owners", "Applications that own stores and are known to the host.")
	c.ownersRunning = desc("owners_up", "Those of them that answer.")

	c.waiting = target("waiting", "Notices that wait to be delivered.")
	c.delivered = target("delivered_total", "Notices that were delivered.")
	c.dropped = target("dropped_total", "Notices that nobody was told of: they were refused, too old or too many.")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.snapshot()
	m := sink{out}
	m.gauge(c.buildInfo, 1, s.Version)
	m.gauge(c.stores, float64(s.Configured))
	m.gauge(c.running, float64(s.Running))
	m.counter(c.reclaimed, float64(s.ReclaimedBytes))
	m.gauge(c.reloadSuccessful, number(!s.ReloadFailed))
	m.time(c.reloadedAt, s.ReloadedAt)
	for _, row := range c.groups.rows(s.Stores) {
		c.store(m, row)
	}
	for _, p := range s.Plugins {
		m.gauge(c.pluginUp, number(p.Up), p.Name)
		m.gauge(c.pluginFailed, number(p.Failed), p.Name)
		m.gauge(c.pluginProcesses, float64(p.Processes), p.Name)
		m.counter(c.pluginRestarts, float64(p.Restarts), p.Name)
	}
	m.gauge(c.owners, float64(s.Owners))
	m.gauge(c.ownersRunning, float64(s.OwnersUp))
	for _, t := range s.Targets {
		m.gauge(c.waiting, float64(t.Waiting), t.Name)
		m.counter(c.delivered, float64(t.Delivered), t.Name)
		m.counter(c.dropped, float64(t.Dropped), t.Name)
	}
}

func (c *collector) store(m sink, r row) {
	if r.size != nil {
		m.gauge(c.size, float64(r.size.TotalBytes), r.name)
		m.gauge(c.allocated, float64(r.size.AllocatedBytes), r.name)
		m.gauge(c.live, float64(r.size.LiveBytes), r.name)
		m.gauge(c.reclaimable, float64(r.size.ReclaimableBytes), r.name)
		m.time(c.measuredAt, r.size.At, r.name)
	}
	if r.growthPerDay != nil {
		m.gauge(c.growth, *r.growthPerDay/(24*time.Hour).Seconds(), r.name)
	}
	if r.diskFree != nil {
		m.gauge(c.diskFree, float64(*r.diskFree), r.name)
	}
	m.time(c.fullAt, r.fullAt, r.name)
	m.time(c.lastSuccessAt, r.lastSuccessAt, r.name)
	if t := r.timetable; t != nil {
		m.time(c.nextAt, t.nextAt, r.name)
		m.gauge(c.failures, t.failures, r.name)
		m.gauge(c.overdue, t.overdue, r.name)
		m.gauge(c.degraded, t.degraded, r.name)
		m.gauge(c.unresolved, t.unresolved, r.name)
		m.gauge(c.away, t.away, r.name)
		m.gauge(c.paused, t.paused, r.name)
		m.gauge(c.compacting, t.compacting, r.name)
	}
	if t := r.totals; t != nil {
		for _, outcome := range outcomes() {
			m.counter(c.runs, float64(t.Outcomes[outcome]), r.name, string(outcome))
		}
		m.counter(c.storeReclaimed, float64(t.ReclaimedBytes), r.name)
		m.histogram(c.duration, t.Duration, history.DurationBounds(), r.name)
		m.histogram(c.pause, t.Pause, history.PauseBounds(), r.name)
	}
}

// outcomes are those that have a series from the beginning, so that the first
// of each can be seen as an increase.
func outcomes() []history.Outcome {
	return []history.Outcome{
		history.Compacted, history.Skipped, history.NoOp, history.Deferred, history.Failed, history.Cancelled, history.Unknown,
	}
}

// sink takes the metrics of one scrape.
type sink struct{ out chan<- prometheus.Metric }

func (m sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	metric, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...)
	m.put(d, metric, err)
}

func (m sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	metric, err := prometheus.NewConstMetric(d, prometheus.CounterValue, v, labels...)
	m.put(d, metric, err)
}

// put takes a metric. One that cannot be shown is an error of its own, which
// the others are shown beside; a panic would take all that follow with it.
func (m sink) put(d *prometheus.Desc, metric prometheus.Metric, err error) {
	if err != nil {
		metric = prometheus.NewInvalidMetric(d, err)
	}
	m.out <- metric
}

// time leaves out what has not been.
func (m sink) time(d *prometheus.Desc, at time.Time, labels ...string) {
	if !at.IsZero() {
		m.gauge(d, float64(at.UnixMilli())/1000, labels...)
	}
}

func (m sink) histogram(d *prometheus.Desc, of history.Distribution, bounds []time.Duration, labels ...string) {
	buckets := make(map[float64]uint64, len(bounds))
	count := uint64(0)
	for i, bound := range bounds {
		if i < len(of.Counts) {
			count += uint64(of.Counts[i])
		}
		buckets[bound.Seconds()] = count
	}
	if len(of.Counts) > len(bounds) {
		count += uint64(of.Counts[len(bounds)])
	}
	metric, err := prometheus.NewConstHistogram(d, count, of.Sum.Seconds(), buckets, labels...)
	m.put(d, metric, err)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
