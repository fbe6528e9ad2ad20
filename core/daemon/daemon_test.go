package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/daemon"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(childConfig); file != "" {
		os.Exit(childMain(file))
	}
	goleak.VerifyTestMain(m)
}

// patience is far more than anything here takes.
const patience = 20 * time.Second

// half is a backend whose store is always half garbage. Its Compact waits for
// hold, when there is one.
type half struct {
	compactions atomic.Int64
	hold        chan struct{}
	begun       chan struct{} // receives when Compact has begun
	cleaned     atomic.Bool   // Compact was cancelled and has cleaned up
}

func newHalf() *half { return &half{begun: make(chan struct{}, 100)} }

func (*half) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name: "half", Version: "1", Engine: "half",
		Capabilities: sdk.Capabilities{Modes: []string{"rewrite"}, MeasuresWithoutLock: true},
	}, nil
}

func (*half) Fragmentation(context.Context, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	return sdk.Fragmentation{
		TotalBytes: 8 << 20, AllocatedBytes: 8 << 20, LiveBytes: 4 << 20, ReclaimableBytes: 4 << 20, Method: sdk.MethodExact,
	}, nil
}

func (h *half) Compact(ctx context.Context, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	h.compactions.Add(1)
	report(sdk.Progress{Phase: "copy", Done: 1, Total: 2, Unit: "bytes"})
	h.begun <- struct{}{}
	if h.hold != nil {
		select {
		case <-h.hold:
		case <-ctx.Done():
			h.cleaned.Store(true)
			return sdk.CompactResult{}, ctx.Err()
		}
	}
	return sdk.CompactResult{
		Before: sdk.Size{TotalBytes: 8 << 20, AllocatedBytes: 8 << 20},
		After:  sdk.Size{TotalBytes: 4 << 20, AllocatedBytes: 4 << 20}, ReclaimedBytes: 4 << 20,
	}, nil
}

// place is a directory with an owner's socket, a configuration and a host.
type place struct {
	t      testing.TB
	dir    string
	owner  string
	client *api.Client
}

// newPlace serves backend as an owner would. The directory is short, for the
// sake of the sockets in it.
func newPlace(t testing.TB, backend sdk.Backend) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "wd") //nolint:usetesting // its paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, dir: dir, owner: filepath.Join(dir, "owner", "o.sock"), client: api.NewClient(api.SocketPath(filepath.Join(dir, "data")))}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- sdk.ListenAndServe(ctx, p.owner, backend) }()
	t.Cleanup(func() {
		p.client.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the owner ends with %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.wait("the owner listens", func() bool { _, err := os.Stat(p.owner); return err == nil })
	return p
}

// configure writes the configuration: one store of the owner, and more.
func (p *place) configure(settings, more string) {
	p.t.Helper()
	content := fmt.Sprintf("data_dir = %q\n\ndefaults {\n%s\n}\n\nstore \"a\" {\n  owner = %q\n}\n%s", filepath.Join(p.dir, "data"), settings, p.owner, more)
	if err := os.WriteFile(p.file(), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) file() string { return filepath.Join(p.dir, "wring.hcl") }

// start runs a host until the returned function is called, which returns what
// it ended with.
func (p *place) start() (stop func() error) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx, p.config()) }()
	p.t.Cleanup(cancel)
	p.wait("the host answers", func() bool { _, err := p.client.Status(p.t.Context()); return err == nil })
	return func() error { cancel(); return <-ended }
}

func (p *place) config() daemon.Config {
	return daemon.Config{File: p.file(), Version: "test", Logger: hclog.NewNullLogger()}
}

func (p *place) wait(what string, condition func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between looks, not instead of them
	}
}

