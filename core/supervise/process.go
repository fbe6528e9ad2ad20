package supervise

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

// process is one process of a plugin. The supervisor's mutex guards what
// changes.
type process struct {
	plugin    *plugin
	program   catalog.Program
	handle    handle
	relay     *Relay
	startedAt time.Time

	leased bool
	// uses tells an idle timer whether the process was used since it was set.
	uses     int
	stopIdle func() bool // stops the idle timer; nil when none is set
	// retired is why the process is not handed out any more, or "".
	retired string
	over    bool // it has ended, and that was taken note of

	// unused is closed when it is retired and not leased.
	unused chan struct{}
	// killed ends when it is not to be waited for any longer.
	killed context.Context
	kill   context.CancelFunc
}

// start starts a process and settles the plugin's start with it.
func (s *Supervisor) start(p *plugin, program catalog.Program) {
	relay := NewRelay(s.cfg.Logger.Named(p.name), s.cfg.Clock.Now)
	relay.tail = p.tail
	h, err := s.launchProgram(program, relay)
	if err != nil {
		relay.Flush()
	}
	st := s.settle(p, program, relay, h, err)
	close(st.done)
}

// settle takes note of what came of a plugin's start.
func (s *Supervisor) settle(p *plugin, program catalog.Program, relay *Relay, h handle, err error) *start {
	defer s.lock()()
	st := p.starting
	p.starting = nil
	if err != nil {
		st.err = err
		if s.stopped {
			st.err = errStopping(fmt.Sprintf("start plugin %q", p.name))
			return st
		}
		s.failed(p, err, nil)
		s.announce(event.PluginDown, p.name, "%s", err.Error())
		s.cfg.Logger.Warn("plugin does not start", "plugin", p.name, "path", program.Path, "error", err)
		return st
	}
	proc := &process{
		plugin: p, program: program, handle: h, relay: relay,
		startedAt: s.cfg.Clock.Now(),
		leased:    st.waiters > 0,
		unused:    make(chan struct{}),
	}
	proc.killed, proc.kill = context.WithCancel(context.Background())
	p.processes = append(p.processes, proc)
	p.broken, p.desc = false, h.client().Description()
	s.announce(event.PluginUp, p.name, "plugin %s is up: %s %s (%s), pid %d", p.name, p.desc.Name, p.desc.Version, p.desc.Engine, h.PID())
	s.cfg.Logger.Info("plugin is up", "plugin", p.name, "pid", h.PID(), "version", p.desc.Version, "path", program.Path)
	s.workers.Go(func() { s.watch(proc) })
	if proc.leased {
		st.proc = proc
	}
	switch {
	case s.stopped:
		s.retire(proc, "wring stops")
	case !proc.leased:
		s.rest(proc)
	}
	return st
}

// launchProgram starts a program, within the time for it.
func (s *Supervisor) launchProgram(program catalog.Program, relay *Relay) (handle, error) {
	dir, err := s.socketDir()
	if err != nil {
		return nil, fmt.Errorf("start plugin %q: %w", program.Name, err)
	}
	var pin []byte
	if program.Pinned {
		if pin, err = hex.DecodeString(program.SHA256); err != nil {
			return nil, fmt.Errorf("start plugin %q: %w", program.Name, err)
		}
	}
	// A little more than StartTimeout, so that whoever launches can explain.
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.StartTimeout+2*time.Second)
	defer cancel()
	h, err := s.launch(ctx, sdk.LaunchConfig{
		Path:         program.Path,
		Args:         program.Args,
		SHA256:       pin,
		Env:          program.Env,
		SocketDir:    dir,
		Stderr:       relay,
		StartTimeout: s.cfg.StartTimeout,
		HostVersion:  s.cfg.HostVersion,
		Logger:       s.cfg.Logger,
	})
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, context.DeadlineExceeded):
		return nil, sdk.Errorf(sdk.ErrInternal, "start plugin %q: %s gave no sign of life within %s: %w", program.Name, program.Path, s.cfg.StartTimeout, err).
			WithHint("it was killed; try it by hand: %s describe", program.Path)
	default:
		return nil, fmt.Errorf("start plugin %q: %w", program.Name, err)
	}
}

