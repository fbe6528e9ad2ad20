package daemon

import (
	"fmt"
	"net/http"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/metrics"
	"github.com/wringdb/wring/core/supervise"
)

// recording is the history as runs write to it: what they find out is taken up
// by the host at once.
type recording struct {
	*history.DB
	host *host
}

// AddSample implements compaction.History.
func (r recording) AddSample(store string, s history.Sample, reclaimed int64) error {
	err := r.DB.AddSample(store, s, reclaimed)
	r.host.figures.note(store, s)
	return err
}

// AddResult implements compaction.History.
func (r recording) AddResult(result history.Result) error {
	if lag, known := r.host.lag(result); known {
		r.host.metrics.Waited(lag)
	}
	defer r.host.recent.forget(result)
	return r.DB.AddResult(result)
}

// AddRun implements compaction.History.
func (r recording) AddRun(run history.Run) error {
	defer r.host.recent.forget(run.Results...)
	return r.DB.AddRun(run)
}

// lag is how long after it was due the turn of a store came in a scheduled run.
func (h *host) lag(r history.Result) (time.Duration, bool) {
	if r.StartedAt.IsZero() || r.Code == history.CodeAlreadyRunning {
		return 0, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range []string{r.Store, r.Configured} {
		if due := h.next[name]; h.busy[name] && !due.IsZero() {
			return r.StartedAt.Sub(due), true
		}
	}
	return 0, false
}

// Samples implements api.Numbers.
func (h *host) Samples(store string, n int) ([]history.Sample, error) {
	samples, err := h.history.Samples(store, n)
	if err != nil {
		return nil, fmt.Errorf("read how large %s was: %w", store, err)
	}
	if len(samples) == 0 {
		_, err = h.store(store) // or it is one that nobody knows
	}
	return samples, err
}

// Metrics implements api.Numbers.
func (h *host) Metrics() http.Handler { return h.metrics.Handler() }

// shown are the figures as the admin interface has them.
func (f figure) shown() api.Figures {
	shown := api.Figures{DiskFreeBytes: f.free, FullAt: f.fullAt}
	if f.known {
		shown.TotalBytes, shown.AllocatedBytes = &f.latest.TotalBytes, &f.latest.AllocatedBytes
		shown.LiveBytes, shown.ReclaimableBytes = &f.latest.LiveBytes, &f.latest.ReclaimableBytes
		shown.MeasuredAt = f.latest.At
	}
	if f.growth != nil {
		growth := int64(*f.growth)
		shown.GrowthBytesPerDay = &growth
	}
	return shown
}

// snapshot is what the metrics show.
func (h *host) snapshot() metrics.Snapshot {
	now := time.Now()
	pasts, err := h.history.Pasts()
	if err != nil {
		h.logger.Warn("the metrics lack what the history has", "error", err)
	}
	totals, err := h.history.Totals()
	if err != nil {
		h.logger.Warn("the metrics lack what the history has", "error", err)
	}
	active := h.runner.Active()
	backends := h.supervisor.Status()
	reclaimed := h.reclaimed()
	h.mu.Lock()
	s := metrics.Snapshot{
		Version: h.cfg.Version, Configured: len(h.current.Stores), Running: len(h.runner.Running()),
		ReclaimedBytes: reclaimed, ReloadedAt: h.reloadedAt, ReloadFailed: h.reloadFailed,
	}
	h.mu.Unlock()
	for _, t := range h.trackedNow() {
		past := pasts[t.Name]
		health := h.healthOf(t, past, now)
		_, compacting := active[t.Name]
		timetable := metrics.Timetable{
			Failures: past.ConsecutiveFailures, Overdue: health.Overdue, Degraded: health.Degraded, Unresolved: health.Unresolved,
			Away: t.away || isAway(t.Store, backends), Compacting: compacting,
		}
		h.mu.Lock()
		if timetable.Paused = !h.pausedAt(t).IsZero(); !timetable.Paused {
			timetable.NextAt = h.next[t.Name]
		}
		h.mu.Unlock()
		if t.Glob == "" {
			store := h.measured(t.Name, t.FoundBy, h.figures.of(t.Name), past, totals)
			store.Timetable = &timetable
			s.Stores = append(s.Stores, store)
			continue
		}
		s.Stores = append(s.Stores, metrics.Store{Name: t.Name, LastSuccessAt: past.LastSuccessAt, Timetable: &timetable})
		for name, f := range h.figures.files(t.Name) {
			s.Stores = append(s.Stores, h.measured(name, t.Name, f, pasts[name], totals))
		}
	}
	for _, b := range backends {
		if b.Kind == supervise.KindOwner {
			s.Owners++
			if b.State == supervise.StateUp {
				s.OwnersUp++
			}
			continue
		}
		s.Plugins = append(s.Plugins, metrics.Plugin{
			Name: b.Name, Up: b.State == supervise.StateUp, Processes: b.Processes, Restarts: b.Restarts,
			Failed: b.State == supervise.StateBackoff || b.State == supervise.StateFailed,
		})
	}
	for _, t := range h.notifier.Status() {
		s.Targets = append(s.Targets, metrics.Target{Name: t.Name, Waiting: t.Queued, Delivered: t.Delivered, Dropped: t.Dropped})
	}
	return s
}

// reclaimed is what all stores have ever given back.
func (h *host) reclaimed() int64 {
	n, err := h.history.ReclaimedBytes()
	if err != nil {
		h.logger.Warn("reading what was given back", "error", err)
	}
	return n
}

// measured is what is shown of one store, or of one file of a pattern.
func (h *host) measured(name, foundBy string, f figure, past history.Past, totals map[string]history.Totals) metrics.Store {
	store := metrics.Store{
		Name: name, FoundBy: foundBy, LastSuccessAt: past.LastSuccessAt,
		GrowthPerDay: f.growth, DiskFreeBytes: f.free, FullAt: f.fullAt,
	}
	if f.known {
		store.Size = &f.latest
	}
	counted := totals[name]
	store.Totals = &counted
	return store
}
