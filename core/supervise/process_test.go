package supervise

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// plugins returns a directory in which the test binary has each of the names.
func plugins(t *testing.T, names ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, catalog.ProgramPrefix+name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// real is a supervisor of real processes.
type real struct {
	*Supervisor
	t      *testing.T
	events *recorder
	log    *syncBuffer
}

// syncBuffer is written to by loggers and read by tests.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newReal(t *testing.T, cat catalog.Config, change func(*Config)) *real {
	t.Helper()
	r := &real{t: t, events: &recorder{}, log: &syncBuffer{}}
	cfg := Config{
		Catalog:     catalog.New(cat),
		HostVersion: "test",
		RuntimeDir:  shortDir(t),
		Events:      r.events,
		Logger:      hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: r.log, DisableTime: true}),
	}
	if change != nil {
		change(&cfg)
	}
	r.Supervisor = New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		r.Stop(ctx)
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

func (r *real) acquire(plugin string) *Lease {
	r.t.Helper()
	l, err := r.Acquire(r.t.Context(), config.Store{Name: "s", Plugin: plugin})
	if err != nil {
		r.t.Fatalf("Acquire: %v (hint: %s)", err, sdk.HintOf(err))
	}
	return l
}

func (r *real) status(name string) Status {
	r.t.Helper()
	i := slices.IndexFunc(r.Status(), func(s Status) bool { return s.Name == name })
	if i < 0 {
		r.t.Fatalf("no status of %s", name)
	}
	return r.Status()[i]
}

// measure calls the backend of a lease and fails when it does not answer.
func (r *real) measure(l *Lease) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	f, err := l.Backend().Fragmentation(ctx, sdk.FragmentationRequest{Store: sdk.Store{Name: "s", Path: "/x"}})
	if err != nil || f.LiveBytes != 1 {
		r.t.Errorf("Fragmentation = %+v, %v", f, err)
	}
}

// pid asks the process of a lease for its id.
func (r *real) pid(l *Lease) int {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	f, err := l.Backend().Fragmentation(ctx, sdk.FragmentationRequest{Store: sdk.Store{Name: "pid", Path: "/x"}})
	if err != nil || f.TotalBytes == 0 {
		r.t.Fatalf("Fragmentation = %+v, %v", f, err)
	}
	return int(f.TotalBytes)
}

// gone says whether no process of that id is running any more.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestPluginProcess(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, nil)
	l := r.acquire("good")
	r.measure(l)
	if d := l.Description(); d.Name != "good" || d.Engine != "Test" || d.ProtocolVersion != sdk.ProtocolMax {
		t.Errorf("description %+v", d)
	}
	if _, ok := l.Backend().(sdk.Sweeper); !ok {
		t.Error("the backend is no Sweeper")
	}
	pid := r.status("good").PID
	l.Release()
	again := r.acquire("good")
	if again.Backend() != l.Backend() {
		t.Error("a second process was started")
	}
	again.Release()
	r.Stop(t.Context())
	if !gone(pid) {
		t.Errorf("process %d is left", pid)
	}
	if left, err := os.ReadDir(r.cfg.RuntimeDir); err != nil || len(left) != 1 || left[0].Name() != lockFile {
		t.Errorf("left in the directory for sockets: %v, %v", left, err)
	}
	if got := r.events.names(); got != "plugin_up good, plugin_down good" {
		t.Errorf("events: %s", got)
	}
}

func TestLeasesHaveProcessesOfTheirOwn(t *testing.T) {
	clock := newFakeClock()
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, func(c *Config) { c.Clock = clock })
	first, second := r.acquire("good"), r.acquire("good")
	one, two := r.pid(first), r.pid(second)
	if one == two {
		t.Fatalf("both leases have process %d", one)
	}
	if s := r.status("good"); s.PID != one || s.Processes != 2 || s.Leases != 2 {
		t.Errorf("status %+v, want process %d", s, one)
	}
	second.Release()
	second = r.acquire("good")
	if got := r.pid(second); got != two {
		t.Errorf("process %d was handed out, want the warm one, %d", got, two)
	}
	first.Release()
	second.Release()
	clock.advance(30 * time.Second)
	eventually(t, "both are gone", func() bool { return gone(one) && gone(two) })
	eventually(t, "their ends are noticed", func() bool { return r.status("good").State == StateStopped })
	if got := r.events.names(); got != "plugin_up good, plugin_up good, plugin_down good, plugin_down good" {
		t.Errorf("events: %s", got)
	}
}

