package daemon

import (
	"maps"
	"strings"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// allStores is what the pause of all stores is called, which no store can be.
const allStores = "*"

// pausedAt is since when the schedule of a store is paused, by itself, with the
// directory that found it, or with all; zero when it goes on. The caller holds
// h.mu.
func (h *host) pausedAt(s tracked) time.Time {
	var at time.Time
	for _, name := range []string{s.Name, s.FoundBy, allStores} {
		if since := h.pauses[name].PausedAt; !since.IsZero() && (at.IsZero() || since.Before(at)) {
			at = since
		}
	}
	return at
}

// resumedAt is when the schedule of a store last went on; zero when it was never
// paused. The caller holds h.mu.
func (h *host) resumedAt(s tracked) time.Time {
	var at time.Time
	for _, name := range []string{s.Name, s.FoundBy, allStores} {
		at = later(at, h.pauses[name].ResumedAt)
	}
	return at
}

// isPaused says whether a store is paused, by its name or by that of what found
// it.
func (h *host) isPaused(names ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range append([]string{allStores}, names...) {
		if !h.pauses[name].PausedAt.IsZero() {
			return true
		}
	}
	return false
}

// Pause implements api.Numbers.
func (h *host) Pause(store string) ([]string, error) {
	names, err := h.toPause(store)
	if err != nil {
		return nil, err
	}
	return h.changePauses(func(now time.Time) map[string]history.Pause {
		changes := map[string]history.Pause{}
		for _, name := range names {
			if p := h.pauses[name]; p.PausedAt.IsZero() {
				p.PausedAt = now
				changes[name] = p
			}
		}
		return changes
	})
}

// Resume implements api.Numbers. A store that is paused together with others
// does not go on alone.
func (h *host) Resume(store string) ([]string, error) {
	names, err := h.toPause(store)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	err = h.pausedWithOthers(store)
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h.changePauses(func(now time.Time) map[string]history.Pause {
		if store == "" {
			names = nil
			for name := range h.pauses {
				names = append(names, name)
			}
		}
		changes := map[string]history.Pause{}
		for _, name := range names {
			if !h.pauses[name].PausedAt.IsZero() {
				changes[name] = history.Pause{ResumedAt: now}
			}
		}
		return changes
	})
}

// toPause is the name that a pause of a store has.
func (h *host) toPause(store string) ([]string, error) {
	if store == "" {
		return []string{allStores}, nil
	}
	for _, s := range h.trackedNow() {
		if s.Name == store {
			return []string{store}, nil
		}
	}
	for _, s := range h.config().Stores {
		if s.Name == store { // a directory of owners
			return []string{store}, nil
		}
	}
	s, err := h.store(store)
	if err != nil {
		return nil, err
	}
	pattern := patternOf(s, h.config().Stores)
	return nil, sdk.Errorf(sdk.ErrInvalidOption, "%s has no schedule of its own: it is one of the files of %s", store, pattern).
		WithHint("pause or resume %s", pattern)
}

// patternOf is the name of the pattern that a file was found by.
func patternOf(file config.Store, stores []config.Store) string {
	for _, s := range stores {
		if s.Glob != "" && strings.HasPrefix(file.Name, s.Name+"/") {
			return s.Name
		}
	}
	return ""
}

// pausedWithOthers is the error of resuming a store that is paused with more
// than itself. The caller holds h.mu.
func (h *host) pausedWithOthers(store string) error {
	if store == "" {
		return nil
	}
	if !h.pauses[allStores].PausedAt.IsZero() {
		return sdk.Errorf(sdk.ErrBusy, "resume %s: all stores are paused", store).
			WithHint("let all go on with: wring resume; then pause those that are not to")
	}
	for _, s := range h.tracked {
		if s.Name == store && s.FoundBy != "" && !h.pauses[s.FoundBy].PausedAt.IsZero() {
			return sdk.Errorf(sdk.ErrBusy, "resume %s: %s is paused, with all its stores", store, s.FoundBy).
				WithHint("let them go on with: wring resume %s", s.FoundBy)
		}
	}
	return nil
}

// changePauses puts changes into force once they are in the history, and returns
// the stores for which they make a difference.
func (h *host) changePauses(change func(now time.Time) map[string]history.Pause) ([]string, error) {
	h.pausing.Lock()
	defer h.pausing.Unlock()
	h.mu.Lock()
	changes := change(time.Now())
	before := h.pausedStores()
	h.mu.Unlock()
	if len(changes) == 0 {
		return nil, nil
	}
	if err := h.history.SetPauses(changes); err != nil {
		return nil, err
	}
	h.mu.Lock()
	maps.Copy(h.pauses, changes)
	after := h.pausedStores()
	var changed []string
	for _, s := range h.tracked {
		if before[s.Name] != after[s.Name] {
			changed = append(changed, s.Name)
		}
	}
	h.mu.Unlock()
	h.logger.Info("schedules are paused or go on", "stores", changed, "paused", len(after))
	h.wakeUp()
	return changed, nil
}

// pausedStores are those with a line in the timetable that are paused. The
// caller holds h.mu.
func (h *host) pausedStores() map[string]bool {
	paused := map[string]bool{}
	for _, s := range h.tracked {
		if !h.pausedAt(s).IsZero() {
			paused[s.Name] = true
		}
	}
	return paused
}
