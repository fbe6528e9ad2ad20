//go:build linux

package live

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// noteKills is what kills are counted under.
const noteKills = "kills"

// variants of a store and of what compacts it. Of a kill, one that does not sync
// loses nothing either.
func (c *campaign) variants(way string) []part {
	all := []part{{Way: way}, {Way: way, NoSync: true}}
	if c.whole && way != wayPunch {
		all = append(all, part{Way: way, NoFreelistSync: true, VerifyFull: true})
	}
	return all
}

func (p part) String() string {
	text := p.Way
	if p.NoSync {
		text += ", not synced"
	}
	if p.NoFreelistSync {
		text += ", no freelist, verified in full"
	}
	return text
}

// history makes cases one after the other with the same store, of one variant.
func (c *campaign) history(kind string, p part, n int, next func(s *subject, i int, random *rand.Rand) error) func() {
	return func() {
		i := 0
		for i < n {
			_ = c.try(fmt.Sprintf("%s/%v/%d", kind, p, i), func(dir string, random *rand.Rand) error {
				s, err := lay(dir, p)
				for ; i < n; i++ {
					failed := false
					c.one(kind, fmt.Sprintf("%v, %d", p, i), func(string, *rand.Rand) error {
						if err == nil {
							err = next(s, i, random)
						}
						failed = err != nil
						return err
					})
					if failed {
						i++
						break // with a new store
					}
				}
				return nil
			})
		}
	}
}

// killAtSites kills an application before each operation of a compaction.
func (c *campaign) killAtSites() {
	times := 1
	if c.whole {
		times = 6
	}
	var cases []func()
	for _, way := range c.ways() {
		for v, p := range c.variants(way) {
			sites := c.sites[way]
			if !c.whole && v > 0 {
				sites = []string{sites[v%len(sites)], sites[len(sites)-1]}
			}
			kind := "killed before an operation, " + way
			cases = append(cases, c.history(kind, p, times*len(sites), func(s *subject, i int, random *rand.Rand) error {
				p := p
				p.Site, p.Nth = sites[i%len(sites)], 1+random.IntN(3)
				return c.kill(kind, s, p, nil)
			}))
		}
	}
	c.parallel(cases)
}

// killAtRandom kills an application at any time.
func (c *campaign) killAtRandom() {
	times := 3
	if c.whole {
		times = 70
	}
	var cases []func()
	for _, way := range c.ways() {
		for _, p := range c.variants(way) {
			kind := "killed at random, " + way
			cases = append(cases, c.history(kind, p, times, func(s *subject, _ int, random *rand.Rand) error {
				return c.kill(kind, s, p, func() { time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond)))) })
			}))
		}
	}
	c.parallel(cases)
}

// kill starts an application that owns the store, and looks at the store when it
// has been killed: by itself, or by us after a delay.
func (c *campaign) kill(kind string, s *subject, p part, delay func()) error {
	p.Role, p.Path = roleOwner, s.path
	q, err := p.start(s.counts)
	if err != nil {
		return err
	}
	if delay != nil {
		err = q.heard("ready")
		delay()
		_ = q.cmd.Process.Kill()
	}
	if err := errors.Join(err, c.ended(kind, s, q, delay != nil)); err != nil {
		return err
	}
	return c.check(s, p, q.acknowledged)
}

// ended waits until a process that is killed has ended.
func (c *campaign) ended(kind string, s *subject, q *process, where bool) error {
	killed, err := q.wait()
	if err != nil || !killed {
		return fmt.Errorf("killed %v at %q: %w", killed, q.last, err)
	}
	s.kills++
	c.note(kind, noteKills, 1)
	c.tell(kind, s, q, where)
	return nil
}

// killAgain kills an application before an operation, and once more while it
// starts again, when it may be about to clean up.
func (c *campaign) killAgain() {
	const kind = "killed before an operation, and again when it started"
	times := 1
	if c.whole {
		times = 3
	}
	var cases []func()
	for _, way := range []string{wayExchange, wayRename} {
		sites := c.sitesOf(way)
		for v, p := range c.variants(way) {
			if !c.whole && (v > 0 || way == wayRename) {
				continue
			}
			cases = append(cases, c.history(kind, p, times*len(sites), func(s *subject, i int, random *rand.Rand) error {
				p := p
				p.Role, p.Path, p.Site, p.Nth = roleOwner, s.path, sites[i%len(sites)], 1
				first, err := p.start(s.counts)
				if err != nil {
					return err
				}
				if err := c.ended(kind, s, first, false); err != nil {
					return err
				}
				p.Site = ""
				again, err := p.start(first.acknowledged)
				if err != nil {
					return err
				}
				time.Sleep(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
				_ = again.cmd.Process.Kill()
				if err := c.ended(kind, s, again, false); err != nil {
					return err
				}
				if again.said["ready"] == 0 {
					c.note(kind, "killed before it was ready", 1)
				}
				return c.check(s, p, again.acknowledged)
			}))
		}
	}
	c.parallel(cases)
}

// tell counts what an application has done.
func (c *campaign) tell(kind string, s *subject, q *process, where bool) {
	for outcome, n := range q.outcomes {
		c.note(kind, "compactions "+outcome, n)
	}
	c.note(kind, "commits acknowledged", q.said["acknowledged"])
	if where {
		c.note(kind, fmt.Sprintf("after %q", q.last), 1)
	}
}
