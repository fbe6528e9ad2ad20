package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

func TestProcessIsKeptWarm(t *testing.T) {
	r := newRig(t, nil)
	if got := len(r.Status()); got != 0 {
		t.Errorf("%d plugins before any was asked for", got)
	}
	l := r.acquire("a")
	if got := l.Description().Version; got != "1.2.3" {
		t.Errorf("version %q", got)
	}
	if s := r.status("a"); s.State != StateUp || s.Leases != 1 || s.Processes != 1 || s.PID != 1000 || s.Engine != "Fake" || s.SHA256 == "" || s.StartedAt != r.clock.Now() {
		t.Errorf("status %+v", s)
	}
	r.clock.advance(time.Hour)
	if r.status("a").State != StateUp {
		t.Fatal("a plugin in use was ended")
	}
	l.Release()
	l.Release() // the second time means nothing
	r.clock.advance(29 * time.Second)
	r.acquire("a").Release()
	r.clock.advance(29 * time.Second)
	if s := r.status("a"); s.State != StateUp || len(r.processes()) != 1 {
		t.Fatalf("a warm plugin was ended: %+v", s)
	}
	r.clock.advance(time.Second)
	<-r.processes()[0].exited
	eventually(t, "its end is noticed", func() bool { return r.status("a").State == StateStopped })
	if got := r.events.names(); got != "plugin_up a, plugin_down a" {
		t.Errorf("events: %s", got)
	}
	if s := r.status("a"); s.PID != 0 || s.Processes != 0 || s.LastError != "" {
		t.Errorf("status %+v", s)
	}
	if got := r.events.events[1].Message; got != "plugin a is down (pid 1000): nobody has used it for 30s" {
		t.Errorf("message %q", got)
	}
	r.acquire("a").Release()
	if s := r.status("a"); s.Restarts != 0 || len(r.processes()) != 2 {
		t.Errorf("coming back after rest counts as a restart: %+v", s)
	}
}

func TestProcessServesOneLeaseAtATime(t *testing.T) {
	r := newRig(t, nil)
	first := r.acquire("a")
	began := r.clock.Now()
	r.clock.advance(time.Second)
	second := r.acquire("a")
	if first.Backend() == second.Backend() || len(r.processes()) != 2 {
		t.Fatalf("%d processes for two leases, want 2", len(r.processes()))
	}
	if s := r.status("a"); s.State != StateUp || s.Leases != 2 || s.Processes != 2 || s.PID != 1000 || s.StartedAt != began {
		t.Errorf("status %+v", s)
	}
	// What is free is used before another is started, the oldest first.
	used := second.Backend()
	second.Release()
	if s := r.status("a"); s.Leases != 1 || s.Processes != 2 {
		t.Errorf("status %+v", s)
	}
	second = r.acquire("a")
	if second.Backend() != used {
		t.Error("a warm process was not handed out again")
	}
	used = first.Backend()
	second.Release()
	first.Release()
	first = r.acquire("a")
	if first.Backend() != used || len(r.processes()) != 2 {
		t.Errorf("the newer process was handed out, or another of %d", len(r.processes()))
	}
	// Each has a rest of its own.
	r.clock.advance(30 * time.Second)
	<-r.processes()[1].exited
	eventually(t, "its end is noticed", func() bool { return r.status("a").Processes == 1 })
	if s := r.status("a"); s.State != StateUp || s.Leases != 1 || s.PID != 1000 {
		t.Errorf("status %+v", s)
	}
	first.Release()
	r.clock.advance(30 * time.Second)
	<-r.processes()[0].exited
	eventually(t, "its end is noticed", func() bool { return r.status("a").State == StateStopped })
	if got := r.events.names(); got != "plugin_up a, plugin_up a, plugin_down a, plugin_down a" {
		t.Errorf("events: %s", got)
	}
}

func TestNothingIsKeptWarmWhenAskedNotTo(t *testing.T) {
	r := newRig(t, func(c *Config) { c.KeepWarm = -1 })
	r.acquire("a").Release()
	<-r.processes()[0].exited
	r.acquire("a").Release()
	if got := len(r.processes()); got != 2 {
		t.Errorf("%d processes, want 2", got)
	}
}

