package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/sdk"
)

// plugin is what is known of one plugin by its name: its processes, and what
// became of earlier ones. The supervisor's mutex guards all of it.
type plugin struct {
	name string
	// program is the one that was last found.
	program catalog.Program
	desc    sdk.Description
	tail    *tail // of what all its processes wrote

	starting *start // nil when none is under way
	// processes are all that have not ended, oldest first, with those that are
	// not handed out any more.
	processes []*process

	backoff *backoff.ExponentialBackOff
	// failures is how many crashes and starts that went wrong came in a row,
	// without a process that was started after them and served well.
	failures int
	failedAt time.Time // the last of them
	nextTry  time.Time
	lastErr  error
	broken   bool // the last thing that happened was a failure
	restarts int
}

// idle says whether nothing of the plugin runs or is about to.
func (p *plugin) idle() bool { return p.starting == nil && len(p.processes) == 0 }

// free returns a process that can be handed out, or nil. The oldest comes first,
// so that those that were needed for a while only have their rest and end.
func (p *plugin) free() *process {
	for _, proc := range p.processes {
		if !proc.leased && proc.retired == "" {
			return proc
		}
	}
	return nil
}

// start is an attempt to start a process, and those who wait for it.
type start struct {
	waiters int
	proc    *process // leased to whoever claims it first; nil after that
	err     error
	done    chan struct{} // closed when it is over, and was published
}

// plugin returns the plugin of that name; the mutex is held.
func (s *Supervisor) plugin(name string) *plugin {
	p := s.plugins[name]
	if p == nil {
		p = &plugin{name: name, tail: &tail{}, backoff: &backoff.ExponentialBackOff{
			InitialInterval: s.cfg.BackoffInitial,
			MaxInterval:     s.cfg.BackoffMax,
			Multiplier:      2,
			// One host starts one process at a time: there is no herd to spread.
			RandomizationFactor: 0,
		}}
		s.plugins[name] = p
	}
	return p
}

func (s *Supervisor) acquirePlugin(ctx context.Context, name string, priority sdk.IOPriority) (*Lease, error) {
	if name == "" {
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "the store has neither a plugin nor an owner").
			WithHint("name one in the configuration, or with --plugin")
	}
	for {
		proc, err := s.reserve(ctx, name)
		if err != nil {
			return nil, err
		}
		l := &Lease{
			client:  proc.handle.client(),
			giveUp:  func() { s.release(proc) },
			suspect: func(reason string) { s.suspect(proc, reason) },
			rank:    func(priority sdk.IOPriority) { s.rank(proc, priority) },
		}
		l.SetIOPriority(priority)
		err = s.check(ctx, proc)
		if err == nil {
			return l, nil
		}
		l.Release()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("acquire plugin %q: %w", name, ctx.Err())
		}
		// What is not well has been retired and counted as a failure; when that
		// happens again and again, reserve refuses.
	}
}

// rank sets a process's I/O priority. A system that refuses, perhaps for a
// filter on system calls, is no reason to leave a store alone.
func (s *Supervisor) rank(proc *process, priority sdk.IOPriority) {
	if err := proc.handle.SetIOPriority(priority); err != nil {
		s.cfg.Logger.Debug("the plugin keeps its I/O priority", "plugin", proc.plugin.name, "pid", proc.handle.PID(), "wanted", string(priority), "error", err)
	}
}

// check asks a process whether it is well, and retires it if it is not.
func (s *Supervisor) check(ctx context.Context, proc *process) error {
	timed, cancel := context.WithTimeout(ctx, s.cfg.HealthTimeout)
	defer cancel()
	err := proc.handle.client().Healthy(timed)
	if err == nil || ctx.Err() != nil {
		return err
	}
	s.suspect(proc, "it is not well: "+err.Error())
	return err
}

// suspect counts a failure of a process that runs, and retires it.
func (s *Supervisor) suspect(proc *process, reason string) {
	defer s.lock()()
	select {
	case <-proc.handle.Exited():
		s.ended(proc)
	default:
		if proc.retired == "" {
			err := sdk.Errorf(sdk.ErrInternal, "plugin %q (pid %d) is given up: %s", proc.plugin.name, proc.handle.PID(), reason)
			s.failed(proc.plugin, err, proc)
			s.retire(proc, reason)
			s.cfg.Logger.Warn("plugin is given up", "plugin", proc.plugin.name, "pid", proc.handle.PID(), "reason", reason)
		}
	}
}

