//go:build linux

package live

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// owner is an application in this process that has a store open.
type owner struct {
	part
	campaign *campaign
	db       *DB
	load     *load
	// hook is called before each operation of a compaction; may be nil.
	hook func(site string, op replace.Op) error

	sites sites
}

// begin starts the load.
func (o *owner) begin() (err error) {
	o.sites.way, o.sites.path = o.Way, o.db.path
	o.db.hook = o.sites.hook(func(site string, op replace.Op) error {
		if o.hook != nil {
			return o.hook(site, op)
		}
		return nil
	})
	o.load, err = startLoad(o.db, nil)
	return err
}

// inProcess is the kind under which is counted what happens in this process.
const inProcess = "in the campaign's own process"

// compact makes free pages and compacts. A compaction may give up when the machine
// is busy with other things: it is made again.
func (o *owner) compact() (result sdk.CompactResult, err error) {
	const tries = 10
	for range tries {
		if err := litter(o.db); err != nil {
			return result, err
		}
		o.sites.reset()
		result, err = o.db.Compact(context.Background(), o.compactOptions())
		if !o.gaveUp(err) {
			break
		}
	}
	return result, err
}

// gaveUp says whether a compaction did, for no reason of the campaign's.
func (o *owner) gaveUp(err error) bool {
	if !errors.Is(err, sdk.ErrBusy) {
		return false
	}
	o.campaign.note(inProcess, "compactions given up", 1)
	return true
}

// compactMet compacts until an operation is met.
func (o *owner) compactMet(ctx context.Context, met *atomic.Bool) error {
	return o.until(met.Load, func() error {
		if err := litter(o.db); err != nil {
			return err
		}
		o.sites.reset()
		_, err := o.db.Compact(ctx, o.compactOptions())
		return err
	})
}

// inUse does something with a store that is in use. Whatever that is, the
// application must not notice, and find all that it has written afterwards.
func (c *campaign) inUse(dir string, p part, do func(o *owner) error) error {
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
	if err := o.begin(); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := errors.Join(do(o), o.load.stop(), db.Close()); err != nil {
		return err
	}
	c.note(inProcess, "snapshots that readers looked at", int(o.load.reads.Load()))
	c.note(inProcess, "of which the file was replaced meanwhile", int(o.load.old.Load()))
	return c.check(s, p, o.load.made())
}

// until compacts again until an operation is met: how many holes there are to
// make depends on what the writers do.
func (o *owner) until(met func() bool, compact func() error) error {
	const tries = 10
	for range tries {
		if err := compact(); met() || err != nil && !o.gaveUp(err) {
			return err
		}
	}
	return nil
}
