package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// slowRate lets a compaction of the stores below take a second or so, in bytes per
// second: long enough that a kill at a random time hits any part of it.
const slowRate = 8 << 20

// killAtRandomTimes kills real hosts and plugins.
func (c *campaign) killAtRandomTimes() {
	if c.only != "" && !strings.HasPrefix(c.only, "killed at random") {
		return
	}
	dir := c.build()
	spec := pebbletest.Spec{Seed: c.seed, LiveBytes: 1 << 20, FilterBits: 10, RangeKeys: 3, Adjust: tablesOf(64 << 10)}
	var large []*subject
	for _, shape := range []pebbletest.Shape{pebbletest.Patches, pebbletest.Churn, pebbletest.Bottom, pebbletest.Held} {
		spec.Shape, spec.LeaveInLog = shape, shape == pebbletest.Churn
		large = append(large, c.subject("large "+string(shape), spec))
	}
	const ofPlugin, ofHost, ofBoth = "killed at random: a plugin", "killed at random: a host", "killed at random: a host and its plugin"
	const plugins, hosts = 30, 6 // of each store
	var cases []func()
	for _, s := range large {
		took := map[string]time.Duration{}
		for _, mode := range s.modes {
			var err error
			if took[mode], err = c.undisturbed(dir, s, mode); err != nil {
				c.t.Fatalf("%s: %v", s.name, err)
			}
		}
		for i := range plugins {
			mode := s.modes[i%len(s.modes)]
			cases = append(cases, func() {
				c.one(ofPlugin, fmt.Sprintf("%s, %d", s.name, i), func(in string, random *rand.Rand) (met, error) {
					return c.killPlugin(ofPlugin, dir, in, s, mode, took[mode], random)
				})
			})
		}
		for i := range hosts {
			for _, kind := range []string{ofHost, ofBoth} {
				cases = append(cases, func() {
					c.one(kind, fmt.Sprintf("%s, %d", s.name, i), func(in string, random *rand.Rand) (met, error) {
						return c.killHost(kind, dir, in, s, took[modeRanges], kind == ofBoth, random)
					})
				})
			}
		}
	}
	c.parallel(cases)
	kills := func(n *count) int { return n.kills }
	c.enough(ofPlugin, plugins*len(large)/2, kills)
	c.enough(ofHost, hosts*len(large)/2, kills)
	c.enough(ofBoth, hosts*len(large)/2, kills)
}