// socketDir returns the directory for sockets of plugins, made on first use.
func (s *Supervisor) socketDir() (string, error) {
	defer s.lock()()
	if s.runtime == nil {
		dir, err := openRuntimeDir(s.cfg.RuntimeDir)
		if err != nil {
			return "", err
		}
		s.runtime = dir
	}
	return s.runtime.path, nil
}

// watch ends a process when it is not needed any more, and takes note of its
// end, whoever brought it about.
func (s *Supervisor) watch(proc *process) {
	defer proc.kill()
	select {
	case <-proc.handle.Exited():
	case <-proc.unused:
	case <-proc.killed.Done():
	}
	// One that has exited is stopped too: what it has started may still run.
	ctx, cancel := context.WithTimeout(proc.killed, s.cfg.StopTimeout)
	proc.handle.Stop(ctx)
	cancel()
	defer s.lock()()
	s.ended(proc)
}

// ended takes note of the end of a process; the mutex is held.
func (s *Supervisor) ended(proc *process) {
	if proc.over {
		return
	}
	p := proc.plugin
	proc.over = true
	proc.relay.Flush()
	p.processes = slices.DeleteFunc(p.processes, func(other *process) bool { return other == proc })
	if proc.stopIdle != nil {
		proc.stopIdle()
	}
	if proc.retired != "" {
		s.cfg.Logger.Info("plugin has ended", "plugin", p.name, "pid", proc.handle.PID(), "reason", proc.retired)
		return
	}
	err := died(proc)
	s.failed(p, err, proc)
	s.announce(event.PluginDown, p.name, "%s", err.Error())
	s.cfg.Logger.Warn("plugin died", "plugin", p.name, "pid", proc.handle.PID(), "in_use", proc.leased, "error", err)
}

// died explains the unexpected end of a process.
func died(proc *process) error {
	reason := proc.handle.ExitReason()
	// The traces of all goroutines may have pushed the cause out of sight.
	if cause := proc.relay.Panic(); cause != "" && !strings.Contains(reason, cause) {
		reason = cause + "; " + reason
	}
	err := sdk.Errorf(sdk.ErrInternal, "plugin %q (pid %d) died: %s", proc.plugin.name, proc.handle.PID(), reason)
	err.Retryable = true
	if strings.Contains(reason, "signal: killed") {
		return err.WithHint("somebody has killed it, or the system did because memory ran out: look at the system's log")
	}
	return err.WithHint("report this to the plugin's author, with the lines that it wrote")
}

// retire takes a process out of use: it ends once it is not leased. That it is
// down is announced now, before the next one can be up. The mutex is held.
func (s *Supervisor) retire(proc *process, reason string) {
	if proc.retired != "" || proc.over {
		return
	}
	proc.retired = reason
	s.announce(event.PluginDown, proc.plugin.name, "plugin %s is down (pid %d): %s", proc.plugin.name, proc.handle.PID(), reason)
	if proc.stopIdle != nil {
		proc.stopIdle()
	}
	if !proc.leased {
		close(proc.unused)
	}
}

// lend leases a process that is free; the mutex is held.
func (s *Supervisor) lend(proc *process) {
	proc.leased = true
	proc.uses++
	if proc.stopIdle != nil {
		proc.stopIdle()
		proc.stopIdle = nil
	}
}

func (s *Supervisor) release(proc *process) {
	defer s.lock()()
	s.releaseLocked(proc)
}

func (s *Supervisor) releaseLocked(proc *process) {
	proc.leased = false
	switch {
	case proc.over:
	case proc.retired != "":
		close(proc.unused)
	default:
		s.rest(proc)
	}
}

// rest begins the time for which a process that nobody uses is kept warm.
func (s *Supervisor) rest(proc *process) {
	if s.cfg.KeepWarm < 0 {
		s.dismiss(proc)
		return
	}
	uses := proc.uses
	proc.stopIdle = s.cfg.Clock.AfterFunc(s.cfg.KeepWarm, func() {
		defer s.lock()()
		if !proc.leased && proc.uses == uses {
			s.dismiss(proc)
		}
	})
}

// dismiss retires a process that has served well.
func (s *Supervisor) dismiss(proc *process) {
	if proc.retired != "" || proc.over {
		return
	}
	proc.forgive()
	reason := "nobody uses it"
	if s.cfg.KeepWarm > 0 {
		reason = fmt.Sprintf("nobody has used it for %s", s.cfg.KeepWarm)
	}
	s.retire(proc, reason)
}
