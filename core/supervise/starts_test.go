package supervise

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// waiting is a condition: so many wait for a start of the plugin.
func (r *rig) waiting(name string, n int) func() bool {
	return func() bool {
		r.Supervisor.mu.Lock()
		defer r.Supervisor.mu.Unlock()
		p := r.plugins[name]
		return p != nil && p.starting != nil && p.starting.waiters == n
	}
}

func TestManyWaitAndEachHasAProcess(t *testing.T) {
	r := newRig(t, func(c *Config) { c.KeepWarm = -1 })
	proceed := make(chan struct{})
	var starting, most atomic.Int32
	r.setLaunch(func(context.Context, sdk.LaunchConfig) error {
		defer starting.Add(-1)
		most.Store(max(most.Load(), starting.Add(1)))
		<-proceed
		return nil
	})
	impatient, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := r.Acquire(impatient, config.Store{Plugin: "a"})
		gaveUp <- err
	}()
	eventually(t, "one waits", r.waiting("a", 1))
	if s := r.status("a"); s.State != StateStarting {
		t.Errorf("status %+v", s)
	}
	var wg sync.WaitGroup
	leases := make(chan *Lease, 8)
	for range cap(leases) {
		wg.Go(func() { leases <- r.acquire("a") })
	}
	eventually(t, "all wait", r.waiting("a", 9))
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	eventually(t, "one has left", r.waiting("a", 8))
	close(proceed)
	wg.Wait()
	if s := r.status("a"); s.Leases != 8 || s.Processes != 8 || s.PID != 1000 || len(r.processes()) != 8 {
		t.Errorf("%d processes, status %+v", len(r.processes()), s)
	}
	if got := most.Load(); got != 1 {
		t.Errorf("%d starts at once, want 1", got)
	}
	backends := make(map[sdk.Backend]bool)
	for range cap(leases) {
		l := <-leases
		backends[l.Backend()] = true
		l.Release()
	}
	if len(backends) != 8 {
		t.Errorf("8 leases have %d processes", len(backends))
	}
	for _, p := range r.processes() {
		<-p.exited
	}
}

func TestPluginIsUpWhileAnotherProcessStarts(t *testing.T) {
	r := newRig(t, nil)
	defer r.acquire("a").Release()
	proceed := make(chan struct{})
	r.setLaunch(func(context.Context, sdk.LaunchConfig) error { <-proceed; return nil })
	second := make(chan *Lease)
	go func() { second <- r.acquire("a") }()
	eventually(t, "one waits", r.waiting("a", 1))
	if s := r.status("a"); s.State != StateUp || s.PID != 1000 {
		t.Errorf("status %+v", s)
	}
	close(proceed)
	(<-second).Release()
}

func TestManyWaitForAStartThatGoesWrong(t *testing.T) {
	r := newRig(t, nil)
	proceed := make(chan struct{})
	r.setLaunch(func(context.Context, sdk.LaunchConfig) error {
		<-proceed
		return errors.New("no shoes")
	})
	var wg sync.WaitGroup
	refusals := make(chan error, 4)
	for range cap(refusals) {
		wg.Go(func() { refusals <- r.refusal("a") })
	}
	eventually(t, "all wait", r.waiting("a", 4))
	close(proceed)
	wg.Wait()
	for range cap(refusals) {
		says(t, <-refusals, `start plugin "a": no shoes`)
	}
	// It has failed once, not once for each.
	r.refuses("a", "(for 1s)", "it has failed,")
}

func TestStartWithoutAnybodyLeft(t *testing.T) {
	r := newRig(t, nil)
	proceed := make(chan struct{})
	r.setLaunch(func(context.Context, sdk.LaunchConfig) error { <-proceed; return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Acquire(ctx, config.Store{Plugin: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	if _, err := r.Acquire(ctx, config.Store{Plugin: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	close(proceed)
	eventually(t, "it is up all the same", func() bool { return r.status("a").State == StateUp })
	if got := len(r.processes()); got != 1 {
		t.Errorf("%d processes for two who left one after the other, want 1", got)
	}
	r.clock.advance(30 * time.Second)
	<-r.processes()[0].exited
}

// Somebody who leaves just when the process has come up leaves it to others.
func TestStartThatNobodyClaims(t *testing.T) {
	r := newRig(t, nil)
	proceed := make(chan struct{})
	r.setLaunch(func(context.Context, sdk.LaunchConfig) error { <-proceed; return nil })
	_, st, err := r.join("a")
	if err != nil {
		t.Fatal(err)
	}
	_, same, err := r.join("a")
	if err != nil || same != st {
		t.Fatalf("join = %p, %v, want the start under way, %p", same, err, st)
	}
	close(proceed)
	<-st.done
	r.leave(st)
	if s := r.status("a"); s.Leases != 1 {
		t.Errorf("what the other waits for is given away: %+v", s)
	}
	r.leave(st)
	if s := r.status("a"); s.Leases != 0 || s.State != StateUp {
		t.Errorf("status %+v", s)
	}
	r.clock.advance(30 * time.Second)
	<-r.processes()[0].exited
}
