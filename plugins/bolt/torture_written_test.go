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
