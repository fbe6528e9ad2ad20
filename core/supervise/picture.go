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
	list, launched := s.picture(c)
	for i, status := range list {
		program, runs := launched[status.Name]
		switch {
		case status.Kind != KindPlugin, status.SHA256 != "", status.Path == "":
		case runs:
			list[i].SHA256 = c.ChecksumOf(program)
		default:
			list[i].SHA256 = c.Checksum(status.Path)
		}
	}
	return list
}

// picture returns also the programs of the processes that it shows, by the names
// of their plugins.
func (s *Supervisor) picture(c *catalog.Catalog) ([]Status, map[string]catalog.Program) {
	found := make(map[string]Status)
	for _, p := range c.Plugins() {
		found[p.Name] = untouched(c.Resolve, p)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	var list, owners []Status
	launched := make(map[string]catalog.Program)
	for name, p := range s.plugins {
		status, shown := s.pluginStatus(p)
		found[name] = status
		if shown != nil {
			launched[name] = shown.program
		}
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
	return append(list, owners...), launched
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

// pluginStatus is called with the mutex held. It returns also the process that it
// shows, or nil.
func (s *Supervisor) pluginStatus(p *plugin) (Status, *process) {
	status := Status{
		Name: p.name, Kind: KindPlugin, State: StateStopped,
		Path: p.program.Path, SHA256: p.program.SHA256, Pinned: p.program.Pinned,
		Backend: p.desc.Name, Version: p.desc.Version, Engine: p.desc.Engine,
		Restarts: p.restarts, Processes: len(p.processes), LastLines: p.tail.list(),
	}
	if p.lastErr != nil {
		status.LastError, status.LastHint = p.lastErr.Error(), sdk.HintOf(p.lastErr)
	}
	var shown *process // the one with the PID
	for _, proc := range p.processes {
		if proc.leased {
			status.Leases++
		}
		if shown == nil || shown.retired != "" && proc.retired == "" {
			shown = proc
		}
	}
	if shown != nil && (p.starting == nil || shown.retired == "") {
		status.Path, status.SHA256, status.Pinned = shown.program.Path, shown.program.SHA256, shown.program.Pinned
	}
	switch {
	case p.starting != nil && (shown == nil || shown.retired != ""):
		status.State, shown = StateStarting, nil
	case shown != nil:
		status.State, status.PID, status.StartedAt = StateUp, shown.handle.PID(), shown.startedAt
	case p.broken && p.nextTry.After(s.cfg.Clock.Now()):
		status.State, status.NextTryAt = StateBackoff, p.nextTry
	case p.broken:
		status.State = StateFailed
	}
	return status, shown
}

// status is called with the supervisor's mutex held.
func (o *owner) status() Status {
	status := Status{
		Name: o.socket, Kind: KindOwner, State: o.state, Path: o.socket,
		Backend: o.desc.Name, Version: o.desc.Version, Engine: o.desc.Engine,
		StartedAt: o.since, Leases: len(o.leases),
	}
	if o.lastErr != nil {
		status.LastError, status.LastHint = o.lastErr.Error(), sdk.HintOf(o.lastErr)
	}
	return status
}
