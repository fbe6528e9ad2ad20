package sdk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// compacting starts a compaction and returns when it is under way.
func compacting(ctx context.Context, t *testing.T, b Backend, store Store) <-chan error {
	t.Helper()
	began, done := make(chan struct{}), make(chan error, 1)
	go func() {
		told := false
		_, err := b.Compact(ctx, CompactRequest{Store: store}, func(Progress) {
			if !told {
				told = true
				close(began)
			}
		})
		done <- err
	}()
	select {
	case <-began:
	case err := <-done:
		t.Fatalf("compaction ended early: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("compaction does not begin")
	}
	return done
}

// within returns what a call came to, or fails.
func within(t *testing.T, limit time.Duration, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatalf("the call has not ended within %s", limit)
		return nil
	}
}

// alive says whether a process that is no child of ours exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !isLinux()
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(after, []byte("Z")) && !bytes.HasPrefix(after, []byte("X"))
}

func isLinux() bool { _, err := os.Stat("/proc/self/stat"); return err == nil }

func untouched(t *testing.T, store Store) {
	t.Helper()
	content, err := os.ReadFile(store.Path)
	if err != nil || string(content) != "original" {
		t.Errorf("store: %q, %v", content, err)
	}
	if exists(store.Path+".temp") || exists(lockOf(store)) {
		t.Error("temp or lock file left behind")
	}
}

// Kill cuts no call short: a call in flight is waited for.
func TestStopWaitsForCalls(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	store := newStore(t, "long")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := compacting(ctx, t, c, store)
	stopped := make(chan struct{})
	go func() {
		p.Stop(t.Context())
		close(stopped)
	}()
	eventually(t, 5*time.Second, "new calls are refused", func() bool {
		_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: store})
		return errors.Is(err, ErrConnection)
	})
	select {
	case <-stopped:
		t.Fatal("stopped while a call was in flight")
	case <-p.Exited():
		t.Fatal("exited while a call was in flight")
	default:
	}
	cancel()
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrCancelled) {
		t.Errorf("err = %v", err)
	}
	<-stopped
	if alive(p.PID()) {
		t.Error("the process lives")
	}
	untouched(t, store)
}

// Where the host cannot wait, the plugin still cleans up.
func TestStopInAHurryCleansUp(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	store := newStore(t, "long")
	done := compacting(t.Context(), t, c, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Stop(ctx)
	if err := within(t, time.Second, done); !errors.Is(err, ErrConnection) && !errors.Is(err, ErrCancelled) {
		t.Errorf("err = %v", err)
	}
	untouched(t, store)
	p.Stop(t.Context()) // again does no harm
	select {
	case <-p.Exited():
	default:
		t.Error("Exited is open")
	}
}

// A plugin that does not react is killed, with what it has started.
func TestStopKillsWhatHangs(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	store := newStore(t, "stubborn")
	ctx, cancel := context.WithCancel(t.Context())
	done := compacting(ctx, t, c, store)
	cancel() // which it ignores
	began := time.Now()
	p.Stop(ctx)
	if d := time.Since(began); d > stopGrace+2*time.Second {
		t.Errorf("Stop took %s", d)
	}
	if err := within(t, time.Second, done); !errors.Is(err, ErrConnection) {
		t.Errorf("err = %v", err)
	}
	if alive(p.PID()) {
		t.Error("the process lives")
	}
}

func TestStopOfAStoppedProcess(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	eventually(t, 5*time.Second, "it is not healthy", func() bool {
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return c.Healthy(soon) != nil
	})
	p.Stop(ctx)
	if alive(p.PID()) {
		t.Error("the process lives")
	}
}

func TestStopEndsGrandchildren(t *testing.T) {
	if !isLinux() {
		t.Skip("only Linux tells when a process has ended without forgetting it")
	}
	script := shortDir(t) + "/wrapper"
	// A wrapper that leaves something running, which also holds its output open.
	content := "#!/bin/sh\nsleep 1000 &\necho child $! >&2\nexec " + self(t) + "\n"
	if err := os.WriteFile(script, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	var out buffer
	p, _ := start(t, "plugin", func(c *LaunchConfig) { c.Path, c.Stderr = script, &out })
	var pid int
	eventually(t, 5*time.Second, "the wrapper's child", func() bool {
		_, after, found := strings.Cut(out.String(), "child ")
		pid, _ = strconv.Atoi(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]))
		return found && pid > 0
	})
	if !alive(pid) {
		t.Fatal("the wrapper's child does not run: nothing to end")
	}
	p.Stop(t.Context())
	eventually(t, 2*time.Second, "the wrapper's child has ended", func() bool { return !alive(pid) })
}

