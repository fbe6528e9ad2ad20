package supervise

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

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
	// suspect keeps a process, or an owner that does not answer, from being handed
	// out again.
	suspect func(reason string)
	// rank sets the I/O priority of the process; nil for an owner.
	rank func(priority sdk.IOPriority)

	owner *owner // nil for a plugin
	// mute is set when an owner did not answer when it was last asked.
	mute     atomic.Bool
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

// answerTimeout is how long an owner may take to answer beside a call: it is
// asked to say that it is there, and for nothing more. It is shorter than what a
// client waits for by itself, to tell silence from bad news.
const answerTimeout = 4 * time.Second

// Answers asks an owner, also while a call of it is under way, whether it is
// there: false when it does not answer for some seconds, or ctx ends. What it
// answers does not matter. A plugin is not asked: its process is the host's own,
// and its silence is the call's.
func (l *Lease) Answers(ctx context.Context) bool {
	if l.owner == nil {
		return true
	}
	timed, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := l.client.Healthy(timed)
	answers := err == nil || timed.Err() == nil
	l.mute.Store(!answers && ctx.Err() == nil)
	return answers
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
