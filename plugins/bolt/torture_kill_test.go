//go:build linux

package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// indices are those of a list, or a sample of them with the first and the last
// where the list is long.
func indices(n, atMost int, random *rand.Rand) []int {
	if n <= atMost {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all
	}
	return append([]int{0, n - 1}, random.Perm(n - 2)[:atMost-2]...)
}

// mostOperations are tried of one compaction: mode punch makes many holes that
// are alike.
const mostOperations = 24

// killAtOperations kills the process that compacts before each operation.
func (c *campaign) killAtOperations() {
	const kind = "killed before an operation"
	c.each(func(s *subject, mode string, ops []replace.Op) (cases []func()) {
		random := rand.New(rand.NewPCG(c.seed, 0))
		for _, at := range indices(len(ops), mostOperations, random) {
			name := fmt.Sprintf("%s, %s, before %d %s", s.name, mode, at, ops[at].Kind)
			cases = append(cases, func() {
				c.one(kind, name, func(dir string, _ *rand.Rand) error {
					path, err := s.put(dir)
					if err != nil {
						return err
					}
					if err := killed(roleCompact, mode, at, path); err != nil {
						return err
					}
					return c.check(path, s)
				})
			})
		}
		return cases
	})
}

// killed plays a role that is to be killed.
func killed(role, mode string, at int, path string) error {
	err := perform(fmt.Sprintf("%s %s %d", role, mode, at), path)
	if err == nil {
		return errNotKilled
	}
	if !wasKilled(err) {
		return err
	}
	return nil
}

// errNotKilled is a process that ended before it was to be killed.
var errNotKilled = errors.New("it was not killed")

// killSweeps kills a compaction, and then the sweep after it before each of its
// operations.
func (c *campaign) killSweeps() {
	const kind = "killed, and so was the sweep"
	c.each(func(s *subject, mode string, ops []replace.Op) (cases []func()) {
		if mode == ModePunch {
			return nil // which leaves nothing to sweep
		}
		for at, op := range ops {
			if !c.whole && op.Kind != replace.OpPoison {
				continue
			}
			cases = append(cases, func() {
				more := true
				for sweepAt := 0; more; sweepAt++ {
					name := fmt.Sprintf("%s, %s, before %d %s, sweep before %d", s.name, mode, at, op.Kind, sweepAt)
					c.one(kind, name, func(dir string, _ *rand.Rand) error {
						path, err := s.put(dir)
						if err == nil {
							err = killed(roleCompact, mode, at, path)
						}
						if err == nil {
							err = killed(roleSweep, "-", sweepAt, path)
						}
						more = err == nil
						if errors.Is(err, errNotKilled) {
							return errNoCase
						}
						if err != nil {
							return err
						}
						return c.check(path, s)
					})
				}
			})
		}
		return cases
	})
	c.enough(kind, len(c.subjects))
}
