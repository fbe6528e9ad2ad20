package daemon

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/discovery"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// Status is a picture of the host, without measuring.
func (h *host) Status() api.Status {
	current := h.config()
	status := api.Status{
		Version: h.cfg.Version, PID: os.Getpid(), StartedAt: h.startedAt,
		ConfigFile: h.cfg.File, DataDir: h.dataDir, LastEventID: h.bus.LastID(),
		Running: append([]string{}, h.runner.Running()...), Plugins: append(append([]supervise.Status{}, h.supervisor.Status()...), h.refusedOwners()...),
		Stores: make([]api.StoreStatus, 0, len(current.Stores)),
		Notify: h.notifier.Status(),
	}
	status.ReclaimedBytesTotal = h.reclaimed()
	now := time.Now()
	active := h.runner.Active()
	lines := map[string][]tracked{} // by what is configured
	for _, s := range h.trackedNow() {
		name := cmp.Or(s.FoundBy, s.Name)
		lines[name] = append(lines[name], s)
	}
	for _, configured := range current.Stores {
		for _, s := range lines[configured.Name] {
			store := h.storeStatus(s, now, active)
			if store.State == api.Healthy && (s.away || isAway(s.Store, status.Plugins)) {
				store.State = api.Away
			}
			if store.Plugin == "" {
				store.Plugin = backendOf(s.Store, status.Plugins)
			}
			store.Engine = cmp.Or(store.Engine, engineOf(s.Store, status.Plugins))
			err := h.checkOwned(s)
			if s.FoundBy != "" && s.away {
				err = discovery.CheckDir(configured.OwnerDir) // why it may be away
			}
			if err != nil {
				store.Problem, store.Hint = err.Error(), sdk.HintOf(err)
			}
			status.Stores = append(status.Stores, store)
		}
		if len(lines[configured.Name]) == 0 && configured.OwnerDir != "" {
			status.Stores = append(status.Stores, h.nobodyThere(configured))
		}
	}
	return status
}

// nobodyThere is the status of a store that stands for owners, when none is or
// was there.
func (h *host) nobodyThere(s config.Store) api.StoreStatus {
	status := api.StoreStatus{Store: s.Name, Path: s.OwnerDir, Group: s.Group, State: api.Away}
	h.mu.Lock()
	status.PausedAt = h.pausedAt(tracked{Store: s})
	h.mu.Unlock()
	if err := discovery.CheckDir(s.OwnerDir); err != nil {
		status.Problem, status.Hint = err.Error(), sdk.HintOf(err)
	}
	return status
}

// checkOwned holds the name of a configured store against those that its owner
// has.
func (h *host) checkOwned(s tracked) error {
	if o := h.ownerOf(s.Store); s.FoundBy == "" && o.State == discovery.Up && o.Lists {
		return compaction.CheckOwned(s.Store, o.Stores)
	}
	return nil
}

// backendOf is what the owner of a store calls its backend, once it has said.
func backendOf(s config.Store, backends []supervise.Status) string {
	for _, b := range backends {
		if b.Kind == supervise.KindOwner && b.Path == s.Owner {
			return b.Backend
		}
	}
	return ""
}

// engineOf is what the backend of a store works with, as far as it has said.
func engineOf(s config.Store, backends []supervise.Status) string {
	for _, b := range backends {
		if b.Kind == supervise.KindPlugin && b.Name == s.Plugin || b.Kind == supervise.KindOwner && b.Path == s.Owner {
			return b.Engine
		}
	}
	return ""
}

// isAway says whether the owner of a store did not answer when it was last asked.
func isAway(s config.Store, backends []supervise.Status) bool {
	return s.Owner != "" && slices.ContainsFunc(backends, func(b supervise.Status) bool {
		return b.Kind == supervise.KindOwner && b.Path == s.Owner && b.State == supervise.StateAway
	})
}

func (h *host) storeStatus(s tracked, now time.Time, active map[string]event.Progress) api.StoreStatus {
	health := h.health(s, now)
	status := api.StoreStatus{
		Store: s.Name, Configured: s.FoundBy, Plugin: s.Plugin, Path: cmp.Or(s.Path, s.Glob, s.Owner), Group: s.Group,
		State: state(health), Health: health,
	}
	status.Figures = h.figures.of(s.Name).shown()
	h.mu.Lock()
	if status.PausedAt = h.pausedAt(s); status.PausedAt.IsZero() {
		status.NextAt = h.next[s.Name]
	}
	h.mu.Unlock()
	if p, ok := active[s.Name]; ok {
		status.Active = &p
	}
	if known, err := h.recent.of(s.Name); err == nil {
		status.LastOutcome, status.LastReason, status.Engine = known.last.Outcome, known.last.Reason, known.last.Engine
	}
	return status
}

// state is the word for a store's health: the worst that is true.
func state(health history.Health) api.State {
	switch {
	case health.Unresolved:
		return api.Unresolved
	case health.Degraded:
		return api.Degraded
	case health.Overdue:
		return api.Overdue
	}
	return api.Healthy
}
