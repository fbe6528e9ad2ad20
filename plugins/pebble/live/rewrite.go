package live

import (
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// heldShare is the part of what a snapshot covers that the application may write
// before the snapshot is given up.
const heldShare = 4

// work is what a compaction has to do.
type work struct {
	windows []engine.Window
}

func (w work) empty() bool { return len(w.windows) == 0 }

func (c *compaction) work(tree *engine.Tree) work {
	chunk := c.largestStep
	if rate := c.pace.Rate(); rate > 0 {
		chunk = min(chunk, max(leastStepBytes, rate))
	}
	return work{tree.Windows(chunk, false)}
}

// choose leaves steps out that are not worth their writing, where there are many.
func (c *compaction) choose(ctx context.Context, tree *engine.Tree, w work) (passed int64, err error) {
	var bytes int64
	for _, next := range w.windows {
		bytes += next.StepBytes()
	}
	if bytes <= engine.SelectSteps*c.largestStep {
		return 0, nil
	}
	c.Tell("select", 0, 0)
	return tree.Select(ctx, w.windows)
}

// rest is what is left of the work after so many steps: windows with steps to be
// done, and those that wait for Pebble.
func (w work) rest(done int) (rest work) {
	for _, next := range w.windows {
		taken := min(done, len(next.Steps))
		done -= taken
		next.Steps = next.Steps[taken:]
		if !next.Compactable() || len(next.Steps) > 0 {
			rest.windows = append(rest.windows, next)
		}
	}
	return rest
}

func (w work) steps() (steps []engine.KeyRange) {
	for _, next := range w.windows {
		steps = append(steps, next.Steps...)
	}
	return steps
}

// rewrite does the work in rounds, each under a snapshot of its own. There is no
// verification where the application has cut content out meanwhile.
func (c *compaction) rewrite(ctx context.Context, w work) (*sdk.Verification, error) {
	r := &rewriting{
		compaction: c,
		before:     engine.NewSum(c.comparer.Compare, renewBytes),
		after:      engine.NewSum(c.comparer.Compare, renewBytes),
	}
	for _, next := range w.windows {
		r.raw += next.RawBytes()
		r.total += next.Bytes()
	}
	for !w.empty() {
		done, err := r.round(ctx, w)
		if err != nil {
			return nil, err
		}
		w = w.rest(done)
		if len(w.steps()) == 0 {
			break // Pebble has had its time for the rest
		}
	}
	if r.excised {
		c.notes = append(c.notes, "content is not verified: a snapshot sees other content than before, and the application has ingested tables or excised key ranges meanwhile, which accounts for it or hides something worse")
		return nil, nil //nolint:nilnil // there is nothing to say about content
	}
	before, after := r.before.Content(), r.after.Content()
	return &sdk.Verification{
		DigestBefore: before.Digest, DigestAfter: after.Digest,
		ItemsBefore: before.Items, ItemsAfter: after.Items,
	}, nil
}

// rewriting is the part of a compaction that changes tables.
type rewriting struct {
	*compaction
	// before and after are content as one snapshot after the other has seen it.
	before, after *engine.Sum
	raw           int64 // bytes of keys and values in all tables
	total, done   int64 // bytes of tables in steps
	// excised is set where a difference may be the work of DB.Excise, which
	// Pebble counts among the ingestions.
	excised bool
}

// round does steps until the snapshot that it takes has grown old, and compares
// what that sees. It returns the number of steps.
func (r *rewriting) round(ctx context.Context, w work) (done int, err error) {
	snapshot := r.db.NewSnapshot()
	defer func() {
		if cerr := snapshot.Close(); err == nil {
			err = cerr
		}
	}()
	began := r.db.Metrics()
	if err := r.sum(ctx, "check", r.before, snapshot, w, r.raw); err != nil {
		return 0, err
	}
	covered := int64(0)
	for _, next := range w.windows {
		covered += next.Bytes()
	}
	steps := w.steps()
	r.Tell("compact", r.done, r.total)
	for done < len(steps) && (done == 0 || r.incoming(began) < max(r.leastHeld, covered/heldShare)) {
		if err := r.step(ctx, steps[done]); err != nil {
			return done, err
		}
		done++
	}
	if done == len(steps) {
		if err := r.settle(ctx); err != nil {
			return done, err
		}
	}
	if err := r.sum(ctx, "verify", r.after, snapshot, w, max(1, r.before.Content().Bytes)); err != nil {
		return done, err
	}
	return done, r.compare(began)
}

// sum reads the windows through a snapshot.
func (r *rewriting) sum(ctx context.Context, phase string, into *engine.Sum, snapshot *pebbledb.Snapshot, w work, total int64) error {
	last := into.Content().Bytes
	for _, next := range w.windows {
		err := into.Add(ctx, snapshot, next.Start, next.Upper, func(bytes int64) error {
			r.read += bytes - last
			last = bytes
			if err := r.alive(); err != nil {
				return err
			}
			r.Tell(phase, min(bytes, total), total)
			return r.keepPace(ctx)
		})
		if err != nil {
			return fmt.Errorf("%s content: %w", phase, err)
		}
	}
	r.Tell(phase, total, total)
	return nil
}

// step compacts one key range.
func (r *rewriting) step(ctx context.Context, step engine.KeyRange) error {
	if err := r.alive(); err != nil {
		return err
	}
	if err := r.room(engine.RoomFor(step.Bytes) + int64(r.db.Metrics().WAL.Size)); err != nil {
		return err
	}
	wide, ok := step.Widen(r.comparer)
	if !ok {
		r.notes = append(r.notes, engine.NoteSingleKey)
		return nil
	}
	_, written := r.traffic()
	err := wide.Compact(ctx, r.db, lookEvery, func() error {
		if err := r.alive(); err != nil {
			return err
		}
		_, now := r.traffic()
		r.Tell("compact", min(r.total, r.done+min(step.Bytes, now-written)), r.total)
		return nil
	})
	if err != nil {
		return err
	}
	r.done += step.Bytes
	r.Tell("compact", min(r.total, r.done), r.total)
	return r.keepPace(ctx)
}

// compare holds what snapshots saw before against what they saw after.
func (r *rewriting) compare(began *pebbledb.Metrics) error {
	before, after := r.before.Content(), r.after.Content()
	if before == after || r.excised {
		return nil
	}
	if r.db.Metrics().Ingest.Count != began.Ingest.Count {
		r.excised = true
		return nil
	}
	return sdk.Errorf(sdk.ErrInternal, "%s was compacted in place, and a snapshot from before sees other content: %d items with digest %s, before %d with %s; the tables from before are gone",
		r.name, after.Items, after.Digest, before.Items, before.Digest).
		WithHint("the store is not what it was, and another compaction does not change that: stop its application, keep a copy of the directory for a report, check the machine's memory and disk, and restore the store from a backup")
}
