package sdktest

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// The test binary started again learns its role from its environment.
const (
	roleVariable = "WRING_SDKTEST_ROLE"
	pathVariable = "WRING_SDKTEST_PATH"
	roleServe    = "serve"
	roleHold     = "hold"
	heldLine     = "sdktest: held"
)

// playRole is where a helper process of the suite ends up: it does its work and
// exits. In the test itself it does nothing.
func playRole(t *testing.T, f Factory) {
	t.Helper()
	switch role := os.Getenv(roleVariable); role {
	case "":
	case roleServe:
		// The flags were the test binary's; a plugin sees what follows them.
		os.Args = append(os.Args[:1:1], flag.Args()...)
		sdk.Serve(f.Backend())
		os.Exit(0)
	case roleHold:
		release, err := f.Hold(os.Getenv(pathVariable))
		if err != nil {
			fmt.Fprintln(os.Stdout, err)
			os.Exit(1)
		}
		fmt.Fprintf(os.Stdout, "\n%s\n", heldLine)
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the test closes it or dies
		if err := release(); err != nil {
			fmt.Fprintln(os.Stdout, err)
			os.Exit(1)
		}
		os.Exit(0)
	default:
		t.Fatalf("sdktest: %s has the unknown value %q", roleVariable, role)
	}
}

// Build returns a Factory.Program that builds the main package pkg, as go build
// takes it: "." or "./cmd/wring-plugin-acme".
func Build(pkg string) func(testing.TB) string {
	return func(t testing.TB) string {
		t.Helper()
		dir := t.TempDir()
		args := []string{"build", "-o", dir + string(filepath.Separator)}
		if raceEnabled {
			args = append(args, "-race")
		}
		out, err := exec.CommandContext(t.Context(), "go", append(args, pkg)...).CombinedOutput()
		if err != nil {
			t.Fatalf("build the plugin: go build %s: %v\n%s", pkg, err, out)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatalf("build the plugin: go build %s made %d programs (%v); it must be one main package", pkg, len(entries), err)
		}
		return filepath.Join(dir, entries[0].Name())
	}
}

func programOf(t *testing.T, f Factory) string {
	t.Helper()
	if f.Program != nil {
		return f.Program(t)
	}
	return ownProgram(t)
}

func ownProgram(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// onlyThisTest makes the test binary run the test that called Run.
func (s *subject) onlyThisTest() string {
	parts := strings.Split(s.test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return "-test.run=" + strings.Join(parts, "/")
}

// invocation is how the plugin is started with arguments: the arguments and
// what its environment needs.
func (s *subject) invocation(args ...string) (all, env []string) {
	if s.Program != nil {
		return args, s.Env
	}
	all = []string{s.onlyThisTest()}
	if len(args) > 0 {
		all = append(append(all, "--"), args...)
	}
	return all, append([]string{roleVariable + "=" + roleServe}, s.Env...)
}

// launch starts a plugin process, which ends with the test at the latest.
func (s *subject) launch(t *testing.T) (*sdk.Process, *tail) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "wring") //nolint:usetesting // t.TempDir is too long for a unix socket
	if err != nil {
		t.Fatal(err)
	}
	stderr := &tail{}
	args, env := s.invocation()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() { cancel(); _ = os.RemoveAll(sockets) })
	process, err := within(t, 2*s.Timeout, "starting the plugin", func() (*sdk.Process, error) {
		return sdk.Launch(ctx, sdk.LaunchConfig{
			Path: s.program, Args: args, Env: env,
			SocketDir: sockets, Stderr: stderr, StartTimeout: s.Timeout, HostVersion: "sdktest",
		})
	})
	if err != nil {
		t.Fatalf("start the plugin: %v\n%s", err, sdk.HintOf(err))
	}
	t.Cleanup(func() {
		patience, stop := context.WithTimeout(context.Background(), promptly)
		defer stop()
		process.Stop(patience)
		if strings.Contains(stderr.String(), "WARNING: DATA RACE") {
			t.Errorf("the race detector in the plugin has found something:\n%s", stderr)
		}
	})
	return process, stderr
}

// holdElsewhere has a second process hold a store until release is called.
func (s *subject) holdElsewhere(t *testing.T, st store) (release func()) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), ownProgram(t), s.onlyThisTest())
	cmd.Env = append(os.Environ(), roleVariable+"="+roleHold, pathVariable+"="+st.path)
	cmd.Stderr = cmd.Stdout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a process that holds the store: %v", err)
	}
	release = sync.OnceFunc(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process that held the store: %v", err)
		}
	})
	t.Cleanup(release)

	_, err = within(t, s.Timeout, "Factory.Hold", func() (struct{}, error) {
		var said bytes.Buffer
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == heldLine {
				return struct{}{}, nil
			}
			fmt.Fprintln(&said, lines.Text())
		}
		return struct{}{}, fmt.Errorf("it ended before it held the store: %s", said.Bytes())
	})
	if err != nil {
		t.Fatalf("hold the store in a second process: %v", err)
	}
	return release
}

// kill ends a plugin as the kernel's out-of-memory killer would, and waits
// until it is gone.
func kill(t *testing.T, process *sdk.Process) {
	t.Helper()
	p, err := os.FindProcess(process.PID())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatalf("kill the plugin: %v", err)
	}
	select {
	case <-process.Exited():
	case <-time.After(promptly):
		t.Fatalf("the plugin lives %s after SIGKILL", promptly)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 32 << 10

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if extra := len(w.text) - tailBytes; extra > 0 {
		w.text = append(w.text[:0], w.text[extra:]...)
	}
	return len(p), nil
}

// String returns what was kept.
func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

var _ io.Writer = (*tail)(nil)
