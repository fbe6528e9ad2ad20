//go:build linux

package bolt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// programs are the host and the plugin, as users have them.
type programs struct {
	dir string
	env []string // of wring, beside its own
}

func (c *campaign) build() programs {
	p := programs{dir: filepath.Join(c.scratch, "bin")}
	for name, pkg := range map[string]string{
		"wring":             "github.com/wringdb/wring/cmd/host",
		"wring-plugin-bolt": "github.com/wringdb/wring/plugins/bolt/cmd/wring-plugin-bolt",
	} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(p.dir, name), pkg).CombinedOutput(); err != nil {
			c.t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return p
}

// wring is a running host, or a command of one.
type wring struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
	ended  chan struct{}
}

// start starts wring with a home of its own.
func (p programs) start(home string, args ...string) (*wring, error) {
	w := &wring{cmd: exec.Command(filepath.Join(p.dir, "wring"), args...), ended: make(chan struct{})}
	w.cmd.Env = append([]string{"HOME=" + home, "TMPDIR=" + home, "PATH=/usr/bin:/bin"}, p.env...)
	w.cmd.Stdout, w.cmd.Stderr = &w.stdout, &w.stderr
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = w.cmd.Wait()
		close(w.ended)
	}()
	return w, nil
}

// patience is how long anything may take that is to end by itself. A command
// that tries again waits half a minute before that.
const patience = 90 * time.Second

// wait waits for the end.
func (w *wring) wait() error {
	select {
	case <-w.ended:
	case <-time.After(patience):
		_ = w.cmd.Process.Kill()
		<-w.ended
		return fmt.Errorf("%v did not end by itself: %s", w.cmd.Args, &w.stderr)
	}
	if text := w.stderr.String(); strings.Contains(text, "panic:") || strings.Contains(text, "goroutine ") {
		return fmt.Errorf("%v panicked: %s", w.cmd.Args, text)
	}
	return nil
}

func (w *wring) running() bool {
	select {
	case <-w.ended:
		return false
	default:
		return true
	}
}

// answer is the result of a compaction.
type answer struct {
	Outcome, Reason, Error, Hint, Mode string
	ReclaimedBytes                     int64 `json:"reclaimed_bytes"`
}

// answer reads the result of a command that has ended; it has the status.
func (w *wring) answer() (a answer, status int, err error) {
	if err := w.wait(); err != nil {
		return a, 0, err
	}
	if err := json.Unmarshal(w.stdout.Bytes(), &a); err != nil || a.Outcome == "" {
		return a, 0, fmt.Errorf("%v says %q, %w; %s", w.cmd.Args, w.stdout.String(), err, &w.stderr)
	}
	return a, w.cmd.ProcessState.ExitCode(), nil
}

// plugin is the process of the plugin, or 0.
func (w *wring) plugin() int {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", w.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil {
				return pid
			}
		}
	}
	return 0
}

// until waits for a condition.
func until(what string, condition func() bool) error {
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func gone(pid int) func() bool {
	return func() bool { return errors.Is(syscall.Kill(pid, 0), unix.ESRCH) }
}

// Who is killed, at random times.
const (
	victimPlugin = "the plugin"
	victimHost   = "the host"
	victimBoth   = "both"
)

// killProcesses kills real hosts and plugins.
func (c *campaign) killProcesses() {
	p := c.build()
	// Large enough that it takes longer than it takes to look.
	large := []*subject{
		c.subject("large, append", bolttest.Spec{Shape: bolttest.ShapeAppend, LiveBytes: 12 << 20}),
		c.subject("large, nested", bolttest.Spec{Shape: bolttest.ShapeNested, LiveBytes: 8 << 20}),
	}
	const each = 40
	least := map[string]int{} // of the cases of each kind
	var cases []func()
	for _, victim := range []string{victimPlugin, victimHost, victimBoth} {
		ofCommand, ofHost := "killed at random: "+victim+" of wring compact FILE", "killed at random: "+victim+" of wring run"
		least[ofCommand], least[ofHost] = each/4, each/4
		if victim == victimPlugin {
			least[ofCommand] = each / 16
		}
		for i := range each {
			s := large[i%len(large)]
			name := fmt.Sprintf("%s, %d", s.name, i)
			cases = append(cases, func() {
				if victim == victimPlugin && i >= each/4 {
					return // the command waits long before it tries again
				}
				c.one(ofCommand, name, func(dir string, random *rand.Rand) error {
					return c.killCommand(ofCommand, p, dir, s, victim, random)
				})
			}, func() {
				c.one(ofHost, name, func(dir string, random *rand.Rand) error {
					return c.killHost(ofHost, p, dir, s, victim, random)
				})
			})
		}
	}
	c.parallel(cases)
	for kind, n := range least {
		c.enough(kind, n)
	}
}

// lay puts a store and a home into a directory.
func (s *subject) lay(dir string) (path, home string, err error) {
	home = filepath.Join(dir, "home")
	err = errors.Join(os.Mkdir(filepath.Join(dir, "db"), 0o700), os.Mkdir(home, 0o700))
	if err != nil {
		return "", "", err
	}
	path, err = s.put(filepath.Join(dir, "db"))
	return path, home, err
}

// strike kills a while after the plugin has begun with the store, for a command
// that may be the host itself. It returns the process of the plugin.
func (c *campaign) strike(kind string, host, command *wring, path, victim string, random *rand.Rand) (plugin int, err error) {
	lock := filepath.Join(filepath.Dir(path), ".a.db.wring.lock")
	if err := until("the plugin begins", func() bool {
		_, err := os.Lstat(lock)
		return err == nil || !command.running()
	}); err != nil {
		return 0, err
	}
	plugin = host.plugin()
	time.Sleep(time.Duration(random.Int64N(int64(80 * time.Millisecond)))) // the random time
	if plugin == 0 {
		return 0, errNoCase
	}
	if _, err := os.Lstat(lock); err != nil || !host.running() {
		return 0, errNoCase // it has ended
	}
	if temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".a.db.wring-*.tmp")); err == nil && len(temps) > 0 {
		c.note(kind, "with a new file beside the store")
	}
	if victim != victimPlugin {
		_ = host.cmd.Process.Kill()
	}
	if victim != victimHost {
		_ = syscall.Kill(plugin, syscall.SIGKILL)
	}
	return plugin, nil
}

