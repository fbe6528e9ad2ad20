package daemon

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/discovery"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// tracked is a store with a line of its own in the timetable and the status: one
// that is configured, or one of an owner that was discovered.
type tracked struct {
	config.Store
	// away is set for a store that was looked at in the past, and whose owner is
	// not there now, or does not have it. It is due when it comes back.
	away bool
	// since is when its owner came; zero while it is not there, and for stores
	// without one.
	since time.Time
}

// discoverTimeout is how long a start or a reload waits for owners to answer.
// Those that take longer are added when they do.
const discoverTimeout = 500 * time.Millisecond

// ownerDirs are the directories that a configuration has for owners.
func ownerDirs(c *config.Config) []string {
	var dirs []string
	for _, s := range c.Stores {
		if s.OwnerDir != "" {
			dirs = append(dirs, s.OwnerDir)
		}
	}
	return dirs
}

// watchOwners watches the directories of the configuration in force, and takes
// up whom it finds at once.
func (h *host) watchOwners(ctx context.Context) {
	current := h.config()
	var sockets []string
	for _, s := range current.Stores {
		if s.Owner != "" {
			sockets = append(sockets, s.Owner)
		}
	}
	h.discovery.Watch(ownerDirs(current), sockets)
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	h.discovery.Settled(ctx)
}

// refresh brings the tracked stores into line with the configuration in force,
// the owners that are there, and the history. Stores that stay keep their time,
// unless their schedule has changed, or their owner has come back: what it was
// lost in the middle of does not wait for the schedule.
func (h *host) refresh() {
	h.refreshing.Lock()
	defer h.refreshing.Unlock()
	current := h.config()
	stores := h.track(current)
	h.forgetOwners(current, stores)

	h.mu.Lock()
	old := make(map[string]tracked, len(h.tracked))
	for _, s := range h.tracked {
		old[s.Name] = s
	}
	times := make(map[string]time.Time, len(stores))
	for _, s := range stores {
		before, ok := old[s.Name]
		next, timed := h.next[s.Name]
		came := !s.since.IsZero() && !s.since.Equal(before.since)
		if ok && timed && !s.away && !came && reflect.DeepEqual(before.Schedule, s.Schedule) {
			times[s.Name] = next
		}
	}
	h.tracked, h.next = stores, times
	h.mu.Unlock()
	h.plan(stores, time.Now())
	h.wakeUp()
}

// refreshAfter takes up what a run has added to the history of stores whose
// owner has gone meanwhile, or has gone and come back.
func (h *host) refreshAfter(run history.Run) {
	owned := false
	h.mu.Lock()
	for _, r := range run.Results {
		owned = owned || r.Owner != ""
		if i := slices.IndexFunc(h.tracked, func(s tracked) bool { return s.Name == r.Store }); i >= 0 &&
			r.Outcome == history.Unknown && h.tracked[i].since.After(r.StartedAt) {
			delete(h.next, r.Store)
		}
	}
	h.mu.Unlock()
	if owned {
		h.refresh()
	}
}

// track returns the stores of a configuration, with those of owners in the place
// of the one that stands for them.
func (h *host) track(c *config.Config) []tracked {
	var stores []tracked
	for _, s := range c.Stores {
		if s.OwnerDir == "" {
			stores = append(stores, tracked{Store: s, since: h.ownerOf(s).Since})
			continue
		}
		found := h.found(s)
		found = append(found, h.remembered(s, found)...)
		slices.SortFunc(found, func(a, b tracked) int { return strings.Compare(a.Name, b.Name) })
		stores = append(stores, found...)
	}
	return stores
}

// ownerOf is the owner of a configured store, as far as one is there.
func (h *host) ownerOf(s config.Store) discovery.Owner {
	if s.Owner != "" {
		for _, o := range h.discovery.Owners(filepath.Dir(s.Owner)) {
			if o.Socket == s.Owner {
				return o
			}
		}
	}
	return discovery.Owner{}
}

// found are the stores of the owners that are there.
func (h *host) found(pattern config.Store) []tracked {
	var stores []tracked
	for _, owner := range h.discovery.Owners(pattern.OwnerDir) {
		if owner.State != discovery.Up {
			continue
		}
		if !owner.Lists {
			stores = append(stores, tracked{Store: ofOwner(pattern, owner.Socket, owner.Name, ""), since: owner.Since})
		}
		for _, name := range owner.Stores {
			stores = append(stores, tracked{Store: ofOwner(pattern, owner.Socket, owner.Name, name), since: owner.Since})
		}
	}
	return stores
}

