package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// outputGrace is how long a dead plugin's output is waited for: a process that
// it left behind may hold it open.
const outputGrace = 500 * time.Millisecond

// child is the operating system's side of a plugin: a process group with a
// lifeline. It is the runner that go-plugin starts and waits for.
type child struct {
	cmd       *exec.Cmd
	words     *lastWords
	first     *firstLine
	connected chan struct{} // closed when go-plugin has connected or given up
	exited    chan struct{} // closed when the process is gone and its output read

	startErr error          // why it never ran
	stdout   *os.File       // our end
	stderr   *os.File       // our end
	lifeline *os.File       // our end
	state    error          // of Wait; read after exited
	copying  sync.WaitGroup // of stderr

	mu      sync.Mutex
	doomed  bool // shall not run, or no longer
	running bool // its pid is ours: it has started and has not been reaped
	idle    bool // its I/O priority is
}

func newChild(c LaunchConfig) *child {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = allowedEnv(c.Env)
	// A group of its own: a Ctrl-C meant for the host does not reach it, and what
	// it starts can be ended with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	words := newLastWords(c.Stderr)
	return &child{
		cmd:       cmd,
		words:     words,
		first:     &firstLine{rest: words.stream()},
		connected: make(chan struct{}),
		exited:    make(chan struct{}),
	}
}

// Start runs the program.
func (c *child) Start(context.Context) error {
	if err := c.startProcess(); err != nil {
		c.startErr = err
		close(c.exited)
		return err
	}
	c.copying.Go(func() {
		lines := c.words.stream()
		_, _ = io.Copy(lines, c.stderr)
		lines.flush()
	})
	go c.reap()
	return nil
}

func (c *child) startProcess() (err error) {
	var theirs [3]*os.File
	defer func() {
		for _, file := range theirs {
			_ = file.Close() // nil is fine
		}
		if err != nil {
			c.closeOurs()
		}
	}()
	if c.stdout, theirs[0], err = os.Pipe(); err != nil {
		return err
	}
	if c.stderr, theirs[1], err = os.Pipe(); err != nil {
		return err
	}
	if theirs[2], c.lifeline, err = os.Pipe(); err != nil {
		return err
	}
	c.cmd.Stdout, c.cmd.Stderr = theirs[0], theirs[1]
	c.cmd.ExtraFiles = theirs[2:]
	c.cmd.Env = append(c.cmd.Env, LifelineEnv+"=3") // the first of ExtraFiles
	c.first.from = c.stdout

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doomed {
		err = errors.New("given up before it started")
	} else {
		err = c.cmd.Start()
	}
	c.running = err == nil
	return err
}

// closeOurs closes our ends, as far as they were made.
func (c *child) closeOurs() {
	_ = c.stdout.Close()
	_ = c.stderr.Close()
	_ = c.lifeline.Close()
}

// reap waits for the process to end, ends what it left behind, and lets go of
// its pid.
func (c *child) reap() {
	defer close(c.exited)
	pid := c.cmd.Process.Pid
	if awaitExit(pid) {
		// The process is dead but not buried: nobody else can have its number.
		c.mu.Lock()
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		c.running = false
		c.mu.Unlock()
	}
	c.state = c.cmd.Wait()
	c.mu.Lock()
	c.running = false
	c.mu.Unlock()

	grace := time.Now().Add(outputGrace)
	_ = c.stdout.SetReadDeadline(grace)
	_ = c.stderr.SetReadDeadline(grace)
	c.copying.Wait()
	_ = c.stderr.Close()
	_ = c.lifeline.Close()
}

// kill ends the process and all of its group at once, or keeps it from
// starting. It never touches a pid that is not ours any more.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doomed = true
	if c.running {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		_ = c.cmd.Process.Kill() // where the group is not set up yet
	}
}

// hasExited waits a while for the process to end.
func (c *child) hasExited(wait time.Duration) bool {
	select {
	case <-c.exited:
		return true
	default:
	}
	select {
	case <-c.exited:
		return true
	case <-time.After(wait):
		return false
	}
}

// exit says how the process ended, waiting for that for a while; "" when it has
// not ended, or by our own hand.
func (c *child) exit(wait time.Duration) string {
	if !c.hasExited(wait) {
		return ""
	}
	var exit *exec.ExitError
	switch {
	case c.state == nil:
		return "exit status 0"
	case !errors.As(c.state, &exit):
		return c.state.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && c.doomed && status.Signal() == syscall.SIGKILL {
		return ""
	}
	return exit.Error()
}

// obituary is exit with the last lines, or "" when the process has not ended.
func (c *child) obituary(wait time.Duration) string {
	if !c.hasExited(wait) {
		return ""
	}
	how := c.exit(0)
	if how == "" {
		how = "killed by its host"
	}
	return fmt.Sprintf("process %d ended: %s%s", c.cmd.Process.Pid, how, c.words.last())
}

// Wait returns when the process has ended.
func (c *child) Wait(context.Context) error {
	<-c.exited
	<-c.connected // go-plugin leaks a connection that it makes as the process ends
	return c.state
}

// Kill ends the process group.
func (c *child) Kill(context.Context) error {
	c.kill()
	return nil
}

// Stdout is the handshake and nothing else; what follows goes to the log.
func (c *child) Stdout() io.ReadCloser { return io.NopCloser(c.first) }

// Stderr is empty: we read it ourselves.
func (c *child) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is the path of the program.
func (c *child) Name() string { return c.cmd.Path }

// ID is never empty, or go-plugin would leave its directory behind.
func (c *child) ID() string {
	if c.cmd.Process == nil {
		return "none"
	}
	return strconv.Itoa(c.cmd.Process.Pid)
}

// Diagnose has nothing to add to our own explanation.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost leaves addresses alone: both sides share a file system.
func (c *child) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin likewise.
func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

var _ runner.Runner = (*child)(nil)
