//go:build linux

package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// killHostsAtOperations kills a real host before each operation of its plugin, which
// finds out by itself, and both of them.
func (c *campaign) killHostsAtOperations() {
	p := c.build()
	executable, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cases := 0
	c.each(func(s *subject, mode string, ops []replace.Op) (all []func()) {
		if mode == rewriteRename || s.name != "append" && s.name != "nested" && s.name != "random without freelist" {
			return nil
		}
		random := rand.New(rand.NewPCG(c.seed, 1))
		for _, at := range indices(len(ops), mostOperations, random) {
			for _, victim := range []string{strikeHost, strikeBoth} {
				kind := "killed before an operation: the host"
				if victim == strikeBoth {
					kind = "killed before an operation: host and plugin"
				}
				cases++
				all = append(all, func() {
					c.one(kind, fmt.Sprintf("%s, %s, before %d %s", s.name, mode, at, ops[at].Kind), func(dir string, _ *rand.Rand) error {
						struck := p
						struck.env = []string{fmt.Sprintf("%s=%s %s %d", roleVariable, roleServe, victim, at)}
						return c.killHostAt(struck, p, executable, dir, s, mode)
					})
				})
			}
		}
		return all
	})
	c.enough("killed before an operation: the host", cases/4)
	c.enough("killed before an operation: host and plugin", cases/4)
}

// killHostAt lets a host whose plugin strikes compact a store, and the next one see
// what is left.
func (c *campaign) killHostAt(struck, p programs, executable, dir string, s *subject, mode string) error {
	path, home, err := s.lay(dir)
	if err != nil {
		return err
	}
	config, err := c.configure(home, path, "")
	if err != nil {
		return err
	}
	striking := filepath.Join(home, "striking.hcl")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	text = fmt.Appendf(text, "plugin \"bolt\" {\n  command = %q\n  env     = [%q]\n}\n", executable, roleVariable)
	if err := os.WriteFile(striking, text, 0o600); err != nil {
		return err
	}
	host, err := struck.run(home, striking)
	if err != nil {
		return err
	}
	command, err := p.start(home, "compact", "--json", "--force", "--mode", mode, "--config", striking, "s")
	if err != nil {
		return err
	}
	var plugin int
	if err := until("the plugin begins", func() bool {
		plugin = max(plugin, host.plugin())
		return plugin != 0 || !command.running()
	}); err != nil {
		return err
	}
	if err := command.wait(); err != nil {
		return err
	}
	if !command.cmd.ProcessState.Success() && !host.running() {
		err = errors.Join(host.wait(), until("the plugin ends", func() bool { return plugin == 0 || gone(plugin)() }))
		if err == nil {
			err = p.sweep(home, config, path)
		}
		if err == nil {
			err = c.check(path, s)
		}
		return err
	}
	// It had fewer operations than were counted, as the host asks for less.
	return errors.Join(errNoCase, host.stop())
}