// build makes the host and the plugin, as users have them.
func (c *campaign) build() (dir string) {
	dir = filepath.Join(c.scratch, "bin")
	for name, pkg := range map[string]string{
		"wring":               "github.com/wringdb/wring/cmd/host",
		"wring-plugin-pebble": "github.com/wringdb/wring/plugins/pebble/cmd/wring-plugin-pebble",
	} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput(); err != nil {
			c.t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// launch starts a plugin.
func launch(programs string, stderr io.Writer) (*sdk.Process, error) {
	return sdk.Launch(context.Background(), sdk.LaunchConfig{
		Path: filepath.Join(programs, "wring-plugin-pebble"), Stderr: stderr, StartTimeout: patience, HostVersion: "torture",
	})
}

func slowly(process *sdk.Process, path, mode string, report func(sdk.Progress)) error {
	_, err := process.Client().Compact(context.Background(), sdk.CompactRequest{
		Store: sdk.Store{Path: path}, Mode: mode, Limits: sdk.Limits{BytesPerSecond: slowRate},
	}, report)
	return err
}

// undisturbed is how long a compaction takes that is left alone.
func (c *campaign) undisturbed(programs string, s *subject, mode string) (took time.Duration, err error) {
	err = c.try("undisturbed", func(dir string, _ *rand.Rand) error {
		path, err := s.put(dir)
		if err != nil {
			return err
		}
		process, err := launch(programs, io.Discard)
		if err != nil {
			return err
		}
		defer process.Stop(context.Background())
		began := time.Now()
		err = slowly(process, path, mode, func(sdk.Progress) {})
		took = time.Since(began)
		return err
	})
	return took, err
}

// killPlugin kills a plugin at a random time of a compaction.
func (c *campaign) killPlugin(kind, programs, dir string, s *subject, mode string, took time.Duration, random *rand.Rand) (came met, err error) {
	path, err := s.put(dir)
	if err != nil {
		return came, err
	}
	process, err := launch(programs, io.Discard)
	if err != nil {
		return came, err
	}
	defer process.Stop(context.Background())
	var phase atomic.Value
	phase.Store("start")
	ended := make(chan error, 1)
	go func() {
		ended <- slowly(process, path, mode, func(p sdk.Progress) { phase.Store(p.Phase) })
	}()
	select {
	case <-time.After(time.Duration(random.Int64N(int64(took)))): // the random time
		if err := syscall.Kill(process.PID(), syscall.SIGKILL); err != nil {
			return came, err
		}
		<-process.Exited()
		err = <-ended
	case err = <-ended:
	}
	switch {
	case errors.Is(err, sdk.ErrConnection):
		came.kills = 1
		c.note(kind, fmt.Sprintf("%s, in phase %s", mode, phase.Load()))
	case err != nil:
		return came, err
	default:
		c.note(kind, "ended before")
	}
	return came, c.check(path, s, random)
}

// killHost kills a host at a random time of a compaction that it has begun by
// itself, and its plugin with it, or the plugin has to notice.
func (c *campaign) killHost(kind, programs, dir string, s *subject, took time.Duration, both bool, random *rand.Rand) (came met, err error) {
	path, err := s.put(dir)
	if err != nil {
		return came, err
	}
	home, err := os.MkdirTemp("", "wring") // a socket's name must be short
	if err != nil {
		return came, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	config := filepath.Join(home, "wring.hcl")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
data_dir = %q
defaults {
  start_delay = "0s"
  threshold {
    fragmentation = "1%%"
    min_reclaim   = "1B"
  }
}
store "s" {
  plugin = "pebble"
  path   = %q
  limit  = "%dB/s"
}
`, filepath.Join(home, "state"), path, slowRate), 0o600); err != nil {
		return came, err
	}
	host := exec.Command(filepath.Join(programs, "wring"), "run", "--config", config)
	var stderr bytes.Buffer
	host.Stdout, host.Stderr = &stderr, &stderr
	host.Env = []string{"HOME=" + home, "TMPDIR=" + home, "PATH=/usr/bin:/bin"}
	if err := host.Start(); err != nil {
		return came, err
	}
	plugin, err := lockedBy(path)
	if err == nil {
		time.Sleep(time.Duration(random.Int64N(int64(took)))) // the random time
		if now, err := holderOf(path); err == nil && now == plugin {
			came.kills = 1
		}
	}
	_ = host.Process.Kill()
	if both && plugin != 0 && came.kills == 1 {
		_ = syscall.Kill(plugin, syscall.SIGKILL)
	}
	_ = host.Wait() // it was killed
	if err == nil {
		err = until("the plugin ends", func() bool { return errors.Is(syscall.Kill(plugin, 0), syscall.ESRCH) })
	}
	if err != nil {
		return came, fmt.Errorf("%w: %s", err, &stderr)
	}
	if came.kills == 0 {
		c.note(kind, "ended before")
	}
	return came, c.check(path, s, random)
}

// lockedBy waits until a process compacts the store, and returns its number.
func lockedBy(path string) (pid int, err error) {
	err = until("a compaction begins", func() (begun bool) {
		pid, err = holderOf(path)
		return err == nil
	})
	return pid, err
}

// holderOf is the process that the lock file names, which comes and goes with a
// compaction.
func holderOf(path string) (pid int, err error) {
	text, err := os.ReadFile(filepath.Join(path, engine.HostLock))
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(string(text), " ")
	return strconv.Atoi(word)
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