// reserve leases a process of the plugin, and starts one first where needed.
func (s *Supervisor) reserve(ctx context.Context, name string) (*process, error) {
	for {
		proc, st, err := s.join(name)
		if proc != nil || err != nil {
			return proc, err
		}
		select {
		case <-st.done:
			proc, err := s.claim(st)
			if proc != nil || err != nil {
				return proc, err
			}
			// Another who waited has it.
		case <-ctx.Done():
			s.leave(st)
			return nil, fmt.Errorf("wait for plugin %q to start: %w", name, ctx.Err())
		}
	}
}

// join returns a process that is leased now, or a start that is waited for.
func (s *Supervisor) join(name string) (*process, *start, error) {
	s.mu.Lock()
	c := s.catalog
	s.mu.Unlock()
	// Looked at each time, so that a program that was replaced is noticed.
	program, err := c.Resolve(c.Plugin(name))

	defer s.lock()()
	if s.stopped {
		return nil, nil, errStopping(fmt.Sprintf("acquire plugin %q", name))
	}
	p := s.plugin(name)
	if err != nil {
		p.lastErr, p.broken, p.program.Path = err, true, program.Path
		return nil, nil, err
	}
	p.program = program
	for _, proc := range slices.Clone(p.processes) { // ended takes some out
		select {
		case <-proc.handle.Exited():
			s.ended(proc)
		default:
			if !proc.program.Same(program) {
				s.retire(proc, "its program has changed")
			}
		}
	}
	if proc := p.free(); proc != nil {
		s.lend(proc)
		return proc, nil, nil
	}
	if p.starting == nil {
		if err := s.patience(p); err != nil {
			return nil, nil, err
		}
		p.starting = &start{done: make(chan struct{})}
		if p.broken && p.failures > 0 {
			p.restarts++
		}
		s.workers.Go(func() { s.start(p, program) })
	}
	p.starting.waiters++
	return nil, p.starting, nil
}

// claim is for somebody who has waited for a start: the first of them has its
// process, the others nothing, or all the error.
func (s *Supervisor) claim(st *start) (*process, error) {
	defer s.lock()()
	st.waiters--
	proc := st.proc
	st.proc = nil
	return proc, st.err
}

// leave is for somebody who does not wait for a start any longer. A process that
// is left to nobody is kept warm for the next.
func (s *Supervisor) leave(st *start) {
	defer s.lock()()
	st.waiters--
	if st.waiters == 0 && st.proc != nil {
		s.releaseLocked(st.proc)
	}
}

// patience refuses while a plugin that has failed is to be left alone.
func (s *Supervisor) patience(p *plugin) error {
	wait := p.nextTry.Sub(s.cfg.Clock.Now())
	if wait <= 0 {
		return nil
	}
	times := "it has failed"
	if p.failures > 1 {
		times = fmt.Sprintf("it has failed %d times in a row", p.failures)
	}
	kind := sdk.ErrInternal
	var known *sdk.Error
	if errors.As(p.lastErr, &known) {
		kind = known.Kind
	}
	err := sdk.Errorf(kind, "plugin %q is left alone until %s (for %s): %s, the last time: %w",
		p.name, p.nextTry.Format(time.TimeOnly), wait.Round(100*time.Millisecond), times, p.lastErr)
	err.Retryable = true
	hint := sdk.HintOf(p.lastErr)
	if hint == "" {
		hint = fmt.Sprintf("look at the plugin's own log; to try it by hand: %s describe", p.program.Path)
	}
	return err.WithHint("%s", hint)
}

// failed counts a crash of a process, or a start that went wrong when that is
// nil. The first crash after a steady life is forgiven: the next process may
// start at once.
func (s *Supervisor) failed(p *plugin, err error, proc *process) {
	now := s.cfg.Clock.Now()
	if proc != nil && now.Sub(proc.startedAt) >= s.cfg.SteadyAfter {
		proc.forgive()
	}
	p.failures++
	p.failedAt = now
	p.lastErr, p.broken, p.nextTry = err, true, time.Time{}
	if proc == nil || p.failures > 1 {
		p.nextTry = now.Add(p.backoff.NextBackOff())
	}
}

// forgive forgets the plugin's failures, for the sake of a process that has
// served well, if all of them lie before its start.
func (proc *process) forgive() {
	p := proc.plugin
	if proc.startedAt.Before(p.failedAt) {
		return
	}
	p.failures = 0
	p.nextTry = time.Time{}
	p.backoff.Reset()
}
