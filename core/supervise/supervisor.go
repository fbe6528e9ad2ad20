package supervise

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

// Publisher is told when plugins and owners come and go; of a plugin, each of
// its processes, by its pid. It must not block, nor call the supervisor.
type Publisher interface {
	Publish(event.Event)
}

// Clock is where time comes from.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in a goroutine of its own once d has passed, unless stop
	// is called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config is what a supervisor is made of.
type Config struct {
	// Catalog finds programs; nil knows none but those with an explicit command.
	Catalog *catalog.Catalog
	// HostVersion is what plugins and owners are told, for messages to people.
	HostVersion string
	// RuntimeDir is where plugins put their sockets: made with mode 0700 when it
	// is missing, and swept of what hosts that died have left. When its path is
	// empty, or has more than 61 bytes, a directory of the user's own under the
	// system's directory for temporary files takes its place.
	RuntimeDir string
	// KeepWarm is how long a process that nobody uses keeps running; 0 means
	// 30 s, less than 0 ends it at once.
	KeepWarm time.Duration
	// StartTimeout bounds how long a plugin may take to come up, and an owner,
	// which need not start, to answer the first call, but for that 5 s are the
	// most; 0 means 15 s.
	StartTimeout time.Duration
	// HealthTimeout bounds the question whether a plugin is well, which is asked
	// before each use; 0 means 5 s.
	HealthTimeout time.Duration
	// StopTimeout is how long an idle plugin that is asked to end may take until
	// it is killed; 0 means 5 s.
	StopTimeout time.Duration
	// BackoffInitial and BackoffMax bound how long a plugin that crashes is left
	// alone; 0 means 1 s and 1 min.
	BackoffInitial time.Duration
	BackoffMax     time.Duration
	// SteadyAfter is how long a process must have been up for its crash to count
	// as the plugin's first; 0 means 1 min.
	SteadyAfter time.Duration

	Clock  Clock     // nil means the system's
	Events Publisher // nil means nobody
	Logger hclog.Logger
}

