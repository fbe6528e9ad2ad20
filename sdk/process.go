package sdk

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// stopGrace is how long a plugin may take to end when it is asked to; it lets
// its calls clean up for most of that.
const stopGrace = 2500 * time.Millisecond

// Process is a running plugin.
type Process struct {
	child       *child
	plugin      *plugin.Client
	client      *Client
	dir         socketDir
	logger      hclog.Logger
	hostVersion string
	failure     *Error // of the start

	stopping sync.Once
	hurry    chan struct{} // closed to wait for calls no longer
	hurried  sync.Once
	stopped  chan struct{}
}

func newProcess(c LaunchConfig, dir socketDir) *Process {
	p := &Process{
		child:       newChild(c),
		dir:         dir,
		logger:      c.Logger,
		hostVersion: c.HostVersion,
		hurry:       make(chan struct{}),
		stopped:     make(chan struct{}),
	}
	p.client = &Client{
		peer: "plugin " + filepath.Base(c.Path),
		lost: func() string { return p.child.obituary(500 * time.Millisecond) },
	}
	p.plugin = p.newPluginClient(c.StartTimeout)
	return p
}

// Client is the backend in the process; the same for its whole life.
func (p *Process) Client() *Client { return p.client }

// PID of the process.
func (p *Process) PID() int { return p.child.cmd.Process.Pid }

// Exited is closed when the process has ended, however that came about, and
// all that it wrote has been passed on.
func (p *Process) Exited() <-chan struct{} { return p.child.exited }

// ExitReason says in words how the process ended, with the last lines that it
// wrote; "" while it runs.
func (p *Process) ExitReason() string {
	select {
	case <-p.child.exited:
		return p.child.obituary(0)
	default:
		return ""
	}
}

// Stop ends the process and returns when it is gone. It waits for calls in
// flight until ctx ends and cancels none; then it asks the process to end, and
// 2.5 s later kills it and all it has started. New calls fail meanwhile. It may
// be called more than once, and at the same time: the first ctx to end counts.
func (p *Process) Stop(ctx context.Context) {
	p.stopping.Do(func() { go p.stop() })
	select {
	case <-p.stopped:
		return
	case <-ctx.Done():
		p.hurried.Do(func() { close(p.hurry) })
	}
	<-p.stopped
}

// watch tidies up behind a process that ends by itself.
func (p *Process) watch() {
	<-p.child.exited
	p.stopping.Do(func() { go p.stop() })
}

func (p *Process) stop() {
	defer close(p.stopped)
	idle := p.client.drain()
	select {
	case <-idle:
	case <-p.hurry:
	case <-p.child.exited:
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.plugin.Kill() // waits for an answer of the plugin, without bound
	}()
	select {
	case <-ended:
	case <-time.After(stopGrace):
		p.logger.Warn("plugin did not end in time and is killed", "pid", p.PID(), "waited", stopGrace)
		p.child.kill()
		<-ended
	}
	<-p.child.exited
	p.dir.remove()
}

// String names the process for messages.
func (p *Process) String() string {
	return fmt.Sprintf("%s (process %d)", p.client.peer, p.PID())
}