// killCommand kills a compaction without a running host.
func (c *campaign) killCommand(kind string, p programs, dir string, s *subject, victim string, random *rand.Rand) error {
	path, home, err := s.lay(dir)
	if err != nil {
		return err
	}
	host, err := p.start(home, "compact", "--json", "--force", "--mode", [2]string{ModeRewrite, ModePunch}[random.IntN(2)], path)
	if err != nil {
		return err
	}
	plugin, err := c.strike(kind, host, host, path, victim, random)
	if err != nil {
		return errors.Join(err, host.wait())
	}
	if victim == victimPlugin {
		if a, status, err := host.answer(); err != nil || status != 0 {
			return fmt.Errorf("status %d, %+v, error %w", status, a, err)
		}
	}
	if err := errors.Join(host.wait(), until("the plugin ends", gone(plugin))); err != nil {
		return err
	}
	return c.check(path, s)
}

// killHost kills a running host, or its plugin, while a command waits for it.
func (c *campaign) killHost(kind string, p programs, dir string, s *subject, victim string, random *rand.Rand) error {
	path, home, err := s.lay(dir)
	if err != nil {
		return err
	}
	config, err := c.configure(home, path, "")
	if err != nil {
		return err
	}
	host, err := p.run(home, config)
	if err != nil {
		return err
	}
	command, err := p.start(home, "compact", "--json", "--force", "--config", config, "s")
	if err != nil {
		return err
	}
	plugin, err := c.strike(kind, host, command, path, victim, random)
	if err != nil {
		_ = host.cmd.Process.Signal(syscall.SIGTERM)
		return errors.Join(err, command.wait(), host.wait())
	}
	if err := command.wait(); err != nil {
		return err
	}
	if victim == victimPlugin {
		if a, status, err := command.answer(); err != nil || status != 0 {
			return fmt.Errorf("after the plugin was killed: status %d, %+v, %w", status, a, err)
		}
		if err := host.stop(); err != nil {
			return err
		}
	}
	if err := errors.Join(host.wait(), until("the plugin ends", gone(plugin))); err != nil {
		return err
	}
	if victim != victimPlugin {
		if err := p.sweep(home, config, path); err != nil {
			return err
		}
	}
	return c.check(path, s)
}

// sweep starts the next host, which removes what was left beside a store.
func (p programs) sweep(home, config, path string) error {
	next, err := p.run(home, config)
	if err != nil {
		return err
	}
	err = until("the next host sweeps", func() bool {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".a.db.wring*"))
		return err == nil && len(left) == 0
	})
	return errors.Join(err, next.stop())
}

// configure writes a configuration with one store, s.
func (c *campaign) configure(home, path, more string) (string, error) {
	config := filepath.Join(home, "wring.hcl")
	return config, os.WriteFile(config, fmt.Appendf(nil, `
data_dir = %q
defaults {
  start_delay = "1h"
  retry {
    attempts = 1
    delay    = "10ms"
  }
}
store "s" {
  plugin = "bolt"
  path   = %q
  %s
}
`, filepath.Join(home, "state"), path, more), 0o600)
}

// run starts a host and waits until it answers.
func (p programs) run(home, config string) (*wring, error) {
	host, err := p.start(home, "run", "--config", config)
	if err != nil {
		return nil, err
	}
	err = until("the host answers", func() bool {
		status := exec.Command(filepath.Join(p.dir, "wring"), "status", "--config", config)
		status.Env = host.cmd.Env
		return status.Run() == nil || !host.running()
	})
	if err != nil || !host.running() {
		_ = host.cmd.Process.Kill()
		<-host.ended
		return nil, fmt.Errorf("the host does not run: %w: %s", err, &host.stderr)
	}
	return host, nil
}

// stop asks a host to end.
func (w *wring) stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return w.wait()
}