func TestProcessThatDiesLeavesTheOthersCallAlone(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, nil)
	type outcome struct {
		result sdk.CompactResult
		err    error
	}
	compact := func(l *Lease, store sdk.Store) <-chan outcome {
		begun, ended := make(chan struct{}), make(chan outcome, 1)
		var once sync.Once
		go func() {
			result, err := l.Backend().Compact(t.Context(), sdk.CompactRequest{Store: store}, func(sdk.Progress) { once.Do(func() { close(begun) }) })
			ended <- outcome{result, err}
		}()
		<-begun
		return ended
	}
	dir := t.TempDir()
	first, second := r.acquire("good"), r.acquire("good")
	one, two := r.pid(first), r.pid(second)
	doomed := compact(first, sdk.Store{Name: "wait", Path: filepath.Join(dir, "first")})
	lucky := compact(second, sdk.Store{Name: "gate", Path: filepath.Join(dir, "second")})
	if err := syscall.Kill(one, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := <-doomed; !errors.Is(got.err, sdk.ErrConnection) {
		t.Errorf("the call to the process that was killed ends with %v, want ErrConnection", got.err)
	}
	first.Release()
	eventually(t, "its end is noticed", func() bool { return r.status("good").Processes == 1 })
	select {
	case got := <-lucky:
		t.Fatalf("the other call was cut: %v", got.err)
	default:
	}
	if s := r.status("good"); s.State != StateUp || s.PID != two || s.Leases != 1 || !strings.Contains(s.LastError, "died") {
		t.Errorf("status %+v, want process %d", s, two)
	}
	if err := os.WriteFile(filepath.Join(dir, "second"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-lucky; got.err != nil || got.result.ReclaimedBytes != 1 {
		t.Errorf("the other call ends with %+v, %v", got.result, got.err)
	}
	second.Release()
	again := r.acquire("good")
	defer again.Release()
	if got := r.pid(again); got != two {
		t.Errorf("process %d was handed out, want the one that went on, %d", got, two)
	}
	if got := r.events.names(); got != "plugin_up good, plugin_up good, plugin_down good" {
		t.Errorf("events: %s", got)
	}
}

func TestPluginThatIsKilledIsReplaced(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, nil)
	r.acquire("good").Release()
	pid := r.status("good").PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end is noticed", func() bool { return r.status("good").State != StateUp })
	l := r.acquire("good")
	defer l.Release()
	r.measure(l)
	if s := r.status("good"); s.PID == pid || s.Restarts != 1 || !strings.Contains(s.LastError, "died") {
		t.Errorf("status %+v", s)
	}
	if got := r.events.names(); got != "plugin_up good, plugin_down good, plugin_up good" {
		t.Errorf("events: %s", got)
	}
}

func TestPluginThatIsStoppedBySignalIsReplaced(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, func(c *Config) {
		c.HealthTimeout = 300 * time.Millisecond
		c.StopTimeout = 300 * time.Millisecond
	})
	r.acquire("good").Release()
	pid := r.status("good").PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is frozen", func() bool { return processState(t, pid) == "T" })
	l := r.acquire("good")
	defer l.Release()
	r.measure(l)
	eventually(t, "the frozen process is gone", func() bool { return gone(pid) })
}

func TestPluginThatCrashesInTheMiddle(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, nil)
	crash := func(l *Lease) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "x")
		_, err := l.Backend().Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Name: "crash", Path: path}}, func(sdk.Progress) {})
		if !errors.Is(err, sdk.ErrConnection) {
			t.Errorf("the call ends with %v, want ErrConnection", err)
		}
		l.Release()
		eventually(t, "its end is noticed", func() bool { return r.status("good").State != StateUp })
	}
	crash(r.acquire("good"))
	if s := r.status("good"); s.State != StateFailed || !strings.Contains(s.LastError, "exit status 2") || len(s.LastLines) == 0 {
		t.Errorf("after the first crash %+v", s)
	}
	crash(r.acquire("good"))
	_, err := r.Acquire(t.Context(), config.Store{Name: "s", Plugin: "good"})
	says(t, err, "is left alone until", "failed 2 times in a row", "panic: in the middle")
	if s := r.status("good"); s.State != StateBackoff {
		t.Errorf("after the second crash %+v", s)
	}
}

