package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/sdk"
)

// fault is how the disk fails.
type fault struct {
	name  string
	errno syscall.Errno
	// lasts says that every later operation fails, too.
	lasts bool
	// short says that a part of what is to be written gets written.
	short bool
}

// faults lets each operation fail that is more than a look, in each way.
func (c *campaign) faults() {
	faults := []fault{
		{"ENOSPC", syscall.ENOSPC, false, false},
		{"ENOSPC from then on", syscall.ENOSPC, true, false},
		{"EIO", syscall.EIO, false, false},
		{"EIO from then on", syscall.EIO, true, false},
		{"a short write", syscall.ENOSPC, false, true},
		{"a short write, and ENOSPC from then on", syscall.ENOSPC, true, true},
	}
	var cases []func()
	kinds := map[string]bool{}
	c.each(func(s *subject, mode string, r *run) {
		ops := those(r.ops, func(op faultfs.Op) bool { return !op.Reads() })
		for i, at := range c.numbers(len(ops), 24, 4) {
			for j, f := range faults {
				if f.short && ops[at-1].Kind != faultfs.Write || !c.whole && (i+j)%len(faults) > 1 {
					continue
				}
				kind := mode + ", fault: " + f.name
				kinds[kind] = true
				cases = append(cases, func() {
					c.one(kind, fmt.Sprintf("%s, %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
						strike := strike{At: at, Mode: mode, Errno: f.errno, Lasts: f.lasts}
						if f.short {
							strike.Share = random.Float64()
						}
						return c.fault(kind, dir, s, strike, random)
					})
				})
			}
		}
	})
	c.parallel(cases)
	for kind := range kinds {
		c.enough(kind, 1, func(n *count) int { return n.faults })
	}
}

// faultsOfReads lets looks fail, of a compaction and of a measurement.
func (c *campaign) faultsOfReads() {
	var cases []func()
	kinds := map[string]bool{}
	of := func(s *subject, mode, work string, ops []faultfs.Op) {
		for _, lasts := range []bool{false, true} {
			kind := work + ", fault of a read: EIO"
			if lasts {
				kind += " from then on"
			}
			kinds[kind] = true
			for _, at := range c.numbers(len(those(ops, faultfs.Op.Reads)), 16, 2) {
				cases = append(cases, func() {
					c.one(kind, fmt.Sprintf("%s, %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
						return c.fault(kind, dir, s, strike{At: at, Reads: true, Mode: mode, Errno: syscall.EIO, Lasts: lasts}, random)
					})
				})
			}
		}
	}
	for _, s := range c.subjects {
		of(s, "", "measured", s.looks)
	}
	c.each(func(s *subject, mode string, r *run) { of(s, mode, mode, r.ops) })
	c.parallel(cases)
	for kind := range kinds {
		c.enough(kind, 1, func(n *count) int { return n.faults })
	}
}

func (c *campaign) fault(kind, dir string, s *subject, at strike, random *rand.Rand) (came met, err error) {
	path, err := s.put(dir)
	if err != nil {
		return came, err
	}
	a, err := at.meet(path)
	switch {
	case errors.Is(err, errNotMet):
		c.note(kind, "ended before")
	case err != nil:
		return came, err
	default:
		came.faults = 1
		if a.Failure.Message == "" {
			c.note(kind, "went on all the same")
		}
		if a.Failure.stuck() {
			c.note(kind, "held until the process ends")
		}
	}
	if err := a.check(at); err != nil {
		return came, fmt.Errorf("at %q: %w", a.Met, err)
	}
	if err := c.check(path, s, random); err != nil {
		return came, fmt.Errorf("at %q: %w", a.Met, err)
	}
	return came, nil
}

// check makes sure that a fault is told as what it is, and that the process can go
// on once it is over, or says that it cannot.
func (a account) check(at strike) error {
	switch want := map[syscall.Errno]error{syscall.ENOSPC: sdk.ErrNoSpace, syscall.EIO: sdk.ErrInternal}[at.Errno]; {
	case a.Failure.Message == "" && at.Reads && at.Lasts && a.Met != "":
		return errors.New("no read succeeds, and there is no error")
	case a.Failure.Message == "":
	case a.Met == "":
		return fmt.Errorf("there was no fault, and it failed: %+v", a.Failure)
	case a.Failure.is(sdk.ErrInternal) && strings.Contains(a.Failure.Message, "was written anew and replaced"):
		// What failed came too late to leave the store as it was.
	case !a.Failure.is(want), a.Failure.Hint == "", !strings.Contains(a.Failure.Message, at.Errno.Error()):
		return fmt.Errorf("told as %+v, want %w with a hint", a.Failure, want)
	}
	if a.Measured.Message != "" {
		return fmt.Errorf("measured afterwards: %+v", a.Measured)
	}
	held := a.Failure.stuck() && a.After.is(sdk.ErrBusy)
	if a.After.Message != "" && !held {
		return fmt.Errorf("after %+v another compaction: %+v", a.Failure, a.After)
	}
	return nil
}
