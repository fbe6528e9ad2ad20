package supervise

import (
	"slices"
	"strings"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// Status returns a picture of every plugin that is configured or was used, and
// then of every owner that was asked for, each by name. It starts nothing.
func (s *Supervisor) Status() []Status {
	s.mu.Lock()
	c := s.catalog
	s.mu.Unlock()
	list := s.picture(c)
	for i, status := range list {
		if status.SHA256 == "" && status.Path != "" {
			list[i].SHA256 = c.Checksum(status.Path)
		}
	}
	return list
}

func (s *Supervisor) picture(c *catalog.Catalog) []Status {
	found := make(map[string]Status)
	for _, p := range c.Plugins() {
		found[p.Name] = untouched(c.Resolve, p)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	var list, owners []Status
	for name, p := range s.plugins {
		found[name] = s.pluginStatus(p)
	}
	for _, status := range found {
		list = append(list, status)
	}
	for _, o := range s.owners {
		owners = append(owners, o.status())
	}
	byName := func(a, b Status) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(list, byName)
	slices.SortFunc(owners, byName)
	return append(list, owners...)
}

// untouched is the status of a plugin that nobody has asked for yet.
func untouched(resolve func(config.Plugin) (catalog.Program, error), p config.Plugin) Status {
	program, err := resolve(p)
	status := Status{Name: p.Name, Kind: KindPlugin, State: StateStopped, Path: program.Path, SHA256: program.SHA256, Pinned: program.Pinned}
	if err != nil {
		status.State, status.LastError, status.LastHint = StateFailed, err.Error(), sdk.HintOf(err)
	}
	return status
}

// pluginStatus is called with the mutex held.
func (s *Supervisor) pluginStatus(p *plugin) Status {
	status := Status{
		Name: p.name, Kind: KindPlugin, State: StateStopped,
		Path: p.program.Path, SHA256: p.program.SHA256, Pinned: p.program.Pinned,
		Version: p.desc.Version, Engine: p.desc.Engine,
		Restarts: p.restarts, Processes: len(p.processes), LastLines: p.tail.list(),
	}
	if p.lastErr != nil {
		status.LastError, status.LastHint = p.lastErr.Error(), sdk.HintOf(p.lastErr)
	}
	var shown *process
	for _, proc := range p.processes {
		if proc.leased {
			status.Leases++
		}
		if shown == nil || shown.retired != "" && proc.retired == "" {
			shown = proc
		}
	}
	switch {
	case p.starting != nil && (shown == nil || shown.retired != ""):
		status.State = StateStarting
	case shown != nil:
		status.State, status.PID, status.StartedAt = StateUp, shown.handle.PID(), shown.startedAt
	case p.broken && p.nextTry.After(s.cfg.Clock.Now()):
		status.State, status.NextTryAt = StateBackoff, p.nextTry
	case p.broken:
		status.State = StateFailed
	}
	return status
}

// status is called with the supervisor's mutex held.
func (o *owner) status() Status {
	status := Status{
		Name: o.socket, Kind: KindOwner, State: o.state, Path: o.socket,
		Version: o.desc.Version, Engine: o.desc.Engine,
		StartedAt: o.since, Leases: len(o.leases),
	}
	if o.lastErr != nil {
		status.LastError, status.LastHint = o.lastErr.Error(), sdk.HintOf(o.lastErr)
	}
	return status
}