func TestPluginsThatDoNotStart(t *testing.T) {
	dir := plugins(t, "crash-at-start", "hang", "rubbish", "wrong-protocol", "good")
	if err := os.WriteFile(filepath.Join(dir, "wring-plugin-plain"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		plugin config.Plugin
		is     error
		parts  []string
		starts bool // a process was started, so that the next attempt must wait
	}{
		{config.Plugin{Name: "crash-at-start"}, nil, []string{`start plugin "crash-at-start"`, "wring-plugin-crash-at-start", "exit status 2", "line 29", "cannot find my shoes"}, true},
		{config.Plugin{Name: "hang"}, nil, []string{`start plugin "hang"`, "wring-plugin-hang"}, true},
		{config.Plugin{Name: "rubbish"}, nil, []string{"Welcome to ACME shell 3.0"}, true},
		{config.Plugin{Name: "wrong-protocol"}, nil, []string{`start plugin "wrong-protocol"`, "99"}, true},
		{config.Plugin{Name: "good", SHA256: strings.Repeat("0", 64)}, catalog.ErrChecksum, []string{"want 0000", "wring plugin pin good"}, false},
		{config.Plugin{Name: "plain"}, catalog.ErrNotExecutable, []string{"chmod +x"}, false},
		{config.Plugin{Name: "gone"}, catalog.ErrMissing, []string{"looked in " + dir}, false},
	} {
		t.Run(test.plugin.Name, func(t *testing.T) {
			r := newReal(t, catalog.Config{SelfDir: dir, Plugins: []config.Plugin{test.plugin}}, func(c *Config) {
				c.StartTimeout = 2 * time.Second
				c.BackoffInitial = time.Hour
				c.BackoffMax = time.Hour
			})
			begun := time.Now()
			_, err := r.Acquire(t.Context(), config.Store{Name: "s", Plugin: test.plugin.Name})
			says(t, err, test.parts...)
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			if sdk.HintOf(err) == "" {
				t.Errorf("no hint with %v", err)
			}
			if took := time.Since(begun); took > 8*time.Second {
				t.Errorf("the refusal took %s", took)
			}
			_, err = r.Acquire(t.Context(), config.Store{Name: "s", Plugin: test.plugin.Name})
			says(t, err, test.parts...)
			if got := strings.Contains(err.Error(), "is left alone until"); got != test.starts {
				t.Errorf("left alone is %v after: %v", got, err)
			}
			want := StateFailed
			if test.starts {
				want = StateBackoff
			}
			if s := r.status(test.plugin.Name); s.State != want || s.LastError == "" || s.PID != 0 {
				t.Errorf("status %+v", s)
			}
			if test.plugin.Name == "crash-at-start" && len(r.status("crash-at-start").LastLines) != keptLines {
				t.Errorf("last lines %q", r.status("crash-at-start").LastLines)
			}
		})
	}
}

func TestAcquireOfAHangingPluginEndsWithItsContext(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "hang")}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := r.Acquire(ctx, config.Store{Name: "s", Plugin: "hang"})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
		t.Errorf("error %v after %s", err, time.Since(begun))
	}
	if s := r.status("hang"); s.State != StateStarting {
		t.Errorf("status %+v", s)
	}
	// Stop, in the clean-up, does not wait for the 15 s of the start.
}

func TestPluginPinned(t *testing.T) {
	dir := plugins(t, "good")
	digest := catalog.New(catalog.Config{}).Checksum(filepath.Join(dir, "wring-plugin-good"))
	r := newReal(t, catalog.Config{SelfDir: dir, Plugins: []config.Plugin{{Name: "good", SHA256: digest}}}, nil)
	l := r.acquire("good")
	defer l.Release()
	r.measure(l)
	if s := r.status("good"); !s.Pinned || s.SHA256 != digest || digest == "" {
		t.Errorf("status %+v", s)
	}
}

// The checksum beside a process is that of the program that it runs, never that
// of one that was put in its place.
func TestChecksumOfAReplacedProgram(t *testing.T) {
	dir := plugins(t, "good")
	path := filepath.Join(dir, "wring-plugin-good")
	digest := catalog.New(catalog.Config{}).Checksum(path)
	r := newReal(t, catalog.Config{SelfDir: dir}, nil)
	l := r.acquire("good")
	pid := r.status("good").PID
	if s := r.status("good"); pid == 0 || s.SHA256 != digest || digest == "" {
		t.Errorf("status %+v, want checksum %s", s, digest)
	}
	if err := os.WriteFile(path+".new", []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if s := r.status("good"); s.PID != pid || s.SHA256 != "" {
		t.Errorf("status %+v, which has the checksum of a program that does not run", s)
	}
	r.measure(l)
	l.Release()
}

func TestPluginSeesNothingOfTheHostsEnvironment(t *testing.T) {
	t.Setenv("WRING_TEST_SECRET", "1")
	t.Setenv("WRING_TEST_ALLOWED", "2")
	r := newReal(t, catalog.Config{
		SelfDir: plugins(t, "good"),
		Plugins: []config.Plugin{{Name: "good", Env: []string{"WRING_TEST_ALLOWED"}}},
	}, nil)
	l := r.acquire("good")
	defer l.Release()
	_, err := l.Backend().Fragmentation(t.Context(), sdk.FragmentationRequest{Store: sdk.Store{Name: "environment", Path: "/x"}})
	says(t, err, "WRING_TEST_ALLOWED=2")
	if strings.Contains(err.Error(), "WRING_TEST_SECRET") {
		t.Errorf("the plugin sees %s", err)
	}
}

func TestPluginsLogIsRelayed(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "noisy")}, nil)
	l := r.acquire("noisy")
	defer l.Release()
	eventually(t, "all lines are there", func() bool { return strings.Contains(r.log.String(), "noisy: ready") })
	for _, want := range []string{
		`[INFO]  noisy: {"@level":3}`,
		`[INFO]  noisy: opened: path=/a`,
		`[WARN]  noisy: slow`,
		`bytes more)`,
	} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if lines := r.status("noisy").LastLines; !slices.Contains(lines, "ready") || !slices.Contains(lines, `info: opened: path="/a"`) {
		t.Errorf("last lines %q", lines)
	}
}

