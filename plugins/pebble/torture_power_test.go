package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/internal/powercut"
)

// powerCuts cuts the power before each operation of a compaction and after the last
// one, and looks at one of the states that may be found then.
func (c *campaign) powerCuts() {
	var cases []func()
	c.each(func(s *subject, mode string, _ *run) {
		journal, err := c.record(s, mode)
		if err != nil {
			c.t.Errorf("%s, %s: %v", s.name, mode, err)
			return
		}
		for _, at := range c.cutsOf(journal.Ops()) {
			for _, names := range []powercut.Names{powercut.Journalled, powercut.Unordered} {
				cases = append(cases, func() {
					c.one(fmt.Sprintf("%s, power cut, names %s", mode, names), fmt.Sprintf("%s, before %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
						return met{cuts: 1}, c.cut(dir, s, journal, at-1, names, random)
					})
				})
			}
			cases = append(cases, func() {
				c.one(mode+", killed, and power cut in the next", fmt.Sprintf("%s, before %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
					return met{cuts: 1}, c.cutNext(dir, s, journal, at-1, random)
				})
			})
		}
		cases = append(cases, c.mistakes(s, mode, journal)...)
	})
	c.parallel(cases)
}

// cutsOf are the operations before which the power is cut: some of all, and of
// those from a little before two directories are exchanged on.
func (c *campaign) cutsOf(ops []faultfs.Op) []int {
	all := c.numbers(len(ops)+1, 40, 3)
	exchange := slices.IndexFunc(ops, exchanges)
	if exchange < 0 {
		return all
	}
	first := max(0, exchange-2)
	for _, at := range c.numbers(len(ops)+1-first, 40, 3) {
		all = append(all, first+at)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// exchanges says whether an operation puts a new directory in the place of the store's.
func exchanges(op faultfs.Op) bool {
	return op.Kind == faultfs.Other && strings.HasPrefix(filepath.Base(op.Name), "exchange ")
}

// record compacts, and returns the journal of that.
func (c *campaign) record(s *subject, mode string) (journal *powercut.Journal, err error) {
	err = c.try("record", func(dir string, _ *rand.Rand) error {
		path, err := s.put(dir)
		if err != nil {
			return err
		}
		if journal, err = powercut.New(filepath.Dir(path)); err != nil {
			return err
		}
		_, err = compactAt(backendOn(journal.Around), path, mode)
		return err
	})
	return journal, err
}

// cut makes one state and checks it.
func (c *campaign) cut(dir string, s *subject, journal *powercut.Journal, at int, names powercut.Names, random *rand.Rand) error {
	image, err := journal.Cut(at, names, random)
	if err != nil {
		return err
	}
	alone := filepath.Join(dir, "alone")
	if err := image.Write(alone); err != nil {
		return err
	}
	if err := c.check(filepath.Join(alone, "store"), s, random); err != nil {
		return fmt.Errorf("after %d operations: %w", at, err)
	}
	return nil
}

// cutNext lets another process compact what one has left that was killed, and cuts
// the power then: what the first one did is not all on the disk either.
func (c *campaign) cutNext(dir string, s *subject, journal *powercut.Journal, killedAt int, random *rand.Rand) error {
	killed, after := filepath.Join(dir, "killed"), filepath.Join(dir, "after")
	names := []powercut.Names{powercut.Journalled, powercut.Unordered}[random.IntN(2)]
	next, err := journal.Resume(killedAt, names, killed)
	if err != nil {
		return err
	}
	mode := s.modes[random.IntN(len(s.modes))]
	if _, err := compactAt(backendOn(next.Around), filepath.Join(killed, "store"), mode); err != nil {
		return err
	}
	if err := os.Mkdir(after, 0o700); err != nil {
		return err
	}
	return c.cut(after, s, next, random.IntN(len(next.Ops())+1), names, random)
}

// mistake leaves out what makes a compaction safe.
type mistake struct {
	what  string
	names powercut.Names
	// left says which of the operations.
	left func(ops []faultfs.Op, i int) bool
	// near are the operations after which it shows; nil for any.
	near func(op faultfs.Op) bool
}

// mistakes must be noticed by the cuts, else they prove nothing. One that shows in a
// hundredth of them is missed by one campaign of ten thousand.
func (c *campaign) mistakes(s *subject, mode string, journal *powercut.Journal) (cases []func()) {
	if s.name != "held" {
		return nil
	}
	of := func(op faultfs.Op, kind faultfs.Kind, part string) bool {
		return op.Kind == kind && strings.Contains(filepath.Base(op.Name), part)
	}
	mistakes := []mistake{
		{"no sync of tables", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return of(ops[i], faultfs.Sync, ".sst") }, nil},
		{"no sync of the manifest", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return of(ops[i], faultfs.Sync, "MANIFEST-") }, nil},
		{"no sync of the directory", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return of(ops[i], faultfs.SyncDir, "") }, nil},
		{"no sync of the directory before a marker", powercut.Unordered, func(ops []faultfs.Op, i int) bool {
			return of(ops[i], faultfs.SyncDir, "") && i+1 < len(ops) && of(ops[i+1], ops[i+1].Kind, "marker.")
		}, func(op faultfs.Op) bool { return of(op, op.Kind, "marker.") }},
	}
	if mode == modeRewrite {
		// What is done after the exchange, which nothing but names of the old directory is.
		late := func(op faultfs.Op) bool { return op.Kind == faultfs.Other && !of(op, op.Kind, ".wring.temp") }
		synced := func(op faultfs.Op, part string) bool {
			return of(op, faultfs.Sync, part) || of(op, faultfs.Other, "sync ") && strings.Contains(filepath.Base(op.Name), part)
		}
		mistakes = []mistake{
			{"no sync of tables", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return synced(ops[i], ".sst") }, late},
			{"no sync of the manifest", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return synced(ops[i], "MANIFEST-") }, late},
			{"no sync of the new directory", powercut.Unordered, func(ops []faultfs.Op, i int) bool {
				return of(ops[i], faultfs.SyncDir, "") || synced(ops[i], ".wring-")
			}, late},
			{"no sync of the directory above", powercut.Unordered, func(ops []faultfs.Op, i int) bool {
				return synced(ops[i], "sync alone")
			}, late},
		}
	}
	for _, m := range mistakes {
		cases = append(cases, func() {
			c.one("a mistake that must be noticed", fmt.Sprintf("%s, %s, %s", s.name, mode, m.what), func(_ string, random *rand.Rand) (met, error) {
				cuts, err := c.notice(m, s, journal, random)
				return met{cuts: cuts}, err
			})
		})
	}
	return cases
}

// notice cuts until something is lost.
func (c *campaign) notice(m mistake, s *subject, journal *powercut.Journal, random *rand.Rand) (cuts int, err error) {
	wrong := journal.Without(func(i int, _ faultfs.Op) bool { return m.left(journal.Ops(), i) })
	var places []int
	for i, op := range wrong.Ops() {
		if m.near == nil || m.near(op) {
			places = append(places, i+1)
		}
	}
	const tries = 1000
	for cuts = 1; cuts <= tries; cuts++ {
		err := c.try(m.what, func(dir string, _ *rand.Rand) error {
			return c.cut(dir, s, wrong, places[random.IntN(len(places))], m.names, random)
		})
		if err != nil && !errors.Is(err, errBeside) { // something is lost
			return cuts, nil // that is what it is to find
		}
	}
	return tries, errors.New("power cuts did no harm")
}