// ofOwner is a store of a discovered owner: with the settings of the store that
// stands for it, and called by the names of that, of the owner, and what the
// owner calls it, unless it says nothing of names.
func ofOwner(pattern config.Store, socket, owner, name string) config.Store {
	s := pattern
	s.Owner, s.OwnerDir, s.FoundBy = socket, "", pattern.Name
	s.Name, s.OwnerStore = pattern.Name+"/"+owner, owner
	if name != "" {
		s.Name, s.OwnerStore = s.Name+"/"+name, name
	}
	return s
}

// remembered are the stores that the history has of a directory, but for those
// that are there.
func (h *host) remembered(pattern config.Store, there []tracked) []tracked {
	pasts, err := h.history.Pasts()
	if err != nil {
		h.logger.Warn("the history does not say which stores were there before", "store", pattern.Name, "error", err)
	}
	var stores []tracked
	for name, past := range pasts {
		rest, ok := strings.CutPrefix(name, pattern.Name+"/")
		if !ok || past.LastAttemptAt.IsZero() || slices.ContainsFunc(there, func(s tracked) bool { return s.Name == name }) {
			continue
		}
		last, err := h.history.Results(name, 1)
		if err != nil || len(last) == 0 || last[0].Owner == "" || filepath.Dir(last[0].Owner) != pattern.OwnerDir {
			continue // it was another's, when the configuration was another
		}
		owner, own, _ := strings.Cut(rest, "/")
		stores = append(stores, tracked{Store: ofOwner(pattern, last[0].Owner, owner, own), away: true})
	}
	return stores
}

// forgetOwners takes those out of the status that are gone without leaving a
// store that is known.
func (h *host) forgetOwners(c *config.Config, stores []tracked) {
	wanted := map[string]bool{}
	for _, s := range stores {
		if s.Owner != "" {
			wanted[s.Owner], h.seen[s.Owner] = true, true
		}
	}
	for _, dir := range ownerDirs(c) {
		for _, o := range h.discovery.Owners(dir) {
			if o.State != discovery.Refused {
				wanted[o.Socket] = true
				h.seen[o.Socket] = true
			}
		}
	}
	for socket := range h.seen {
		if !wanted[socket] && h.supervisor.Forget(socket) {
			delete(h.seen, socket)
		}
	}
}

// refusedOwners are shown beside those that the supervisor knows.
func (h *host) refusedOwners() []supervise.Status {
	var refused []supervise.Status
	for _, dir := range ownerDirs(h.config()) {
		for _, o := range h.discovery.Owners(dir) {
			if o.State == discovery.Refused {
				refused = append(refused, supervise.Status{
					Name: o.Socket, Kind: supervise.KindOwner, Path: o.Socket, State: supervise.StateFailed,
					LastError: o.Err.Error(), LastHint: sdk.HintOf(o.Err),
				})
			}
		}
	}
	return refused
}

// trackedNow are the stores with a line of their own.
func (h *host) trackedNow() []tracked {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tracked
}

// stores finds stores, and files of patterns, by name; no names means all. One
// that stands for owners is given as those of their stores that are there, or,
// when none is, as itself.
func (h *host) stores(names []string) ([]config.Store, error) {
	var stores []config.Store
	add := func(s config.Store) {
		there := h.there(s)
		if s.OwnerDir == "" || len(there) == 0 {
			there = []config.Store{s}
		}
		stores = append(stores, there...)
	}
	if len(names) == 0 {
		for _, s := range h.config().Stores {
			add(s)
		}
		return stores, nil
	}
	for _, name := range names {
		s, err := h.store(name)
		if err != nil {
			return nil, err
		}
		add(s)
	}
	return stores, nil
}

// there are the stores that were found by one that stands for owners.
func (h *host) there(pattern config.Store) []config.Store {
	var stores []config.Store
	for _, s := range h.trackedNow() {
		if s.FoundBy == pattern.Name && !s.away {
			stores = append(stores, s.Store)
		}
	}
	return stores
}

// store finds one by name, whether it is there or away.
func (h *host) store(name string) (config.Store, error) {
	for _, s := range h.trackedNow() {
		if s.Name == name {
			return s.Store, nil
		}
	}
	s, ok := compaction.Resolve(h.config().Stores, name)
	if !ok {
		return config.Store{}, sdk.Errorf(sdk.ErrNotFound, "no store is called %q", name).WithHint("see the stores with: wring status")
	}
	return s, nil
}
