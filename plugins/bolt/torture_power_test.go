//go:build linux

package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/powercut"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// cuts is how many states are tried at each moment.
func (c *campaign) cuts() int {
	if c.whole {
		return 8
	}
	return 1
}

// record compacts, and returns the journal of that.
func (c *campaign) record(s *subject, mode string) (journal *powercut.Journal, err error) {
	err = c.try("record", func(dir string, _ *rand.Rand) error {
		path, err := s.put(dir)
		if err != nil {
			return err
		}
		if journal, err = powercut.New(path); err != nil {
			return err
		}
		return compactHooked(path, mode, journal.Record)
	})
	return journal, err
}

// powerCuts cuts the power before each operation and after the last one, and
// looks at some of the states that may be found then.
func (c *campaign) powerCuts() {
	c.each(func(s *subject, mode string, ops []replace.Op) (cases []func()) {
		journal, err := c.record(s, mode)
		if err != nil {
			c.t.Errorf("%s, %s: %v", s.name, mode, err)
			return nil
		}
		random := rand.New(rand.NewPCG(c.seed, 0))
		for _, at := range indices(len(journal.Ops())+1, mostOperations, random) {
			for _, names := range []powercut.Names{powercut.Journalled, powercut.Unordered} {
				for i := range c.cuts() {
					kind := fmt.Sprintf("power cut, names %s", names)
					name := fmt.Sprintf("%s, %s, before %d, state %d", s.name, mode, at, i)
					cases = append(cases, func() {
						c.one(kind, name, func(dir string, random *rand.Rand) error {
							return c.cut(dir, s, journal, at, names, random)
						})
					})
				}
			}
		}
		return cases
	})
	c.unsyncedWriters()
	c.brokenProtocols()
}

// cut makes one state and checks it.
func (c *campaign) cut(dir string, s *subject, journal *powercut.Journal, at int, names powercut.Names, random *rand.Rand) error {
	image, err := journal.Cut(at, names, random)
	if err != nil {
		return err
	}
	path, err := image.Write(dir)
	if err != nil {
		return err
	}
	return c.check(path, s)
}

// powerCutsInSweeps kills a compaction, and cuts the power while the next
// process sweeps: what the first one did is not all on the disk.
func (c *campaign) powerCutsInSweeps() {
	const kind = "killed, and power cut in the sweep"
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
						return c.cutSweep(dir, s, journal, killedAt, random)
					})
				})
			}
		}
		return cases
	})
}

func (c *campaign) cutSweep(dir string, s *subject, journal *powercut.Journal, killedAt int, random *rand.Rand) error {
	live, after := filepath.Join(dir, "live"), filepath.Join(dir, "after")
	if err := errors.Join(os.Mkdir(live, 0o700), os.Mkdir(after, 0o700)); err != nil {
		return err
	}
	next, path, err := journal.Resume(killedAt, live)
	if err != nil {
		return err
	}
	if _, err := sweepHooked(path, next.Record); err != nil {
		return err
	}
	if len(next.Ops()) == 0 {
		return errNoCase
	}
	names := powercut.Journalled
	if random.IntN(2) == 0 {
		names = powercut.Unordered
	}
	return c.cut(after, s, next, random.IntN(len(next.Ops())+1), names, random)
}

// unsyncedWriters lets an application that does not sync write to the store
// before it is punched: bbolt may then fall back to the transaction before, whose
// pages were free in the last one.
func (c *campaign) unsyncedWriters() {
	const kind = "power cut after writes without sync"
	for _, s := range c.subjects {
		var journal *powercut.Journal
		var written *subject
		if err := c.try("unsynced", func(dir string, _ *rand.Rand) (err error) {
			journal, written, err = c.recordUnsynced(dir, s)
			return err
		}); errors.Is(err, errNoCase) {
			continue
		} else if err != nil {
			c.t.Errorf("%s: %v", s.name, err)
			continue
		}
		// Before the first sync the application's own writes may be torn.
		for at := 1; at <= min(len(journal.Ops()), mostOperations); at++ {
			for i := range c.cuts() {
				c.one(kind, fmt.Sprintf("%s, before %d, state %d", s.name, at, i), func(dir string, random *rand.Rand) error {
					return c.cut(dir, written, journal, at, powercut.Journalled, random)
				})
			}
		}
		c.noticed("punching before the sync", written, journal.Without(func(i int, _ replace.Op) bool { return i == 0 }))
	}
}

