//go:build linux

package live

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

var (
	tortureWhole = flag.Bool("torture.whole", false, "make the whole campaign, which takes minutes, and not a slice of it")
	tortureSeed  = flag.Uint64("torture.seed", 1, "where the campaign's randomness begins")
)

// TestTorture kills applications that write, read and compact all the time,
// starves their compactions and interrupts them, and looks at what is left each
// time: see campaign.check. `make torture-live` makes all of it.
func TestTorture(t *testing.T) {
	c := &campaign{t: t, whole: *tortureWhole, seed: *tortureSeed, counts: map[string]*tally{}, scratch: t.TempDir()}
	c.findSites()
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"kill before each operation", c.killAtSites},
		{"kill at random times", c.killAtRandom},
		{"kill again", c.killAgain},
		{"kill with others waiting", c.killWithWaiters},
		{"faults", c.faults},
		{"interruptions", c.interruptions},
		{"reports that panic", c.reportsThatPanic},
		{"mistakes", c.mistakes},
	} {
		t.Run(part.name, func(t *testing.T) {
			c.t = t
			part.run()
		})
	}
	t.Log(c.summary())
}

// campaign is one run of all parts.
type campaign struct {
	t       *testing.T // of the current part
	whole   bool
	seed    uint64
	scratch string
	noHoles bool                // the file system makes none
	sites   map[string][]string // that each compaction comes to, by its way

	mu     sync.Mutex
	counts map[string]*tally
}

type tally struct {
	cases, failures int
	notes           map[string]int // what else is worth to be known
}

// one makes a case in a directory of its own.
func (c *campaign) one(kind, name string, do func(dir string, random *rand.Rand) error) {
	err := c.try(kind+"/"+name, do)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count(kind)
	n.cases++
	if err != nil {
		n.failures++
		c.t.Errorf("%s: %s (seed %d): %v", kind, name, c.seed, err)
	}
}

func (c *campaign) try(name string, do func(dir string, random *rand.Rand) error) (err error) {
	dir, err := os.MkdirTemp(c.scratch, "")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// A store that is damaged may make bbolt panic, or fault.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return do(dir, rand.New(rand.NewPCG(c.seed, hash.Sum64())))
}

// note counts something besides the cases.
func (c *campaign) note(kind, what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.count(kind).notes[what] += n
	}
}

func (c *campaign) count(kind string) *tally {
	if c.counts[kind] == nil {
		c.counts[kind] = &tally{notes: map[string]int{}}
	}
	return c.counts[kind]
}

// parallel makes cases, some at a time: they wait for the disk mostly.
func (c *campaign) parallel(cases []func()) {
	if len(cases) == 0 {
		c.t.Error("there is no case")
	}
	atATime := 2 * runtime.NumCPU()
	if raceDetector {
		atATime = runtime.NumCPU()
	}
	queue := make(chan func())
	var workers sync.WaitGroup
	for range atATime {
		workers.Go(func() {
			for do := range queue {
				do()
			}
		})
	}
	for _, do := range cases {
		queue <- do
	}
	close(queue)
	workers.Wait()
}

// subject is a store that one process after the other owns.
type subject struct {
	path   string
	counts [loadWriters]uint64 // commits of each writer when it was looked at last
	kills  uint64              // since then
}

// lay makes a store that has been written to.
func lay(dir string, p part) (*subject, error) {
	s := &subject{path: filepath.Join(dir, "a.db")}
	p.Path = s.path
	db, err := p.open()
	if err != nil {
		return nil, err
	}
	db.NoSync = true
	return s, errors.Join(layStill(db), db.Sync(), db.Close())
}

// ways in which the file system lets compact.
func (c *campaign) ways() []string {
	if c.noHoles {
		return []string{wayExchange, wayRename}
	}
	return []string{wayExchange, wayRename, wayPunch}
}