func (p *place) store(name string) api.StoreStatus {
	p.t.Helper()
	status, err := p.client.Status(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range status.Stores {
		if s.Store == name {
			return s
		}
	}
	p.t.Fatalf("no store %q in %+v", name, status.Stores)
	return api.StoreStatus{}
}

func TestStoresAreCompactedOnTheirSchedule(t *testing.T) {
	backend := newHalf()
	p := newPlace(t, backend)
	p.configure(`  every       = "1s"
  start_delay = "0s"
  min_gap     = "0s"`, "")
	stop := p.start()
	p.wait("two scheduled runs are in the history", func() bool {
		results, err := p.client.Results(t.Context(), "a", 10)
		return err == nil && len(results) >= 2
	})
	runs, err := p.client.Runs(t.Context(), 1)
	if err != nil || runs[0].Trigger != history.Scheduled || runs[0].Results[0].Outcome != history.Compacted {
		t.Errorf("the last run is %+v, %v; want a scheduled one that compacted", runs, err)
	}
	if s := p.store("a"); s.State != api.Healthy || s.LastSuccessAt.IsZero() || s.NextAt.IsZero() {
		t.Errorf("the store's status is %+v", s)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	if n := backend.compactions.Load(); n < 2 {
		t.Errorf("%d compactions, want two or more", n)
	}
}

func TestStopCancelsAndWaitsForCleanUp(t *testing.T) {
	backend := newHalf()
	backend.hold = make(chan struct{})
	p := newPlace(t, backend)
	p.configure("", "")
	stop := p.start()
	type answer struct {
		run history.Run
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		run, err := p.client.Compact(context.Background(), api.CompactRequest{All: true})
		answered <- answer{run, err}
	}()
	<-backend.begun
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	if !backend.cleaned.Load() {
		t.Error("the host ended before the compaction had cleaned up")
	}
	if a := <-answered; a.err != nil || len(a.run.Results) != 1 || a.run.Results[0].Outcome != history.Cancelled {
		t.Errorf("who asked for the run is told %+v, %v; want one cancelled result", a.run, a.err)
	}
	db, err := history.OpenReadOnly(filepath.Join(p.dir, "data", history.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	results, err := db.Results("a", 1)
	if err != nil || len(results) != 1 || results[0].Outcome != history.Cancelled {
		t.Errorf("the history holds %+v, %v; want one cancelled result", results, err)
	}
}

func TestReloadTakesTheNewAndKeepsTheOldIfTheNewIsWrong(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	stop := p.start()
	defer func() { _ = stop() }()

	p.configure("", "store \"b\" {\n  ownr = \"/x\"\n}\n")
	if err := p.client.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "ownr") {
		t.Errorf("Reload() of a wrong configuration = %v, want its mistakes", err)
	}
	if n := len(status(t, p).Stores); n != 1 {
		t.Errorf("after a wrong configuration there are %d stores, want the old one", n)
	}
	p.configure("", fmt.Sprintf("store \"b\" {\n  owner = %q\n}\n", p.owner))
	next := p.store("a").NextAt
	if err := p.client.Reload(t.Context()); err != nil {
		t.Errorf("Reload() = %v", err)
	}
	if n := len(status(t, p).Stores); n != 2 {
		t.Errorf("after a right configuration there are %d stores, want 2", n)
	}
	if got := p.store("a").NextAt; !got.Equal(next) {
		t.Errorf("a store that did not change is due at %v now, before at %v", got, next)
	}
	p.configure("", "")
	moved, err := os.ReadFile(p.file())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.Replace(string(moved), "/data\"", "/data2\"", 1)
	if err := os.WriteFile(p.file(), []byte(elsewhere), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.client.Reload(t.Context()); !errors.Is(err, sdk.ErrInvalidOption) || sdk.HintOf(err) == "" {
		t.Errorf("Reload() with another data_dir = %v, want a refusal that says restart", err)
	}
}

func status(t *testing.T, p *place) api.Status {
	t.Helper()
	s, err := p.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSecondHostIsRefused(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	stop := p.start()
	err := daemon.Run(t.Context(), p.config())
	if !errors.Is(err, sdk.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a second host: %v, want busy, with the process", err)
	}
	if _, err := p.client.Status(t.Context()); err != nil {
		t.Errorf("the first host does not answer any more: %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("the first host ends with %v", err)
	}
}

func TestSocketOfADeadHostIsReplaced(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	data := filepath.Join(p.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: api.SocketPath(data), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	stop := p.start()
	for path, want := range map[string]os.FileMode{data: 0o700, api.SocketPath(data): 0o600, filepath.Join(data, history.FileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

func TestHostStartsWithoutItsHistory(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	inTheWay := filepath.Join(p.dir, "data", history.FileName, "something")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	stop := p.start()
	if runs, err := p.client.Runs(t.Context(), 5); err != nil || len(runs) != 0 {
		t.Errorf("the host has the runs %v, %v", runs, err)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	if _, err := os.Stat(inTheWay); err != nil {
		t.Errorf("what was in the way: %v", err)
	}
}

func TestWrongConfigurationKeepsTheHostFromStarting(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure(`  every = "soon"`, "")
	var mistakes *config.Diagnostics
	if err := daemon.Run(t.Context(), p.config()); !errors.As(err, &mistakes) {
		t.Errorf("Run() = %v, want the mistakes of the configuration", err)
	}
}

func TestOverdueStoreIsAnEventOnce(t *testing.T) {
	p := newPlace(t, newHalf())
	// The owner of "gone" never comes, so every run defers it.
	p.configure(`  every         = "1s"
  start_delay   = "0s"
  overdue_after = "1s"`, fmt.Sprintf("store \"gone\" {\n  owner = %q\n}\n", filepath.Join(p.dir, "gone.sock")))
	stop := p.start()
	defer func() { _ = stop() }()
	enough := errors.New("enough")
	overdue, runs := 0, 0
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := p.client.Events(ctx, 0, func(e event.Event) error {
		switch {
		case e.Name == event.StoreOverdue && e.Store == "gone":
			overdue++
		case e.Name == event.RunComplete && overdue > 0:
			runs++
		}
		if runs == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || overdue != 1 {
		t.Errorf("%d overdue events until three runs later (%v), want one", overdue, err)
	}
	if s := p.store("gone"); s.State != api.Overdue && s.State != api.Degraded || !s.Overdue {
		t.Errorf("the store that is never reached is %+v", s)
	}
	if s := p.store("gone"); s.LastOutcome != history.Deferred {
		t.Errorf("its last outcome is %q, want deferred", s.LastOutcome)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	path := filepath.Join(p.dir, "notify.sock")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	told := make(chan string, 10_000)
	go func() {
		defer close(told)
		buffer := make([]byte, 4096)
		for {
			n, err := manager.Read(buffer)
			if err != nil {
				return
			}
			told <- string(buffer[:n])
		}
	}()
	expect := func(want string) {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case got := <-told:
				if strings.Contains(got, want) {
					return
				}
			case <-timeout:
				t.Fatalf("the service manager was not told %s", want)
			}
		}
	}
	stop := p.start()
	expect("READY=1")
	expect("WATCHDOG=1")
	expect("WATCHDOG=1")
	if err := p.client.Reload(t.Context()); err != nil {
		t.Errorf("Reload() = %v", err)
	}
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1")
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	expect("STOPPING=1")
	_ = manager.Close()
	for range told {
	}
}

func TestOneCrashingPluginKeepsNobodyElseFromBeingCompacted(t *testing.T) {
	p := newPlace(t, newHalf())
	program, store := filepath.Join(p.dir, "crashing"), filepath.Join(p.dir, "store")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no such luck >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure(`  retry { attempts = 0 }`, fmt.Sprintf(
		"plugin \"bad\" {\n  command = %q\n}\nstore \"b\" {\n  plugin = \"bad\"\n  path = %q\n  options { any = 1 }\n}\n", program, store))
	stop := p.start()
	run, err := p.client.Compact(t.Context(), api.CompactRequest{All: true})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]history.Outcome{}
	for _, r := range run.Results {
		outcomes[r.Store] = r.Outcome
	}
	if outcomes["a"] != history.Compacted || outcomes["b"] != history.Failed {
		t.Errorf("outcomes are %v, want a compacted and b failed", outcomes)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	var mistakes *config.Diagnostics
	if _, _, err := daemon.LoadConfig(t.Context(), p.file(), "", "", hclog.NewNullLogger()); !errors.As(err, &mistakes) || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("checking the same configuration: %v, want the plugin's last words", err)
	}
}

func TestReloadDuringARunSetsTheNextTimeByTheNewSchedule(t *testing.T) {
	backend := newHalf()
	backend.hold = make(chan struct{})
	p := newPlace(t, backend)
	p.configure("  every = \"100h\"\n  start_delay = \"0s\"", "")
	stop := p.start()
	<-backend.begun
	p.configure("  every = \"1h\"\n  start_delay = \"0s\"", "")
	if err := p.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(backend.hold)
	p.wait("the run is in the history", func() bool {
		results, err := p.client.Results(t.Context(), "a", 1)
		return err == nil && len(results) == 1
	})
	p.wait("the store has its next time", func() bool { return p.store("a").NextAt.After(time.Now().Add(time.Minute)) })
	if next := p.store("a").NextAt; time.Until(next) > 2*time.Hour {
		t.Errorf("the store is due at %v, by the schedule that its run began with", next)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

// hangingSweep is a backend whose Sweep ends only with its call.
type hangingSweep struct {
	*half
	sweeping chan struct{}
}

func (h *hangingSweep) Sweep(ctx context.Context, _ sdk.Store) ([]string, error) {
	h.sweeping <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestHangingSweepHoldsUpNobodyElse(t *testing.T) {
	p := newPlace(t, newHalf())
	hanging := &hangingSweep{half: newHalf(), sweeping: make(chan struct{}, 100)}
	other := filepath.Join(p.dir, "other", "o.sock")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- sdk.ListenAndServe(ctx, other, hanging) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the other owner ends with %v", err)
		}
	}()
	p.wait("the other owner listens", func() bool { _, err := os.Stat(other); return err == nil })

	// The hanging one comes first in the sweep, as "a" does in the file.
	if err := os.WriteFile(p.file(), fmt.Appendf(nil,
		"data_dir = %q\ndefaults {\n  start_delay = \"0s\"\n}\nstore \"hangs\" {\n  owner = %q\n}\nstore \"a\" {\n  owner = %q\n}\n",
		filepath.Join(p.dir, "data"), other, p.owner), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := p.start()
	<-hanging.sweeping
	p.wait("the other store is compacted", func() bool { return p.store("a").LastOutcome == history.Compacted })
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

func TestOneCrashingPluginBlocksNoReload(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	stop := p.start()
	program := filepath.Join(p.dir, "crashing")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.configure("", fmt.Sprintf("plugin \"bad\" {\n  command = %q\n}\nstore \"b\" {\n  plugin = \"bad\"\n  path = %q\n}\n", program, p.file()))
	if err := p.client.Reload(t.Context()); err != nil {
		t.Errorf("Reload() = %v", err)
	}
	if n := len(status(t, p).Stores); n != 2 {
		t.Errorf("%d stores after the reload, want 2", n)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}
