package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

// fakeClock stands still until it is moved.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	at time.Time
	f  func()
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := &fakeTimer{c.now.Add(d), f}
	c.timers = append(c.timers, timer)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.timers, timer)
		if i >= 0 {
			c.timers = slices.Delete(c.timers, i, i+1)
		}
		return i >= 0
	}
}

// advance moves the clock and returns when what was due has been done.
func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []*fakeTimer
	c.timers = slices.DeleteFunc(c.timers, func(timer *fakeTimer) bool {
		if timer.at.After(c.now) {
			return false
		}
		due = append(due, timer)
		return true
	})
	c.mu.Unlock()
	for _, timer := range due {
		timer.f()
	}
}

// recorder keeps what was published.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) Publish(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// names of the events so far, each with its plugin.
func (r *recorder) names() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, e := range r.events {
		names = append(names, string(e.Name)+" "+filepath.Base(e.Plugin))
	}
	return strings.Join(names, ", ")
}

// fakeProcess is a process of nothing.
type fakeProcess struct {
	sdk.Backend
	pid    int
	cfg    sdk.LaunchConfig
	exited chan struct{}
	once   sync.Once

	mu        sync.Mutex
	unwell    error
	stubborn  bool // ends only when it is killed
	wasKilled bool

	priorities []sdk.IOPriority // that were set
	refuses    error            // what setting one comes to
}

func (p *fakeProcess) client() client          { return p }
func (p *fakeProcess) PID() int                { return p.pid }
func (p *fakeProcess) Exited() <-chan struct{} { return p.exited }
func (p *fakeProcess) ExitReason() string      { return "exit status 2" }
func (p *fakeProcess) Close() error            { return nil }
func (p *fakeProcess) die()                    { p.once.Do(func() { close(p.exited) }) }

func (p *fakeProcess) Description() sdk.Description {
	return sdk.Description{Name: "fake", Version: "1.2.3", Engine: "Fake"}
}

func (p *fakeProcess) Healthy(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(ctx.Err(), p.unwell)
}

func (p *fakeProcess) sicken(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unwell = err
}

func (p *fakeProcess) SetIOPriority(priority sdk.IOPriority) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.priorities = append(p.priorities, priority)
	return p.refuses
}

func (p *fakeProcess) ranks() []sdk.IOPriority {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.priorities)
}

func (p *fakeProcess) Stop(ctx context.Context) {
	p.mu.Lock()
	stubborn := p.stubborn
	p.mu.Unlock()
	if stubborn {
		select {
		case <-p.exited:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		p.mu.Lock()
		p.wasKilled = true
		p.mu.Unlock()
	}
	p.die()
}

// rig is a supervisor whose processes are fakes, with programs that exist.
type rig struct {
	*Supervisor
	t      *testing.T
	clock  *fakeClock
	events *recorder
	dir    string // of the programs

	mu       sync.Mutex
	launched []*fakeProcess
	// onLaunch may refuse, or block; nil lets all start.
	onLaunch func(ctx context.Context, cfg sdk.LaunchConfig) error
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, clock: newFakeClock(), events: &recorder{}, dir: t.TempDir()}
	r.install("a", "program a")
	r.install("b", "program b")
	cfg := Config{
		Catalog:    catalog.New(catalog.Config{SelfDir: r.dir}),
		RuntimeDir: shortDir(t),
		Clock:      r.clock,
		Events:     r.events,
	}
	if change != nil {
		change(&cfg)
	}
	r.Supervisor = New(cfg)
	r.launch = r.fakeLaunch
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Stop(ctx)
	})
	return r
}

func (r *rig) fakeLaunch(ctx context.Context, cfg sdk.LaunchConfig) (handle, error) {
	r.mu.Lock()
	onLaunch := r.onLaunch
	r.mu.Unlock()
	if onLaunch != nil {
		if err := onLaunch(ctx, cfg); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &fakeProcess{pid: 1000 + len(r.launched), cfg: cfg, exited: make(chan struct{})}
	r.launched = append(r.launched, p)
	return p, nil
}

func (r *rig) setLaunch(f func(ctx context.Context, cfg sdk.LaunchConfig) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onLaunch = f
}

// processes that were started so far.
func (r *rig) processes() []*fakeProcess {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.launched)
}

// process of a lease.
func (r *rig) process(l *Lease) *fakeProcess {
	r.t.Helper()
	p, ok := l.Backend().(*fakeProcess)
	if !ok {
		r.t.Fatalf("the backend is a %T", l.Backend())
	}
	return p
}

// install makes or replaces the program of a plugin.
func (r *rig) install(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, catalog.ProgramPrefix+name)
	if err := os.WriteFile(path+".new", []byte(content), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) acquire(name string) *Lease {
	r.t.Helper()
	l, err := r.Acquire(r.t.Context(), config.Store{Name: "s", Plugin: name})
	if err != nil {
		r.t.Fatalf("Acquire: %v", err)
	}
	return l
}

// refusal is the error with which a plugin cannot be had.
func (r *rig) refusal(name string) error {
	r.t.Helper()
	l, err := r.Acquire(r.t.Context(), config.Store{Name: "s", Plugin: name})
	if err == nil {
		l.Release()
		r.t.Fatal("Acquire succeeds, want an error")
	}
	return err
}

func (r *rig) refuses(name string, parts ...string) {
	r.t.Helper()
	says(r.t, r.refusal(name), parts...)
}

// status of one plugin or owner.
func (r *rig) status(name string) Status {
	r.t.Helper()
	for _, status := range r.Status() {
		if status.Name == name {
			return status
		}
	}
	r.t.Fatalf("no status of %s", name)
	return Status{}
}

// shortDir is a temporary directory whose path leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w") //nolint:usetesting // t.TempDir has the test's long name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// says fails unless the error's message and hint hold all parts.
func says(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	text := err.Error() + "\nhint: " + sdk.HintOf(err)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("error does not say %q:\n%s", part, text)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(2 * time.Millisecond); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}