func TestCommandWithoutAHostIsQuiet(t *testing.T) {
	log := &syncBuffer{}
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, func(c *Config) {
		c.RuntimeDir = ""
		c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: log})
	})
	l := r.acquire("good")
	r.measure(l)
	l.Release()
	r.Stop(t.Context())
	if log.String() != "" {
		t.Errorf("a command would print %q", log)
	}
}

func TestStopLetsACallEnd(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, nil)
	l := r.acquire("good")
	pid := r.status("good").PID
	begun, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	go func() {
		_, err := l.Backend().Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Name: "wait", Path: filepath.Join(t.TempDir(), "x")}}, func(sdk.Progress) { once.Do(func() { close(begun) }) })
		ended <- err
		l.Release()
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.Stop(t.Context()) }()
	select {
	case err := <-ended:
		t.Fatalf("Stop cuts the call: %v", err)
	case <-stopped:
		t.Fatal("Stop does not wait for the call")
	case <-time.After(100 * time.Millisecond): // that nothing happens can only be waited for
	}
	cancel()
	if err := <-ended; !sdk.IsCancelled(err) {
		t.Errorf("the call ends with %v", err)
	}
	<-stopped
	if !gone(pid) {
		t.Errorf("process %d is left", pid)
	}
}

func TestStopKillsAPluginWithACallThatDoesNotEnd(t *testing.T) {
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, nil)
	l := r.acquire("good")
	pid := r.status("good").PID
	begun, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		_, err := l.Backend().Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Name: "wait", Path: filepath.Join(t.TempDir(), "x")}}, func(sdk.Progress) { once.Do(func() { close(begun) }) })
		ended <- err
	}()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r.Stop(ctx)
	if err := <-ended; err == nil {
		t.Error("the call succeeds")
	}
	if !gone(pid) {
		t.Errorf("process %d is left", pid)
	}
	l.Release()
}

func TestNoPluginOutlivesItsHost(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runtime := shortDir(t)
	host := exec.Command(self, "be-a-host", plugins(t, "good"), runtime)
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid == 0 || !running(t, pid) {
		t.Fatalf("the host says %q", line)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	_ = host.Wait() // says that it was killed
	eventually(t, "the plugin is gone", func() bool { return !running(t, pid) })
	if took := time.Since(killed); took > 2*time.Second {
		t.Errorf("the plugin outlived its host by %s", took)
	}

	// What the host has left is swept by the next one.
	dead, err := filepath.Glob(filepath.Join(runtime, runPrefix+"*"))
	if err != nil || len(dead) != 1 {
		t.Fatalf("the dead host has left %q, %v, want one directory", dead, err)
	}
	marker := filepath.Join(dead[0], "left")
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReal(t, catalog.Config{SelfDir: plugins(t, "good")}, func(c *Config) { c.RuntimeDir = runtime })
	r.acquire("good").Release()
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the dead host has left is still there: %v", err)
	}
}

// running tells a process from one that is dead but has a parent that does not
// look after it.
func running(t *testing.T, pid int) bool {
	t.Helper()
	state := processState(t, pid)
	return state != "" && state != "Z"
}

// processState is the letter for what a process does (R, S, T, Z …), or "" when
// there is no such process.
func processState(t *testing.T, pid int) string {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return ""
		}
		// The name, in parentheses, may hold anything.
		return string(stat[bytes.LastIndexByte(stat, ')')+2])
	}
	ps, err := exec.LookPath("ps")
	if err != nil {
		t.Fatal(err)
	}
	state, err := exec.Command(ps, "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	if err != nil || len(state) == 0 {
		return "" // ps finds none
	}
	return string(state[0])
}