func TestLaunchConfiguration(t *testing.T) {
	program := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(program, []byte("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	const digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" // of "x"
	r := newRig(t, func(c *Config) {
		c.HostVersion = "9.9"
		c.Catalog = catalog.New(catalog.Config{
			LookupEnv: func(name string) (string, bool) { return "value", name == "TOKEN" },
			Plugins:   []config.Plugin{{Name: "p", Command: program, Args: []string{"-x"}, SHA256: digest, Env: []string{"TOKEN", "OTHER"}}},
		})
	})
	if s := r.status("p"); s.State != StateStopped || s.Path != program || !s.Pinned || s.SHA256 != digest {
		t.Errorf("status before the start %+v", s)
	}
	r.acquire("p").Release()
	cfg := r.processes()[0].cfg
	if cfg.Path != program || strings.Join(cfg.Args, " ") != "-x" || strings.Join(cfg.Env, " ") != "TOKEN=value" ||
		len(cfg.SHA256) != 32 || cfg.SHA256[0] != 0x2d || cfg.HostVersion != "9.9" || cfg.StartTimeout != 15*time.Second {
		t.Errorf("launched with %+v", cfg)
	}
	if info, err := os.Stat(cfg.SocketDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory for sockets: %v, %v", info, err)
	}
}

func TestCrashes(t *testing.T) {
	r := newRig(t, nil)
	crash := func() {
		t.Helper()
		all := r.processes()
		all[len(all)-1].die()
		eventually(t, "the crash is noticed", func() bool { return r.status("a").State != StateUp })
	}

	// The first is forgiven: the next process may start at once.
	l := r.acquire("a")
	crash()
	if s := r.status("a"); s.State != StateFailed || !strings.Contains(s.LastError, "died") || !s.NextTryAt.IsZero() {
		t.Errorf("after the first crash %+v", s)
	}
	l.Release()
	r.acquire("a").Release()

	// The second is not.
	crash()
	err := r.refusal("a")
	says(t, err, `plugin "a" is left alone until 12:00:01 (for 1s)`, "failed 2 times in a row", `plugin "a" (pid 1001) died`)
	if !sdk.Retryable(err) || !errors.Is(err, sdk.ErrInternal) {
		t.Errorf("%v: want a retryable ErrInternal", err)
	}
	if s := r.status("a"); s.State != StateBackoff || s.NextTryAt != r.clock.Now().Add(time.Second) || s.Restarts != 1 {
		t.Errorf("after the second crash %+v", s)
	}
	r.acquire("b").Release() // others do not suffer

	r.clock.advance(time.Second)
	if s := r.status("a"); s.State != StateFailed {
		t.Errorf("once it may be tried again: %+v", s)
	}
	r.acquire("a").Release()
	crash()
	r.refuses("a", "(for 2s)", "3 times")

	// A steady life wipes the slate clean, and so does a rest.
	r.clock.advance(2 * time.Second)
	l = r.acquire("a")
	r.clock.advance(time.Minute)
	crash()
	l.Release()
	l = r.acquire("a")
	l.Release()
	r.clock.advance(30 * time.Second)
	eventually(t, "the plugin rests", func() bool { return r.status("a").State == StateStopped })
	r.acquire("a").Release()
	crash()
	r.acquire("a").Release()
}

func TestCrashesAreCountedForThePlugin(t *testing.T) {
	r := newRig(t, nil)
	crash := func(l *Lease) {
		t.Helper()
		left := r.status("a").Processes - 1
		r.process(l).die()
		eventually(t, "the crash is noticed", func() bool { return r.status("a").Processes == left })
		l.Release()
	}
	steady := r.acquire("a")
	r.clock.advance(time.Second)
	crash(r.acquire("a"))
	if s := r.status("a"); s.State != StateUp || s.PID != 1000 || s.Leases != 1 || !strings.Contains(s.LastError, "(pid 1001) died") {
		t.Errorf("after the first crash %+v", s)
	}
	crash(r.acquire("a"))
	r.refuses("a", "is left alone", "(for 1s)", "failed 2 times in a row", "(pid 1002) died")

	// The process that runs goes on, and is handed out meanwhile.
	steady.Release()
	steady = r.acquire("a")
	if r.process(steady).pid != 1000 {
		t.Error("the process that runs was not handed out")
	}
	r.refuses("a", "failed 2 times in a row")
	if s := r.status("a"); s.State != StateUp || s.Restarts != 1 || s.Processes != 1 {
		t.Errorf("in backoff, with a process %+v", s)
	}

	// That it has a rest, or dies after a long life, says nothing of those that
	// were started after it.
	r.clock.advance(time.Second)
	crash(r.acquire("a"))
	r.refuses("a", "(for 2s)", "3 times")
	r.clock.advance(time.Minute)
	crash(steady)
	r.refuses("a", "(for 4s)", "4 times", "(pid 1000) died")
	r.clock.advance(4 * time.Second)
	resting, more := r.acquire("a"), r.acquire("a")
	if s := r.status("a"); s.Restarts != 3 {
		t.Errorf("a second process counts as a restart: %+v", s)
	}
	r.clock.advance(time.Second)
	resting.Release()
	crash(more)
	r.clock.advance(30 * time.Second)
	<-r.process(resting).exited
	eventually(t, "its end is noticed", func() bool { return r.status("a").State == StateFailed })
	crash(r.acquire("a"))
	r.refuses("a", "(for 16s)", "6 times")
}

func TestStartsThatGoWrong(t *testing.T) {
	r := newRig(t, nil)
	boom := sdk.Errorf(sdk.ErrProtocol, "speaks another version").WithHint("update it")
	r.setLaunch(func(context.Context, sdk.LaunchConfig) error { return boom })
	err := r.refusal("a")
	says(t, err, `start plugin "a": speaks another version`, "hint: update it")
	if !errors.Is(err, sdk.ErrProtocol) {
		t.Errorf("%v is not ErrProtocol", err)
	}
	wait := time.Second
	for range 10 {
		err = r.refusal("a")
		says(t, err, "is left alone", "(for "+wait.String()+")", "speaks another version", "hint: update it")
		if !errors.Is(err, sdk.ErrProtocol) {
			t.Errorf("%v is not ErrProtocol", err)
		}
		r.clock.advance(wait)
		r.refuses("a", "start plugin")
		wait = min(2*wait, time.Minute)
	}
	if s := r.status("a"); s.State != StateBackoff || s.Restarts != 10 || s.LastHint != "update it" || s.NextTryAt != r.clock.Now().Add(time.Minute) {
		t.Errorf("status %+v", s)
	}
	// A person who has changed something need not wait.
	r.setLaunch(nil)
	r.Reconfigure(catalog.New(catalog.Config{SelfDir: r.dir}))
	r.acquire("a").Release()
}

func TestMissingProgram(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Catalog = catalog.New(catalog.Config{Plugins: []config.Plugin{{Name: "gone"}}})
	})
	if s := r.status("gone"); s.State != StateFailed || !strings.Contains(s.LastError, "missing") || s.LastHint == "" {
		t.Errorf("status %+v", s)
	}
	for range 2 { // looking is cheap: nobody is made to wait
		if err := r.refusal("gone"); !errors.Is(err, catalog.ErrMissing) {
			t.Errorf("%v is not ErrMissing", err)
		}
	}
	if _, err := r.Acquire(t.Context(), config.Store{Name: "s"}); !errors.Is(err, sdk.ErrInvalidOption) {
		t.Errorf("a store without plugin and owner: %v", err)
	}
}