// recordUnsynced deletes half of what is in the store, without a sync, and
// records a punching.
func (c *campaign) recordUnsynced(dir string, s *subject) (*powercut.Journal, *subject, error) {
	path, err := s.put(dir)
	if err != nil {
		return nil, nil, err
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{NoSync: true})
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(db.Update(deleteHalf), db.Close())
	if err != nil {
		return nil, nil, err
	}
	written := &subject{name: s.name, digest: digestOf(c.t, path)}
	journal, err := powercut.New(path)
	if err != nil {
		return nil, nil, err
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if len(now) != len(s.content) || bytes.Equal(now, s.content) {
		return nil, nil, errNoCase
	}
	if err := errors.Join(journal.Unsynced(s.content), compactHooked(path, ModePunch, journal.Record)); err != nil {
		return nil, nil, err
	}
	if len(journal.Ops()) == 0 {
		return nil, nil, errNoCase
	}
	if first := journal.Ops()[0]; first.Kind != replace.OpSync {
		return nil, nil, fmt.Errorf("the first operation of a punching is %s", first.Kind)
	}
	return journal, written, nil
}

// deleteHalf deletes the first half of the keys of each bucket at the top.
func deleteHalf(tx *bbolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		var keys [][]byte
		if err := b.ForEach(func(k, v []byte) error {
			if v != nil {
				keys = append(keys, k)
			}
			return nil
		}); err != nil {
			return err
		}
		for _, k := range keys[:len(keys)/2] {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// brokenProtocols leave out what makes a replacement safe. The cuts must notice
// that, else they prove nothing.
func (c *campaign) brokenProtocols() {
	for _, s := range c.subjects {
		if s.name != "append" {
			continue
		}
		journal, err := c.record(s, ModeRewrite)
		if err != nil {
			c.t.Error(err)
			continue
		}
		synced := 0
		without := func(kind replace.OpKind) *powercut.Journal {
			return journal.Without(func(_ int, op replace.Op) bool { return op.Kind == kind })
		}
		c.noticed("no sync of the new file", s, without(replace.OpSync))
		c.noticed("no sync of the directory before the old file is spoilt", s, journal.Without(func(_ int, op replace.Op) bool {
			if op.Kind == replace.OpSyncDir {
				synced++
			}
			return op.Kind == replace.OpSyncDir && synced == 2
		}))
		c.noticed("no attributes", s, without(replace.OpAttributes))
	}
}

// noticed makes sure that cuts in a journal are found to lose something.
func (c *campaign) noticed(what string, s *subject, journal *powercut.Journal) {
	c.noticedBy(what, s, func(dir string, random *rand.Rand) error {
		return c.cut(dir, s, journal, random.IntN(len(journal.Ops())+1), powercut.Journalled, random)
	})
}

// noticedBy makes cuts until one finds what is lost. A mistake that shows in one
// of a hundred cuts is missed by one campaign of ten thousand.
func (c *campaign) noticedBy(what string, s *subject, cut func(dir string, random *rand.Rand) error) {
	const kind, tries = "a mistake that must be noticed", 1000
	c.one(kind, s.name+", "+what, func(_ string, random *rand.Rand) error {
		for i := range tries {
			err := c.try(fmt.Sprint(what, i), func(dir string, _ *rand.Rand) error {
				return cut(dir, random)
			})
			if err != nil {
				return nil //nolint:nilerr // that is what it is to find
			}
		}
		return fmt.Errorf("%d power cuts did no harm", tries)
	})
}