func (c *Config) ensureDefaults() {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&c.KeepWarm, 30 * time.Second},
		{&c.StartTimeout, 15 * time.Second},
		{&c.HealthTimeout, 5 * time.Second},
		{&c.StopTimeout, 5 * time.Second},
		{&c.BackoffInitial, time.Second},
		{&c.BackoffMax, time.Minute},
		{&c.SteadyAfter, time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.Catalog == nil {
		c.Catalog = catalog.New(catalog.Config{Logger: c.Logger})
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.Events == nil {
		c.Events = nobody{}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
}

// Supervisor holds the processes of plugins and the connections to owners.
//
// A process of a plugin serves one lease at a time. One is started only when
// somebody asks and none is free, so that there are no more than leases at once,
// but for those on their way out. It is kept while it is used and a little
// longer, and not handed out again when it has died, does not answer, or its
// program or configuration has changed. One that is taken out of use while it is
// leased ends when the lease does. Crashes are counted for the plugin, whichever
// of its processes they befall; those that run go on, and are handed out,
// however often others crash.
type Supervisor struct {
	cfg Config
	// launch and dial are sdk.Launch and sdk.Dial but in tests.
	launch func(context.Context, sdk.LaunchConfig) (handle, error)
	dial   func(ctx context.Context, socket, hostVersion string) (client, error)

	// ctx ends when the supervisor stops, and with it every start under way.
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup // starts, and one watcher for each process

	mu      sync.Mutex
	catalog *catalog.Catalog
	plugins map[string]*plugin // by name
	owners  map[string]*owner  // by socket
	runtime *runtimeDir        // nil until the first start
	stopped bool
	pending []event.Event // to be published once mu is free

	publishing sync.Mutex // taken before mu, to publish in order
}

// New makes a supervisor. It starts nothing and touches no file.
func New(cfg Config) *Supervisor {
	cfg.ensureDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Supervisor{
		cfg:     cfg,
		launch:  launch,
		dial:    dial,
		ctx:     ctx,
		cancel:  cancel,
		catalog: cfg.Catalog,
		plugins: make(map[string]*plugin),
		owners:  make(map[string]*owner),
	}
}

// Acquire returns the backend of a store, ready to be called, and keeps it
// until the lease is released. It starts a process of the plugin when none is
// free, one at a time: when it does not come up, all who wait have that error.
// The process has the store's I/O priority.
//
// A plugin that has crashed repeatedly is an error at once, which says why and
// when it will be tried again. An owner that does not answer is an error that
// says "owner away", of kind ErrNotFound or ErrConnection; at once where it was
// found to hang a moment ago.
func (s *Supervisor) Acquire(ctx context.Context, store config.Store) (*Lease, error) {
	if store.Owner != "" {
		return s.acquireOwner(ctx, store.Owner)
	}
	return s.acquirePlugin(ctx, store.Plugin, store.IOPriority)
}

// Reconfigure changes to another catalog. Plugins whose program, arguments or
// pin are different now are not handed out any more, and end when they are idle.
// Plugins that were left alone after crashes may be tried at once.
func (s *Supervisor) Reconfigure(c *catalog.Catalog) {
	defer s.lock()()
	s.catalog = c
	for name, p := range s.plugins {
		p.nextTry = time.Time{}
		p.backoff.Reset()
		program, err := c.Resolve(c.Plugin(name))
		for _, proc := range p.processes {
			if err != nil || !proc.program.Same(program) {
				s.retire(proc, "its configuration has changed")
			}
		}
		if err != nil && p.idle() {
			delete(s.plugins, name)
		}
	}
	for socket, o := range s.owners {
		if len(o.leases) == 0 && !o.probed {
			delete(s.owners, socket)
		}
	}
}

// Stop ends everything: nothing is handed out any more, leases are waited for
// until ctx ends, and what is still running then is killed. When it returns no
// process and no file is left.
func (s *Supervisor) Stop(ctx context.Context) {
	idle := s.beginStop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.workers.Wait()
		for _, released := range idle {
			<-released
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.forceAll()
		<-done
	}
	defer s.lock()()
	if s.runtime != nil {
		s.runtime.remove()
		s.runtime = nil
	}
}

// beginStop asks everything to end and returns a channel for each lease of an
// owner, which is closed when it is released.
func (s *Supervisor) beginStop() []<-chan struct{} {
	defer s.lock()()
	s.stopped = true
	s.cancel()
	for _, p := range s.plugins {
		for _, proc := range p.processes {
			s.retire(proc, "wring stops")
		}
	}
	var released []<-chan struct{}
	for _, o := range s.owners {
		for l := range o.leases {
			released = append(released, l.released)
		}
	}
	return released
}

// forceAll kills processes that are still there, and cuts connections to owners.
func (s *Supervisor) forceAll() {
	unlock := s.lock()
	var cut []*Lease
	for _, p := range s.plugins {
		for _, proc := range p.processes {
			proc.kill()
		}
	}
	for _, o := range s.owners {
		for l := range o.leases {
			cut = append(cut, l)
		}
	}
	unlock()
	for _, l := range cut {
		s.cfg.Logger.Warn("cutting a connection that is still in use", "owner", l.owner.socket)
		l.Release()
	}
}

// lock takes the mutex. The function that it returns frees it, and then
// publishes what has happened, in the order in which it has.
func (s *Supervisor) lock() (unlock func()) {
	s.mu.Lock()
	return func() {
		silent := len(s.pending) == 0
		s.mu.Unlock()
		if !silent {
			s.publish()
		}
	}
}

// publish returns when every event that was pending has been published, by this
// or by another goroutine.
func (s *Supervisor) publish() {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.mu.Lock()
	events := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, e := range events {
		s.cfg.Events.Publish(e)
	}
}

// announce has an event published when the mutex is freed.
func (s *Supervisor) announce(name event.Name, plugin, format string, args ...any) {
	s.pending = append(s.pending, event.Event{Name: name, Plugin: plugin, Message: fmt.Sprintf(format, args...)})
}

func errStopping(what string) error {
	return sdk.Errorf(sdk.ErrCancelled, "%s: the host is stopping", what)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

type nobody struct{}

func (nobody) Publish(event.Event) {}