func TestUnwellProcessIsReplaced(t *testing.T) {
	r := newRig(t, nil)
	busy, idle := r.acquire("a"), r.acquire("a")
	idle.Release()
	for _, p := range r.processes() {
		p.sicken(errors.New("NOT_SERVING"))
	}
	fresh := r.acquire("a")
	if fresh.Backend() == idle.Backend() {
		t.Fatal("an unwell process was handed out")
	}
	<-r.processes()[1].exited
	select {
	case <-r.processes()[0].exited:
		t.Fatal("a process was ended while it was in use")
	default:
	}
	if s := r.status("a"); s.PID != 1000 || s.Leases != 2 || !strings.Contains(s.LastError, "(pid 1001) is given up: it is not well: NOT_SERVING") {
		t.Errorf("status %+v", s)
	}
	fresh.Release()
	busy.Release()

	// When the others are no better, the plugin is left alone.
	r.processes()[2].sicken(errors.New("NOT_SERVING"))
	r.refuses("a", "is left alone", "3 times", "(pid 1002) is given up: it is not well: NOT_SERVING")
}

func TestDiscardedProcessIsReplaced(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StopTimeout = 10 * time.Millisecond })
	hung, other := r.acquire("a"), r.acquire("a")
	p := r.processes()[0]
	p.mu.Lock()
	p.stubborn = true
	p.mu.Unlock()
	hung.Discard("a call does not end")
	hung.Discard("said twice")
	hung.Release()
	<-p.exited
	if !p.wasKilled {
		t.Error("the discarded process was not killed")
	}
	fresh := r.acquire("a")
	if fresh.Backend() == hung.Backend() || fresh.Backend() == other.Backend() {
		t.Error("a process that is discarded, or in use, was handed out")
	}
	fresh.Release()
	if s := r.status("a"); s.Leases != 1 || s.Restarts != 1 || !strings.Contains(s.LastError, "(pid 1000) is given up: a call does not end") {
		t.Errorf("status %+v", s)
	}
	select {
	case <-r.processes()[1].exited:
		t.Error("another lease's process was ended")
	default:
	}
	other.Release()
	if got := r.events.names(); got != "plugin_up a, plugin_up a, plugin_down a, plugin_up a" {
		t.Errorf("events: %s", got)
	}
}

