package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
)

// killAtOperations kills the process that compacts before each operation that
// changes something, after it and, where it writes, within it.
func (c *campaign) killAtOperations() {
	var cases []func()
	kinds := map[string]int{}
	c.each(func(s *subject, mode string, r *run) {
		changes := those(r.ops, faultfs.Op.Changes)
		for _, at := range c.numbers(len(changes), 100, 4) {
			for _, when := range c.moments(changes[at-1], at) {
				kind := fmt.Sprintf("%s, killed %s an operation", mode, when)
				kinds[kind]++
				cases = append(cases, func() {
					c.one(kind, fmt.Sprintf("%s, %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
						return c.kill(kind, dir, s, strike{At: at, Mode: mode, Kill: when, Share: random.Float64()}, random)
					})
				})
			}
		}
	})
	c.parallel(cases)
	for kind, n := range kinds {
		c.enough(kind, n*2/3, func(n *count) int { return n.kills })
	}
}

// moments of a kill at an operation: all of them in the whole campaign, and in a
// slice of it one after the other.
func (c *campaign) moments(op faultfs.Op, at int) []moment {
	all := []moment{killBefore, killAfter}
	if op.Kind == faultfs.Write {
		all = append(all, killWithin)
	}
	if c.whole {
		return all
	}
	return all[at%len(all):][:1]
}

func (c *campaign) kill(kind, dir string, s *subject, at strike, random *rand.Rand) (came met, err error) {
	path, err := s.put(dir)
	if err != nil {
		return came, err
	}
	if came.kills, err = c.killedOnce(kind, path, at); err != nil {
		return came, err
	}
	return came, c.check(path, s, random)
}

// killedOnce compacts and is killed, mostly.
func (c *campaign) killedOnce(kind, path string, at strike) (kills int, err error) {
	a, err := at.meet(path)
	switch {
	case errors.Is(err, errNotMet):
		c.note(kind, "ended before")
		return 0, a.check(at)
	case err != nil:
		return 0, err
	}
	return 1, nil
}

// killAgain kills compactions that find what one before left that was killed.
func (c *campaign) killAgain() {
	const kind = "killed, and so were the next"
	each := 1
	if c.whole {
		each = 10
	}
	const times = 3
	var cases []func()
	c.each(func(s *subject, first string, _ *run) {
		for i := range each {
			cases = append(cases, func() {
				c.one(kind, fmt.Sprintf("%s, %s, %d", s.name, first, i), func(dir string, random *rand.Rand) (came met, err error) {
					path, err := s.put(dir)
					mode := first
					for n := 0; n < times && err == nil; n++ {
						var kills int
						kills, err = c.killedOnce(kind, path, strike{
							At:   1 + random.IntN(len(those(s.runs[mode].ops, faultfs.Op.Changes))),
							Mode: mode, Kill: []moment{killBefore, killWithin, killAfter}[random.IntN(3)], Share: random.Float64(),
						})
						came.kills += kills
						mode = s.modes[random.IntN(len(s.modes))]
					}
					if err != nil {
						return came, err
					}
					return came, c.check(path, s, random)
				})
			})
		}
	})
	c.parallel(cases)
	c.enough(kind, len(cases), func(n *count) int { return n.kills })
}
