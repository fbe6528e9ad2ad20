package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/internal/powercut"
)

// powerCuts cuts the power before each operation of a compaction in place and after
// the last one, and looks at one of the states that may be found then.
func (c *campaign) powerCuts() {
	var cases []func()
	for _, s := range c.subjects {
		journal, err := c.record(s)
		if err != nil {
			c.t.Errorf("%s: %v", s.name, err)
			continue
		}
		for _, at := range c.numbers(len(journal.Ops())+1, 40, 3) {
			for _, names := range []powercut.Names{powercut.Journalled, powercut.Unordered} {
				cases = append(cases, func() {
					c.one(fmt.Sprintf("power cut, names %s", names), fmt.Sprintf("%s, before %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
						return met{cuts: 1}, c.cut(dir, s, journal, at-1, names, random)
					})
				})
			}
			cases = append(cases, func() {
				c.one("killed, and power cut in the next", fmt.Sprintf("%s, before %d", s.name, at), func(dir string, random *rand.Rand) (met, error) {
					return met{cuts: 1}, c.cutNext(dir, s, journal, at-1, random)
				})
			})
		}
		cases = append(cases, c.mistakes(s, journal)...)
	}
	c.parallel(cases)
}

// record compacts, and returns the journal of that.
func (c *campaign) record(s *subject) (journal *powercut.Journal, err error) {
	err = c.try("record", func(dir string, _ *rand.Rand) error {
		path, err := s.put(dir)
		if err != nil {
			return err
		}
		if journal, err = powercut.New(path); err != nil {
			return err
		}
		_, err = compactAt(backendOn(journal.Around), path, modeRanges)
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
	path := filepath.Join(dir, "store")
	if err := image.Write(path); err != nil {
		return err
	}
	if err := c.check(path, s, random); err != nil {
		return fmt.Errorf("after %d operations: %w", at, err)
	}
	return nil
}

// cutNext lets another process compact what one has left that was killed, and cuts
// the power then: what the first one did is not all on the disk either.
func (c *campaign) cutNext(dir string, s *subject, journal *powercut.Journal, killedAt int, random *rand.Rand) error {
	path, after := filepath.Join(dir, "killed"), filepath.Join(dir, "after")
	next, err := journal.Resume(killedAt, path)
	if err != nil {
		return err
	}
	if _, err := compactAt(backendOn(next.Around), path, modeRanges); err != nil {
		return err
	}
	if err := os.Mkdir(after, 0o700); err != nil {
		return err
	}
	names := []powercut.Names{powercut.Journalled, powercut.Unordered}[random.IntN(2)]
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
func (c *campaign) mistakes(s *subject, journal *powercut.Journal) (cases []func()) {
	if s.name != "held" {
		return nil
	}
	of := func(op faultfs.Op, kind faultfs.Kind, part string) bool {
		return op.Kind == kind && strings.Contains(filepath.Base(op.Name), part)
	}
	for _, m := range []mistake{
		{"no sync of tables", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return of(ops[i], faultfs.Sync, ".sst") }, nil},
		{"no sync of the manifest", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return of(ops[i], faultfs.Sync, "MANIFEST-") }, nil},
		{"no sync of the directory", powercut.Journalled, func(ops []faultfs.Op, i int) bool { return of(ops[i], faultfs.SyncDir, "") }, nil},
		{"no sync of the directory before a marker", powercut.Unordered, func(ops []faultfs.Op, i int) bool {
			return of(ops[i], faultfs.SyncDir, "") && i+1 < len(ops) && of(ops[i+1], ops[i+1].Kind, "marker.")
		}, func(op faultfs.Op) bool { return of(op, op.Kind, "marker.") }},
	} {
		cases = append(cases, func() {
			c.one("a mistake that must be noticed", s.name+", "+m.what, func(_ string, random *rand.Rand) (met, error) {
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
		if err != nil {
			return cuts, nil //nolint:nilerr // that is what it is to find
		}
	}
	return tries, errors.New("power cuts did no harm")
}
