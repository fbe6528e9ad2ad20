//go:build linux

package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// failure is how the disk fails.
type failure struct {
	name  string
	errno syscall.Errno
	// lasts says that every later operation fails, too.
	lasts bool
}

func (c *campaign) failures() []failure {
	all := []failure{
		{"ENOSPC", unix.ENOSPC, false},
		{"EIO from then on", unix.EIO, true},
		{"EROFS from then on", unix.EROFS, true},
		{"EIO", unix.EIO, false},
		{"EROFS", unix.EROFS, false},
		{"ENOSPC from then on", unix.ENOSPC, true},
	}
	if !c.whole {
		return all[:2]
	}
	return all
}

// faults lets each operation of a compaction fail in each way, while the store is
// in use.
func (c *campaign) faults() {
	var cases []func()
	for _, way := range c.ways() {
		for _, p := range c.variants(way) {
			if !c.whole && (p.NoSync != (way != wayExchange)) {
				continue
			}
			for i, f := range c.failures() {
				if !c.whole && way != wayPunch && p.NoSync == (i == 0) {
					continue
				}
				for _, site := range c.sitesOf(way) {
					kind := "fault: " + f.name
					cases = append(cases, func() {
						c.one(kind, fmt.Sprintf("%v, %s", p, site), func(dir string, random *rand.Rand) error {
							return c.inUse(dir, p, func(o *owner) error { return c.fault(kind, o, site, f, random) })
						})
					})
				}
			}
		}
	}
	c.parallel(cases)
}

// fault lets an operation fail, and then nothing any more.
func (c *campaign) fault(kind string, o *owner, site string, f failure, random *rand.Rand) error {
	var healthy, failed, swapped, again atomic.Bool
	var met struct {
		op      replace.Op
		swapped bool
	}
	o.hook = func(at string, next replace.Op) error {
		if healthy.Load() {
			return nil
		}
		if at == site && failed.CompareAndSwap(false, true) {
			met.op, met.swapped = next, swapped.Load()
			return f.of(next)
		}
		if failed.Load() && next.Kind == replace.OpCreate {
			again.Store(true)
		}
		if failed.Load() && f.lasts {
			return f.of(next)
		}
		if o.sites.swaps(next) {
			swapped.Store(true)
		}
		return nil
	}
	served := random.IntN(2) == 0
	err := o.until(failed.Load, func() error {
		swapped.Store(false)
		return o.compactServed(served)
	})
	healthy.Store(true)
	if !failed.Load() {
		return fmt.Errorf("it did not come to the operation; error %w", err)
	}
	if again.Load() && (err == nil || o.gaveUp(err)) {
		// The first copy was given up before the fault had any effect.
		c.note(kind, "faults in a copy that was given up", 1)
	} else if err := f.check(err, met.op, met.swapped, served); err != nil {
		return err
	}
	if err != nil && !met.swapped && !f.lasts {
		// Once the new file is in place, or when nothing can be removed, something
		// may be left for the next compaction.
		if err := onlyStore(o.Path); err != nil {
			return fmt.Errorf("after %w", err)
		}
	}
	result, err := o.compact()
	if err != nil {
		return fmt.Errorf("the next compaction: %w", err)
	}
	if !result.NoOp {
		c.note(kind, "compactions done afterwards", 1)
	}
	return nil
}

func (f failure) of(op replace.Op) error {
	return fmt.Errorf("%s %s: %w", op.Kind, op.Path, f.errno)
}

// check makes sure that what failed is said, in a kind that fits.
func (f failure) check(err error, op replace.Op, swapped, served bool) error {
	if err == nil {
		// What is tried again may succeed.
		if op.Kind == replace.OpSyncDir && swapped && !f.lasts {
			return nil
		}
		return errors.New("the fault made no error")
	}
	if !strings.Contains(err.Error(), f.errno.Error()) || !strings.Contains(err.Error(), "compact ") {
		return fmt.Errorf("the error does not say what failed: %w", err)
	}
	want := sdk.ErrInternal
	switch {
	case swapped:
	case f.errno == unix.EROFS:
		want = sdk.ErrPermission
	case f.errno == unix.ENOSPC:
		want = sdk.ErrNoSpace
	case !served:
		return nil // what is not told apart gets its kind from whoever serves it
	}
	if !errors.Is(err, want) || !errors.Is(want, sdk.ErrInternal) && sdk.HintOf(err) == "" {
		return fmt.Errorf("the error is not of kind %w, or has no hint (%q): %w", want, sdk.HintOf(err), err)
	}
	return nil
}

// compactServed compacts as Serve does, or as the application itself.
func (o *owner) compactServed(served bool) error {
	if !served {
		_, err := o.compact()
		return err
	}
	b, err := New(Store{DB: o.db})
	if err != nil {
		return err
	}
	if err := litter(o.db); err != nil {
		return err
	}
	o.sites.reset()
	_, err = sdk.Guard(b).Compact(context.Background(), sdk.CompactRequest{
		Store: sdk.Store{Path: o.Path}, Mode: o.compactOptions().Mode,
	}, func(sdk.Progress) {})
	return err
}
