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
	// deafUntil is how long nobody but Probe asks it again.
	deafUntil time.Time
	// probed is set when somebody else than Reconfigure says when it is forgotten.
	probed bool
	leases map[*Lease]struct{}
}

const (
	// ownerTimeout bounds how long an owner may take to answer the first call,
	// where StartTimeout is not shorter.
	ownerTimeout = 5 * time.Second
	// deafAfter is the time from which on an attempt that came to nothing counts
	// as one that others should be spared, and deafFor how long they are. So an
	// owner that hangs costs those who come to it in turn the wait once.
	deafAfter = time.Second
	deafFor   = 30 * time.Second
)

// acquireOwner does not wait for an owner of which is known that it hangs.
func (s *Supervisor) acquireOwner(ctx context.Context, socket string) (*Lease, error) {
	if err := s.deaf(socket); err != nil && ctx.Err() == nil {
		return nil, err
	}
	return s.attach(ctx, socket, func(context.Context, client) error { return nil })
}

// deaf is the error of an owner that hangs, or nil.
func (s *Supervisor) deaf(socket string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[socket]; o != nil && s.cfg.Clock.Now().Before(o.deafUntil) {
		return o.lastErr
	}
	return nil
}

// Probe asks an owner, whether it was found to hang or not, which stores it has,
// and notes whether it answers. Lists is false for one that cannot say. The
// owner stays in the status until Forget is called.
func (s *Supervisor) Probe(ctx context.Context, socket string) (stores []sdk.Store, lists bool, err error) {
	l, err := s.attach(ctx, socket, func(ctx context.Context, c client) error {
		lister, ok := c.(sdk.StoreLister)
		lists = ok && c.Description().Capabilities.ListsStores
		if !lists {
			return nil
		}
		listed, err := lister.Stores(ctx)
		stores = listed
		return err
	})
	s.keep(socket)
	if err != nil {
		return nil, false, err
	}
	l.Release()
	return stores, lists, nil
}

func (s *Supervisor) keep(socket string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[socket]; o != nil {
		o.probed = true
	}
}

// Lose notes, for an owner that was probed, that it is not there any more, or not
// to be believed, as somebody knows who did not have to ask it.
func (s *Supervisor) Lose(socket string, err error) {
	defer s.lock()()
	if o := s.owners[socket]; o != nil {
		s.lostOwner(o, err)
	}
}

// Forget takes an owner that was probed out of the status, unless it is in use:
// then it returns false.
func (s *Supervisor) Forget(socket string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[socket]; o != nil && len(o.leases) > 0 {
		return false
	}
	delete(s.owners, socket)
	return true
}

// attach connects to an owner, and asks it first, which may take as long as the
// connection, that is ownerTimeout for both.
func (s *Supervisor) attach(ctx context.Context, socket string, first func(context.Context, client) error) (*Lease, error) {
	what := "attach to owner " + socket
	if s.isStopped() {
		return nil, errStopping(what)
	}
	patience := min(s.cfg.StartTimeout, ownerTimeout)
	timed, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := s.cfg.Clock.Now()
	c, err := s.dial(timed, socket, s.cfg.HostVersion)
	if err == nil {
		err = first(timed, c)
	}
	if err != nil && ctx.Err() != nil {
		if c != nil {
			_ = c.Close()
		}
		return nil, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	l, err := s.attached(socket, c, began, explainOwner(err, socket, patience))
	if err != nil && c != nil {
		_ = c.Close() // nothing of ours is under way on it
	}
	return l, err
}

// attached notes what came of an attempt to reach an owner that began at a time.
func (s *Supervisor) attached(socket string, c client, began time.Time, err error) (*Lease, error) {
	defer s.lock()()
	o := s.owners[socket]
	if o == nil {
		o = &owner{socket: socket, state: StateStopped, leases: make(map[*Lease]struct{})}
		s.owners[socket] = o
	}
	o.deafUntil = time.Time{}
	if err != nil {
		if now := s.cfg.Clock.Now(); now.Sub(began) >= deafAfter {
			o.deafUntil = now.Add(deafFor)
		}
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
	l.suspect = func(string) { s.suspectOwner(l) }
	o.leases[l] = struct{}{}
	return l, nil
}

// lostOwner notes that an owner could not be reached; the mutex is held.
func (s *Supervisor) lostOwner(o *owner, err error) {
	state := StateFailed
	if errors.Is(err, ErrOwnerAway) {
		state = StateAway
	}
	switch {
	case o.state == state:
	case state == StateAway:
		s.announce(event.PluginDown, o.socket, "%s", err.Error())
		s.cfg.Logger.Info("owner is away", "socket", o.socket, "error", err)
	default:
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

// suspectOwner notes that an owner that has ceased to answer is away, so that
// others are spared the wait.
func (s *Supervisor) suspectOwner(l *Lease) {
	if !l.mute.Load() {
		return // it is there, but for one call
	}
	defer s.lock()()
	l.owner.deafUntil = s.cfg.Clock.Now().Add(deafFor)
	err := sdk.Errorf(sdk.ErrConnection, "%w: %s: it has ceased to answer", ErrOwnerAway, l.owner.socket)
	s.lostOwner(l.owner, err.WithHint("its process may hang or be stopped: look at the application that owns the store"))
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
