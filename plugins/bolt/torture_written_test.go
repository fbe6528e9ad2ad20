//go:build linux

package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/powercut"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// powerCutsAfterWrites kills a compaction, lets an application write to what it
// finds as the store then, and cuts the power. The write was acknowledged: it
// must be in the store, or in a file that a sweep keeps and names.
func (c *campaign) powerCutsAfterWrites() {
	const kind = "killed, written to, and power cut"
	c.each(func(s *subject, mode string, _ []replace.Op) (cases []func()) {
		if mode == ModePunch {
			return nil
		}
		journal, err := c.record(s, mode)
		if err != nil {
			c.t.Errorf("%s, %s: %v", s.name, mode, err)
			return nil
		}
		for killedAt := range len(journal.Ops()) + 1 {
			for i := range c.cuts() {
				name := fmt.Sprintf("%s, %s, before %d, state %d", s.name, mode, killedAt, i)
				cases = append(cases, func() {
					c.one(kind, name, func(dir string, random *rand.Rand) error {
						return c.cutWritten(kind, dir, s, journal, killedAt, random)
					})
				})
			}
		}
		return cases
	})
}

func (c *campaign) cutWritten(kind, dir string, s *subject, journal *powercut.Journal, killedAt int, random *rand.Rand) error {
	live, after := filepath.Join(dir, "live"), filepath.Join(dir, "after")
	if err := errors.Join(os.Mkdir(live, 0o700), os.Mkdir(after, 0o700)); err != nil {
		return err
	}
	next, path, err := journal.Resume(killedAt, live)
	if err != nil {
		return err
	}
	written, err := writeAndRecord(path, s.name, next)
	if err != nil {
		return err
	}
	synced := len(next.Ops())
	if random.IntN(2) == 0 {
		if _, err := sweepHooked(path, next.Record); err != nil {
			return err
		}
	}
	image, err := next.Cut(synced+random.IntN(len(next.Ops())-synced+1), powercut.Journalled, random)
	if err != nil {
		return err
	}
	found, err := image.Write(after)
	if err != nil {
		return err
	}
	if _, err := sweepHooked(found, nil); !errors.Is(err, replace.ErrWritten) {
		return c.check(found, written) // which sweeps too
	}
	c.note(kind, "new files that lost their names, and were kept with what was written to them")
	kept, err := filepath.Glob(filepath.Join(after, ".a.db.wring-*.tmp"))
	if err != nil || len(kept) != 1 {
		return fmt.Errorf("kept are %q, error %w", kept, err)
	}
	if digest, err := bolttest.Digest(kept[0]); err != nil || digest != written.digest {
		return fmt.Errorf("the file that was kept has the digest %s, error %w, want %s", digest, err, written.digest)
	}
	return errors.Join(os.Remove(kept[0]), c.check(found, s))
}

// writeAndRecord is an application that writes to the store, and syncs that.
func writeAndRecord(path, name string, journal *powercut.Journal) (*subject, error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(put(db, "late", "write"), db.Close()); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	digest, err := bolttest.Digest(path)
	if err != nil {
		return nil, err
	}
	return &subject{name: name, digest: digest}, errors.Join(
		journal.Record(replace.Op{Kind: replace.OpWrite, Path: path, Data: data}),
		journal.Record(replace.Op{Kind: replace.OpSync, Path: path}),
	)
}

// powerCutsAfterFaults let a directory refuse to be synced once the new file is
// in place, and cut the power: the old file may get its name back, and is spoilt.
// Whoever opens it must be told so, and must not find an older transaction; the
// new file is kept beside it.
func (c *campaign) powerCutsAfterFaults() {
	const kind = "directory not synced, and power cut"
	c.each(func(s *subject, mode string, _ []replace.Op) (cases []func()) {
		if mode == ModePunch {
			return nil
		}
		journal, swapped, err := c.recordUnsyncedDirectory(s, mode)
		if err != nil {
			c.t.Errorf("%s, %s: %v", s.name, mode, err)
			return nil
		}
		if s.name == "append" {
			what := "no sync between the parts that are spoilt, " + mode
			broken := journal.Without(func(_ int, op replace.Op) bool { return op.Kind == replace.OpSyncOld })
			c.noticedBy(what, s, func(dir string, random *rand.Rand) error {
				return c.cutUnsyncedDirectory(kind, dir, s, broken, len(broken.Ops()), random)
			})
		}
		for at := swapped; at <= len(journal.Ops()); at++ {
			for i := range 2 * c.cuts() {
				name := fmt.Sprintf("%s, %s, before %d, state %d", s.name, mode, at, i)
				cases = append(cases, func() {
					c.one(kind, name, func(dir string, random *rand.Rand) error {
						return c.cutUnsyncedDirectory(kind, dir, s, journal, at, random)
					})
				})
			}
		}
		return cases
	})
}

// recordUnsyncedDirectory also returns how many operations there are until the
// new file is in place. A store in which there is nothing to do has none.
func (c *campaign) recordUnsyncedDirectory(s *subject, mode string) (journal *powercut.Journal, swapped int, err error) {
	err = c.try("record", func(dir string, _ *rand.Rand) error {
		path, err := s.put(dir)
		if err != nil {
			return err
		}
		if journal, err = powercut.New(path); err != nil {
			return err
		}
		err = compactHooked(path, mode, func(op replace.Op) error {
			if op.Kind == replace.OpSyncDir && swapped > 0 {
				return unix.EIO
			}
			if err := journal.Record(op); err != nil {
				return err
			}
			if op.Kind == replace.OpExchange || op.Kind == replace.OpRename && op.To == path {
				swapped = len(journal.Ops())
			}
			return nil
		})
		if failed := err != nil; failed != (swapped > 0) {
			return fmt.Errorf("swapped after %d operations, error %w", swapped, err)
		}
		return nil
	})
	if swapped == 0 && err == nil {
		swapped = len(journal.Ops()) + 1
	}
	return journal, swapped, err
}

func (c *campaign) cutUnsyncedDirectory(kind, dir string, s *subject, journal *powercut.Journal, at int, random *rand.Rand) error {
	image, err := journal.Cut(at, powercut.Journalled, random)
	if err != nil {
		return err
	}
	path, err := image.Write(dir)
	if err != nil {
		return err
	}
	if _, err := sweepHooked(path, nil); !errors.Is(err, replace.ErrInvalid) {
		return c.check(path, s)
	}
	c.note(kind, "old files that came back spoilt, with the new ones kept beside them")
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
	if err == nil {
		return errors.Join(errors.New("bbolt opens what a sweep takes for spoilt"), db.Close())
	}
	kept, err := filepath.Glob(filepath.Join(dir, ".a.db.wring-*.tmp"))
	if err != nil || len(kept) != 1 {
		return fmt.Errorf("kept are %q, error %w", kept, err)
	}
	return errors.Join(os.Rename(kept[0], path), c.check(path, s))
}