// A plugin that dies in the middle leaves its host with an unknown outcome and
// the reason, and what it left is swept.
func TestPluginKilledDuringCompact(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	store := newStore(t, "long")
	done := compacting(t.Context(), t, c, store)
	if p.ExitReason() != "" {
		t.Error("it has a reason to have exited while it runs")
	}
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := within(t, 5*time.Second, done)
	if !errors.Is(err, ErrConnection) || !strings.Contains(err.Error(), "signal: killed") || HintOf(err) == "" {
		t.Errorf("err = %v", err)
	}
	<-p.Exited()
	if !strings.Contains(p.ExitReason(), "signal: killed") {
		t.Errorf("reason = %q", p.ExitReason())
	}
	if _, err := c.Describe(t.Context()); !errors.Is(err, ErrConnection) {
		t.Errorf("a call afterwards: %v", err)
	}
	if !exists(store.Path + ".temp") {
		t.Fatal("nothing left behind: nothing to sweep")
	}
	_, again := start(t, "plugin")
	if removed, err := again.Sweep(t.Context(), store); err != nil || len(removed) != 2 {
		t.Errorf("swept %v, %v", removed, err)
	}
	untouched(t, store)
}

func TestPluginExitsDuringCall(t *testing.T) {
	noLeaks(t)
	_, c := start(t, "plugin")
	_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "exit"}})
	if !errors.Is(err, ErrConnection) || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "the end is near") {
		t.Errorf("err = %v", err)
	}
}

// systemd sends SIGTERM to a whole group: the host still learns how its calls
// came out.
func TestPluginTerminated(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	store := newStore(t, "long")
	done := compacting(t.Context(), t, c, store)
	if err := syscall.Kill(p.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := within(t, 5*time.Second, done)
	if !errors.Is(err, ErrCancelled) || !strings.Contains(err.Error(), "SIGTERM") {
		t.Errorf("err = %v", err)
	}
	select {
	case <-p.Exited():
	case <-time.After(5 * time.Second):
		t.Fatal("it does not exit")
	}
	if !strings.Contains(p.ExitReason(), "exit status 0") {
		t.Errorf("reason = %q", p.ExitReason())
	}
	untouched(t, store)
}

// One whose backend does not care ends all the same, and says how long it has
// waited.
func TestPluginTerminatedUnderAStubbornBackend(t *testing.T) {
	noLeaks(t)
	var out buffer
	p, c := start(t, "plugin-hasty", func(c *LaunchConfig) { c.Stderr = &out })
	done := compacting(t.Context(), t, c, newStore(t, "stubborn"))
	began := time.Now()
	if err := syscall.Kill(p.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := within(t, 20*time.Second, done); !errors.Is(err, ErrConnection) {
		t.Errorf("err = %v", err)
	}
	<-p.Exited()
	if d := time.Since(began); d < hasty {
		t.Errorf("it has ended after %s, before its calls had the time to clean up", d)
	}
	if !strings.Contains(p.ExitReason(), "exit status 1") {
		t.Errorf("reason = %q", p.ExitReason())
	}
	_, after, _ := strings.Cut(out.String(), `"waited":`)
	var waited int64 // nanoseconds, or a text
	if text, ok := strings.CutPrefix(after, `"`); ok {
		text, _, _ = strings.Cut(text, `"`)
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Errorf("the log has %q", out.String())
		}
		waited = int64(d)
	} else if _, err := fmt.Sscan(after, &waited); err != nil {
		t.Errorf("the log has %q", out.String())
	}
	if time.Duration(waited) < hasty {
		t.Errorf("it says that it has waited %s", time.Duration(waited))
	}
}

func TestPluginIgnoresInterrupt(t *testing.T) {
	p, c := start(t, "plugin")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE} {
		if err := syscall.Kill(p.PID(), signal); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// No plugin outlives a host that is killed, and it cleans up before it goes.
func TestHostKilled(t *testing.T) {
	store := newStore(t, "long")
	pid := killHostOf(t, store)
	eventually(t, 2*time.Second, "the plugin has ended", func() bool { return !alive(pid) })
	untouched(t, store)
}

// Nor does one whose backend does not care. It has until orphanDrain, which a
// busy machine stretches, though not to termDrain.
func TestHostKilledUnderAStubbornBackend(t *testing.T) {
	pid := killHostOf(t, newStore(t, "stubborn"))
	eventually(t, 5*time.Second, "the plugin has ended", func() bool { return !alive(pid) })
}

// killHostOf kills a host in the middle of a compaction and returns the process
// ID of its plugin.
func killHostOf(t *testing.T, store Store) (plugin int) {
	t.Helper()
	host := exec.Command(self(t))
	host.Env = append(as("host "+store.Name+" "+store.Path), "TMPDIR="+shortDir(t))
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, convErr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || convErr != nil {
		_ = host.Process.Kill()
		t.Fatalf("host says %q, %v", line, err)
	}
	if !alive(pid) || !exists(store.Path+".temp") || !exists(lockOf(store)) {
		t.Error("no compaction is under way")
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	return pid
}

func TestPluginPanicLeavesItAlive(t *testing.T) {
	var out buffer
	_, c := start(t, "plugin", func(c *LaunchConfig) { c.Stderr = &out })
	_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "panic"}})
	if !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "panicked: on purpose") || !strings.Contains(HintOf(err), "stack") {
		t.Errorf("err = %v", err)
	}
	eventually(t, 5*time.Second, "the stack is in the log", func() bool { return strings.Contains(out.String(), "fakeMeasure") })
	if _, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}
