package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

// ErrOwnerAway is in the error of Acquire when the application that owns a
// store does not answer.
var ErrOwnerAway = errors.New("owner away")

// owner is an application that serves its stores on a socket. The host connects
// anew for each lease: it takes a millisecond, and a connection that is not
// there cannot have gone stale.
type owner struct {
	socket  string
	state   State // StateStopped until it was first asked
	desc    sdk.Description
	since   time.Time // of StateUp
	lastErr error
	leases  map[*Lease]struct{}
}

func (s *Supervisor) acquireOwner(ctx context.Context, socket string) (*Lease, error) {
	what := "attach to owner " + socket
	if s.isStopped() {
		return nil, errStopping(what)
	}
	timed, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	c, err := s.dial(timed, socket, s.cfg.HostVersion)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	l, err := s.attached(socket, c, explainOwner(err, socket, s.cfg.StartTimeout))
	if err != nil && c != nil {
		_ = c.Close() // nothing was said on it
	}
	return l, err
}

// attached notes what came of an attempt to reach an owner.
func (s *Supervisor) attached(socket string, c client, err error) (*Lease, error) {
	defer s.lock()()
	o := s.owners[socket]
	if o == nil {
		o = &owner{socket: socket, state: StateStopped, leases: make(map[*Lease]struct{})}
		s.owners[socket] = o
	}
	if err != nil {
		s.lostOwner(o, err)
		return nil, err
	}
	if s.stopped {
		return nil, errStopping("attach to owner " + socket)
	}
	if o.state != StateUp {
		d := c.Description()
		o.state, o.since = StateUp, s.cfg.Clock.Now()
		s.announce(event.PluginUp, socket, "owner %s is there: %s %s (%s)", socket, d.Name, d.Version, d.Engine)
		s.cfg.Logger.Info("owner is there", "socket", socket, "backend", d.Name, "version", d.Version)
	}
	o.desc, o.lastErr = c.Description(), nil
	l := &Lease{client: c, owner: o, released: make(chan struct{})}
	l.giveUp = func() { s.releaseOwner(l) }
	o.leases[l] = struct{}{}
	return l, nil
}

// lostOwner notes that an owner could not be reached; the mutex is held.
func (s *Supervisor) lostOwner(o *owner, err error) {
	state := StateFailed
	if errors.Is(err, ErrOwnerAway) {
		state = StateAway
	}
	if o.state != state {
		s.announce(event.PluginDown, o.socket, "%s", err.Error())
		s.cfg.Logger.Warn("owner cannot be used", "socket", o.socket, "error", err)
	}
	o.state, o.lastErr, o.since = state, err, time.Time{}
}

func (s *Supervisor) releaseOwner(l *Lease) {
	_ = l.client.Close() // the owner goes on; nothing of ours can be lost
	defer s.lock()()
	delete(l.owner.leases, l)
	close(l.released)
}

// explainOwner says "owner away" where nobody answers, and leaves refusals and
// misunderstandings as they are.
func explainOwner(err error, socket string, patience time.Duration) error {
	var known *sdk.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sdk.ErrNotFound), errors.Is(err, sdk.ErrConnection):
		away := sdk.Errorf(sdk.ErrConnection, "%w: %s: %v", ErrOwnerAway, socket, err)
		if errors.Is(err, sdk.ErrNotFound) {
			away.Kind = sdk.ErrNotFound
		}
		away.Retryable = true
		return away.WithHint("start the application that owns the store, or correct the path of its socket (owner = …) in the configuration")
	case sdk.IsCancelled(err):
		away := sdk.Errorf(sdk.ErrConnection, "%w: %s: no answer within %s", ErrOwnerAway, socket, patience)
		return away.WithHint("somebody listens there but does not answer: look at the application that owns the store")
	case errors.As(err, &known):
		return fmt.Errorf("attach to owner %s: %w", socket, err)
	default:
		return sdk.Errorf(sdk.ErrConnection, "attach to owner %s: %w", socket, err)
	}
}

func (s *Supervisor) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}
