//go:build linux

package live

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/wringdb/wring/sdk"
)

// reportsThatPanic lets each of the first reports of progress panic.
func (c *campaign) reportsThatPanic() {
	const kind, reports = "the report of progress panics", 8
	var cases []func()
	for _, way := range c.ways() {
		if way == wayRename {
			continue
		}
		for report := range reports {
			p := part{Way: way, NoSync: true}
			cases = append(cases, func() {
				c.one(kind, fmt.Sprintf("%v, report %d", p, report), func(dir string, _ *rand.Rand) error {
					return c.inUse(dir, p, func(o *owner) error { return o.reportPanics(report) })
				})
			})
		}
	}
	c.parallel(cases)
}

// reportPanics lets a report of progress panic. Whatever becomes of the panic,
// nothing may be left behind.
func (o *owner) reportPanics(at int) (err error) {
	if err := litter(o.db); err != nil {
		return err
	}
	reports := 0
	options := o.compactOptions()
	options.Report = func(sdk.Progress) {
		if reports++; reports == at+1 {
			panic("of the report")
		}
	}
	func() {
		defer func() {
			if p := recover(); p != nil && p != "of the report" {
				err = fmt.Errorf("the panic became %v", p)
			}
		}()
		_, _ = o.db.Compact(context.Background(), options)
	}()
	if err != nil || reports <= at {
		return fmt.Errorf("%d reports: %w", reports, err)
	}
	return o.asIfNothing()
}
