//go:build linux

package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// interruptions lets the application cancel a compaction, close the store and
// panic, before each operation.
func (c *campaign) interruptions() {
	kinds := map[string]func(dir string, p part, site string) error{
		"cancelled": func(dir string, p part, site string) error {
			return c.inUse(dir, p, func(o *owner) error { return o.cancelledAt(site) })
		},
		"the application panics": func(dir string, p part, site string) error {
			return c.inUse(dir, p, func(o *owner) error { return o.panicsAt(site) })
		},
		"the store is closed": c.closedAt,
	}
	var cases []func()
	for _, way := range c.ways() {
		for v, p := range c.variants(way) {
			if !c.whole && (v == 0 || way == wayRename) {
				continue
			}
			for _, site := range c.sitesOf(way) {
				for kind, do := range kinds {
					cases = append(cases, func() {
						c.one(kind, fmt.Sprintf("%v, %s", p, site), func(dir string, _ *rand.Rand) error { return do(dir, p, site) })
					})
				}
			}
		}
	}
	c.parallel(cases)
}

// once does something when an operation is met for the first time.
func (o *owner) once(site string, do func()) (met *atomic.Bool) {
	met = new(atomic.Bool)
	o.hook = func(at string, _ replace.Op) error {
		if at == site && met.CompareAndSwap(false, true) {
			do()
		}
		return nil
	}
	return met
}

// cancelledAt cancels a compaction. It may have been too late.
func (o *owner) cancelledAt(site string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	met := o.once(site, cancel)
	err := o.compactMet(ctx, met)
	if !met.Load() || err != nil && !errors.Is(err, sdk.ErrCancelled) && !o.gaveUp(err) {
		return fmt.Errorf("met %v: %w", met.Load(), err)
	}
	return o.asIfNothing()
}

// asIfNothing makes sure that nothing is left, and compacts again.
func (o *owner) asIfNothing() error {
	if err := onlyStore(o.Path); err != nil {
		return err
	}
	_, err := o.compact()
	return err
}

// panicsAt lets transactions of the application panic, which may have to wait for
// the compaction first.
func (o *owner) panicsAt(site string) error {
	var panicking sync.WaitGroup
	panicked := make(chan any, 4)
	met := o.once(site, func() {
		fail := func(*bbolt.Tx) error { panic("of the application") }
		for _, run := range []func(func(*bbolt.Tx) error) error{o.db.Update, o.db.View, o.db.Batch} {
			panicking.Go(func() {
				defer func() { panicked <- recover() }()
				_ = run(fail)
			})
		}
	})
	err := o.compactMet(context.Background(), met)
	panicking.Wait()
	close(panicked)
	for p := range panicked {
		if p != "of the application" {
			return fmt.Errorf("a panic became %v", p)
		}
	}
	if !met.Load() || err != nil && !o.gaveUp(err) {
		return fmt.Errorf("met %v: %w", met.Load(), err)
	}
	return o.asIfNothing()
}

// closedAt closes the store in the middle of a compaction.
func (c *campaign) closedAt(dir string, p part, site string) error {
	s, err := lay(dir, p)
	if err != nil {
		return err
	}
	p.Path = s.path
	db, err := p.open()
	if err != nil {
		return err
	}
	o := &owner{part: p, campaign: c, db: db}
	closed := make(chan error, 1)
	met := o.once(site, func() {
		go func() { closed <- db.Close() }()
		<-db.quit
	})
	if err := o.begin(); err != nil {
		return errors.Join(err, db.Close())
	}
	err = o.compactMet(context.Background(), met)
	if !met.Load() {
		return errors.Join(fmt.Errorf("it did not come to the operation: %w", err), o.load.stop(), db.Close())
	}
	if err != nil && !errors.Is(err, sdk.ErrCancelled) && !o.gaveUp(err) {
		return fmt.Errorf("compaction: %w", err)
	}
	if err := <-closed; err != nil {
		return fmt.Errorf("close: %w", err)
	}
	_ = o.load.stop()
	for _, err := range o.load.failed {
		if !errors.Is(err, berrors.ErrDatabaseNotOpen) {
			return fmt.Errorf("the load: %w", err)
		}
	}
	if err := onlyStore(s.path); err != nil {
		return err
	}
	return c.check(s, p, o.load.made())
}