// findSites finds out what a compaction comes to while the store is in use.
func (c *campaign) findSites() {
	c.sites = map[string][]string{}
	for _, way := range c.ways() {
		met := map[string]int{}
		const compactions = 3
		if err := c.try("sites "+way, func(dir string, _ *rand.Rand) error {
			return c.inUse(dir, part{Way: way, NoSync: true}, func(o *owner) error {
				for range compactions {
					own := map[string]bool{}
					o.hook = func(site string, _ replace.Op) error {
						own[site] = true
						return nil
					}
					if _, err := o.compact(); err != nil {
						return err
					}
					for site := range own {
						met[site]++
					}
				}
				return nil
			})
		}); way == wayPunch && errors.Is(err, sdk.ErrUnsupported) {
			c.noHoles = true
			c.t.Logf("no holes are made: %v", err)
			continue
		} else if err != nil {
			c.t.Fatal(err)
		}
		maps.DeleteFunc(met, func(_ string, n int) bool { return n < compactions })
		c.sites[way] = slices.Sorted(maps.Keys(met))
	}
	for way, least := range map[string]int{wayExchange: 15, wayRename: 15, wayPunch: 1} {
		if way == wayPunch && c.noHoles {
			continue
		}
		if len(c.sites[way]) < least {
			c.t.Fatalf("of a compaction by %s these operations are known: %q", way, c.sites[way])
		}
	}
}

// sitesOf are the operations at which something is done in a slice of the
// campaign, and all of them in the whole.
func (c *campaign) sitesOf(way string) (some []string) {
	for i, site := range c.sites[way] {
		if c.whole || !raceDetector || uint64(i)%2 == c.seed%2 {
			some = append(some, site)
		}
	}
	return some
}

// check is what must hold of a store, of which nobody has the lock: each writer
// has at least the commits that were acknowledged, and at most one more for each
// kill, that it was making; the store is sound; nothing is left beside it, but for files that
// are named; it can be written to and compacted.
func (c *campaign) check(s *subject, p part, acknowledged [loadWriters]uint64, kept ...string) error {
	p.Path = s.path
	db, err := p.open()
	if err != nil {
		return err
	}
	err = checkContent(db, s, acknowledged)
	if err == nil {
		err = onlyStore(s.path, kept...)
	}
	if err == nil {
		err = c.checkUse(db, p)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return errors.Join(onlyStore(s.path, kept...), s.reread())
}

// checkContent also says what the store has by now.
func checkContent(db *DB, s *subject, acknowledged [loadWriters]uint64) error {
	return db.View(func(tx *bbolt.Tx) error {
		counts, err := readWriters(tx)
		if err != nil {
			return err
		}
		for w, n := range counts {
			switch {
			case n < acknowledged[w]:
				return violated("of writer %d, commits %d to %d are lost, which were acknowledged", w, n+1, acknowledged[w])
			case n > acknowledged[w]+s.kills:
				return violated("of writer %d, commits %d to %d are invented: it has not made them", w, acknowledged[w]+s.kills+1, n)
			}
		}
		for err := range tx.Check() {
			return violated("bbolt's check: %v", err)
		}
		s.counts, s.kills = counts, 0
		return readStill(tx)
	})
}

// checkUse compacts the store, while that is in use.
func (c *campaign) checkUse(db *DB, p part) error {
	o := &owner{part: p, campaign: c, db: db}
	if err := o.begin(); err != nil {
		return err
	}
	result, err := o.compact()
	if err == nil && result.NoOp && p.Way != wayPunch {
		err = fmt.Errorf("a compaction has no effect: %s", result.Note)
	}
	return errors.Join(err, o.load.stop())
}

// reread opens the store as anybody would.
func (s *subject) reread() error {
	db, err := bbolt.Open(s.path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	return errors.Join(db.View(func(tx *bbolt.Tx) (err error) {
		for err := range tx.Check() {
			return err
		}
		s.counts, err = readWriters(tx)
		return err
	}), db.Close())
}

// onlyStore makes sure that nothing is left beside the store.
func onlyStore(path string, kept ...string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != filepath.Base(path) && !slices.Contains(kept, name) {
			return violated("%s is left", name)
		}
	}
	return nil
}

// summary is a table of what was done.
func (c *campaign) summary() string {
	var out strings.Builder
	var cases, failures, kills int
	fmt.Fprintf(&out, "seed %d\n%8s %9s  %s\n", c.seed, "cases", "failures", "kind")
	for _, kind := range slices.Sorted(maps.Keys(c.counts)) {
		n := c.counts[kind]
		cases, failures, kills = cases+n.cases, failures+n.failures, kills+n.notes[noteKills]
		fmt.Fprintf(&out, "%8d %9d  %s\n", n.cases, n.failures, kind)
		for _, what := range slices.Sorted(maps.Keys(n.notes)) {
			fmt.Fprintf(&out, "%20s   %d %s\n", "", n.notes[what], what)
		}
	}
	fmt.Fprintf(&out, "%8d %9d  in all, with %d kills", cases, failures, kills)
	return out.String()
}
