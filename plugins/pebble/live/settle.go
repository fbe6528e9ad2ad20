package live

import (
	"context"
	"fmt"
	"time"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

const (
	// settleEvery is how often it is looked at what Pebble does by itself.
	settleEvery = 20 * time.Millisecond
	// idleLooks is after how many looks without a change Pebble is left to itself:
	// 2 s where it does nothing else, and
	idleLooks = 100
	// busyLooks 30 s where it compacts, be it something else.
	busyLooks = 1500
)

// settle waits for Pebble to rewrite the tables of the lowest level that are
// thick with tombstones, which only its own compactions do.
func (c *compaction) settle(ctx context.Context) error {
	if c.passive {
		left, err := c.thick()
		if left > 0 {
			c.notes = append(c.notes, notePassive(left))
		}
		return err
	}
	left, err := c.wait(ctx, c.thick)
	if left > 0 {
		c.notes = append(c.notes, fmt.Sprintf("Pebble left %s of tables with tombstones", sdk.FormatBytes(left)))
	}
	return err
}

// thick is how many bytes of such tables there are.
func (c *compaction) thick() (int64, error) {
	tree, err := c.tree()
	if err != nil {
		return 0, err
	}
	return thickBytes(tree.Levels), nil
}

func thickBytes(levels [][]engine.Table) (bytes int64) {
	for _, t := range engine.ThickTables(levels) {
		bytes += t.Size
	}
	return bytes
}

func notePassive(bytes int64) string {
	return sdk.FormatBytes(bytes) + " of tables with tombstones stay: automatic compactions are off, and nothing else rewrites these"
}

// removed waits until the tables that were replaced are gone, as far as nobody
// holds them.
func (c *compaction) removed(ctx context.Context) error {
	_, err := c.wait(ctx, func() (int64, error) {
		if err := c.alive(); err != nil {
			return 0, err
		}
		return obsoleteBytes(c.db.Metrics()), nil
	})
	return err
}

// wait looks until no bytes are left, or until they have not become less for a
// while.
func (c *compaction) wait(ctx context.Context, look func() (int64, error)) (left int64, err error) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	first, least := int64(-1), int64(-1)
	for still := 0; ; still++ {
		if left, err = look(); err != nil || left == 0 {
			return left, err
		}
		if first < 0 {
			first, least = left, left
		}
		if left < least {
			least, still = left, 0
		}
		busy := c.db.Metrics().Compact.NumInProgress > 0
		if still >= busyLooks || still >= idleLooks && !busy {
			return left, nil
		}
		c.Tell("settle", first-least, first)
		select {
		case <-ctx.Done():
			return left, ctx.Err()
		case <-tick.C:
		}
	}
}
