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
	for _, s := range c.subjects {
		changes := those(s.ops, faultfs.Op.Changes)
		for _, at := range c.numbers(len(changes), 150, 6) {
			for _, when := range c.moments(changes[at-1], at) {
				kind := fmt.Sprintf("killed %s an operation", when)
				kinds[kind]++
				cases = append(cases, func() {
					c.one(kind, fmt.Sprintf("%s, %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
						return c.kill(kind, dir, s, strike{At: at, Kill: when, Share: random.Float64()}, random)
					})
				})
			}
		}
	}
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
	each := 2
	if c.whole {
		each = 16
	}
	const times = 3
	var cases []func()
	for _, s := range c.subjects {
		changes := len(those(s.ops, faultfs.Op.Changes))
		for i := range each {
			cases = append(cases, func() {
				c.one(kind, fmt.Sprintf("%s, %d", s.name, i), func(dir string, random *rand.Rand) (came met, err error) {
					path, err := s.put(dir)
					for n := 0; n < times && err == nil; n++ {
						var kills int
						kills, err = c.killedOnce(kind, path, strike{
							At:   1 + random.IntN(changes),
							Kill: []moment{killBefore, killWithin, killAfter}[random.IntN(3)], Share: random.Float64(),
						})
						came.kills += kills
					}
					if err != nil {
						return came, err
					}
					return came, c.check(path, s, random)
				})
			})
		}
	}
	c.parallel(cases)
	c.enough(kind, len(cases), func(n *count) int { return n.kills })
}