func TestCallerWhoLeavesDuringTheHealthCheck(t *testing.T) {
	r := newRig(t, nil)
	r.acquire("a").Release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Acquire(ctx, config.Store{Plugin: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if s := r.status("a"); s.State != StateUp || s.Leases != 0 || s.LastError != "" {
		t.Errorf("the plugin suffers for its caller: %+v", s)
	}
}

func TestChangedProgramIsReplaced(t *testing.T) {
	r := newRig(t, nil)
	old := r.acquire("a")
	r.install("a", "newer program")
	fresh := r.acquire("a")
	if fresh.Backend() == old.Backend() {
		t.Error("the old program is still handed out")
	}
	if s := r.status("a"); s.PID != 1001 || s.Processes != 2 || s.Leases != 2 {
		t.Errorf("status %+v, want the newer program's process, and both counted", s)
	}
	old.Release()
	<-r.processes()[0].exited
	fresh.Release()
	if r.acquire("a").Release(); len(r.processes()) != 2 {
		t.Errorf("%d processes, want 2: the program is the same", len(r.processes()))
	}
}

func TestReconfigure(t *testing.T) {
	r := newRig(t, nil)
	r.acquire("a").Release()
	busy, idle := r.acquire("b"), r.acquire("b")
	idle.Release()
	r.Reconfigure(catalog.New(catalog.Config{SelfDir: r.dir, Plugins: []config.Plugin{
		{Name: "a", Args: []string{"-new"}},
		{Name: "b", Args: []string{"-new"}},
	}}))
	<-r.processes()[0].exited // idle: at once
	<-r.processes()[2].exited
	select {
	case <-r.processes()[1].exited:
		t.Fatal("a process in use was ended")
	default:
	}
	busy.Release()
	<-r.processes()[1].exited
	r.acquire("a").Release()
	if got := r.processes()[3].cfg.Args; len(got) != 1 || got[0] != "-new" {
		t.Errorf("started with %q", got)
	}
	// What is the same stays.
	r.Reconfigure(catalog.New(catalog.Config{SelfDir: r.dir, Plugins: []config.Plugin{{Name: "a", Args: []string{"-new"}}}}))
	if r.acquire("a").Release(); len(r.processes()) != 4 {
		t.Errorf("%d processes, want 4", len(r.processes()))
	}
	// What is gone is forgotten.
	r.Reconfigure(catalog.New(catalog.Config{}))
	eventually(t, "the plugin ends", func() bool { s := r.Status(); return len(s) == 0 || s[0].State == StateStopped })
	r.Reconfigure(catalog.New(catalog.Config{}))
	if got := r.Status(); len(got) != 0 {
		t.Errorf("status %+v", got)
	}
}

func TestStopWaitsForLeases(t *testing.T) {
	r := newRig(t, nil)
	l := r.acquire("a")
	r.acquire("b").Release()
	dir := r.processes()[0].cfg.SocketDir
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.Stop(t.Context())
	}()
	<-r.processes()[1].exited // idle: at once
	if err := r.refusal("a"); !sdk.IsCancelled(err) || !strings.Contains(err.Error(), "the host is stopping") {
		t.Errorf("%v is no cancellation", err)
	}
	if err := r.refusal("b"); !sdk.IsCancelled(err) || !strings.Contains(err.Error(), "the host is stopping") {
		t.Errorf("%v is no cancellation", err)
	}
	select {
	case <-stopped:
		t.Fatal("stopped while a lease was out")
	case <-r.processes()[0].exited:
		t.Fatal("a plugin in use was ended")
	default:
	}
	l.Release()
	<-stopped
	for _, p := range r.processes() {
		if p.wasKilled {
			t.Errorf("process %d was killed", p.pid)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory for sockets: %v, want none", err)
	}
	r.Stop(t.Context()) // again, to no effect
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	r := newRig(t, nil)
	r.acquire("a") // never released
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r.Stop(ctx)
	if p := r.processes()[0]; !p.wasKilled {
		t.Error("the process was not killed")
	}
}

func TestStopEndsStarts(t *testing.T) {
	r := newRig(t, nil)
	started := make(chan struct{})
	r.setLaunch(func(ctx context.Context, _ sdk.LaunchConfig) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	result := make(chan error)
	go func() {
		_, err := r.Acquire(t.Context(), config.Store{Plugin: "a"})
		result <- err
	}()
	<-started
	r.Stop(t.Context())
	if err := <-result; !sdk.IsCancelled(err) {
		t.Errorf("%v is no cancellation", err)
	}
}

func TestStubbornIdleProcessIsKilled(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StopTimeout = 10 * time.Millisecond })
	l := r.acquire("a")
	p := r.processes()[0]
	p.mu.Lock()
	p.stubborn = true
	p.mu.Unlock()
	l.Release()
	r.clock.advance(30 * time.Second)
	<-p.exited
	if !p.wasKilled {
		t.Error("it ended by itself?")
	}
}
