package supervise

import (
	"context"
	"sync"

	"github.com/wringdb/wring/sdk"
)

// client is what is needed of an sdk.Client.
type client interface {
	sdk.Backend
	Description() sdk.Description
	Healthy(ctx context.Context) error
	Close() error
}

// handle is what is needed of an sdk.Process.
type handle interface {
	client() client
	PID() int
	Exited() <-chan struct{}
	ExitReason() string
	Stop(ctx context.Context)
	SetIOPriority(priority sdk.IOPriority) error
}

// Lease is the right to call a backend. A plugin's process is the lease's alone
// until it is released; an owner is shared with others.
type Lease struct {
	client client
	once   sync.Once
	giveUp func()
	// suspect keeps a process from being handed out again; nil for an owner.
	suspect func(reason string)
	// rank sets the I/O priority of the process; nil for an owner.
	rank func(priority sdk.IOPriority)

	owner    *owner        // nil for a plugin
	released chan struct{} // closed by Release; nil for a plugin
}

// Backend is the connection to the plugin or owner: an *sdk.Client, which is a
// Sweeper and a StoreLister too.
func (l *Lease) Backend() sdk.Backend { return l.client }

// Description is what the backend said of itself when it was connected.
func (l *Lease) Description() sdk.Description { return l.client.Description() }

// SetIOPriority ranks the reads and writes of a plugin's process, until the next
// lease. An owner, which has other work to do, is left alone. Where the system
// refuses, the process goes on as it was.
func (l *Lease) SetIOPriority(priority sdk.IOPriority) {
	if l.rank != nil {
		l.rank(priority)
	}
}

// Release ends the lease; no call may be made after it. A second one does
// nothing.
func (l *Lease) Release() { l.once.Do(l.giveUp) }

// Discard ends the lease of a backend that cannot be trusted any more, such as
// one whose call does not end although it was cancelled. A plugin's process
// ends, killed if need be; the connection to an owner is closed. That ends the
// call. Reason completes the sentence "plugin x is down: …".
func (l *Lease) Discard(reason string) {
	l.once.Do(func() {
		if l.suspect != nil {
			l.suspect(reason)
		}
		l.giveUp()
	})
}

type sdkProcess struct{ *sdk.Process }

func (p sdkProcess) client() client { return p.Client() }

func launch(ctx context.Context, cfg sdk.LaunchConfig) (handle, error) {
	p, err := sdk.Launch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return sdkProcess{p}, nil
}

func dial(ctx context.Context, socket, hostVersion string) (client, error) {
	c, err := sdk.Dial(ctx, socket, hostVersion)
	if err != nil {
		return nil, err
	}
	return c, nil
}
