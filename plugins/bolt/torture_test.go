//go:build linux

package bolt

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

var (
	tortureWhole = flag.Bool("torture.whole", false, "make the whole campaign, which takes minutes, and not a slice of it")
	tortureSeed  = flag.Uint64("torture.seed", 1, "where the campaign's randomness begins")
)

// TestTorture kills, starves and cuts the power of compactions, and looks at
// what is left each time: see campaign.check. `make torture-bolt` makes all of
// it.
func TestTorture(t *testing.T) {
	c := &campaign{t: t, whole: *tortureWhole, seed: *tortureSeed, counts: map[string]*count{}, scratch: t.TempDir()}
	c.subjects = c.generate()
	type part struct {
		name string
		run  func()
	}
	parts := []part{
		{"kill before each operation", c.killAtOperations},
		{"kill before each operation of a sweep", c.killSweeps},
		{"faults", c.faults},
		{"full disk", c.fullDisks},
		{"power cuts", c.powerCuts},
		{"power cuts in a sweep", c.powerCutsInSweeps},
		{"power cuts after writes", c.powerCutsAfterWrites},
		{"power cuts after faults", c.powerCutsAfterFaults},
		{"waiting writers", c.waiters},
	}
	if c.whole {
		parts = append(parts,
			part{"kill hosts before each operation", c.killHostsAtOperations},
			part{"kill at random times", c.killProcesses},
			part{"two hosts", c.twoHosts},
			part{"a disk with no room at all", c.noRoom},
		)
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			c.t = t
			part.run()
		})
	}
	t.Log(c.summary())
}

// campaign is one run of all parts.
type campaign struct {
	t        *testing.T // of the current part
	whole    bool
	seed     uint64
	scratch  string
	subjects []*subject

	mu     sync.Mutex
	counts map[string]*count
}

type count struct {
	cases, failures int
	notes           map[string]int // what else is worth to be known
}

// subject is a store to torture, as bytes.
type subject struct {
	name    string
	content []byte
	digest  string
}

func tortureModes() []string { return []string{ModeRewrite, rewriteRename, ModePunch} }

// generate makes stores of all shapes in which there is something to compact.
func (c *campaign) generate() []*subject {
	type spec struct {
		name string
		bolttest.Spec
	}
	var specs []spec
	for _, shape := range bolttest.Shapes() {
		specs = append(specs, spec{string(shape), bolttest.Spec{Shape: shape}})
	}
	specs = append(specs,
		spec{"random without freelist", bolttest.Spec{Shape: bolttest.ShapeRandom, NoFreelistSync: true}},
		spec{"append on pages of 1 KiB", bolttest.Spec{Shape: bolttest.ShapeAppend, PageSize: 1 << 10}},
		spec{"big values on pages of 16 KiB", bolttest.Spec{Shape: bolttest.ShapeBigValues, PageSize: 16 << 10}},
		spec{"several writes", bolttest.Spec{Shape: bolttest.ShapeAppend, LiveBytes: 3 << 20}},
	)
	if !c.whole {
		specs = slices.DeleteFunc(specs, func(s spec) bool { return s.name != "append" && s.name != "random without freelist" })
	}
	var subjects []*subject
	for _, s := range specs {
		if s.LiveBytes == 0 {
			s.LiveBytes = 300 << 10
		}
		subjects = append(subjects, c.subject(s.name, s.Spec))
	}
	return subjects
}

func (c *campaign) subject(name string, spec bolttest.Spec) *subject {
	spec.Seed, spec.GarbageRatio = c.seed, 0.6
	path := filepath.Join(c.scratch, "subject")
	if err := bolttest.Generate(path, spec); err != nil {
		c.t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	digest := digestOf(c.t, path)
	if err := os.Remove(path); err != nil {
		c.t.Fatal(err)
	}
	return &subject{name, content, digest}
}

// put puts the store into a directory.
func (s *subject) put(dir string) (string, error) {
	path := filepath.Join(dir, "a.db")
	return path, errors.Join(os.WriteFile(path, s.content, 0o640), os.Chmod(path, 0o640))
}

// one makes a case in a directory of its own.
func (c *campaign) one(kind, name string, do func(dir string, random *rand.Rand) error) {
	err := c.try(kind+"/"+name, do)
	if errors.Is(err, errNoCase) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count(kind)
	n.cases++
	if err != nil {
		n.failures++
		c.t.Errorf("%s: %s (seed %d): %v", kind, name, c.seed, err)
	}
}

// errNoCase is that nothing happened: it does not count.
var errNoCase = errors.New("no case")

func (c *campaign) try(name string, do func(dir string, random *rand.Rand) error) error {
	dir, err := os.MkdirTemp(c.scratch, "")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return do(dir, rand.New(rand.NewPCG(c.seed, hash.Sum64())))
}

// note counts something besides the cases.
func (c *campaign) note(kind, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(kind).notes[what]++
}

func (c *campaign) count(kind string) *count {
	if c.counts[kind] == nil {
		c.counts[kind] = &count{notes: map[string]int{}}
	}
	return c.counts[kind]
}

// enough makes sure that a kind had its cases, which on a machine that is too fast
// or too slow may all have come to nothing.
func (c *campaign) enough(kind string, least int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.count(kind).cases; n < least {
		c.t.Errorf("%s: %d cases, want %d at least", kind, n, least)
	}
}

// parallel makes cases, some at a time: they wait for the disk mostly.
func (c *campaign) parallel(cases []func()) {
	queue := make(chan func())
	var workers sync.WaitGroup
	for range 2 * runtime.NumCPU() {
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

// each makes cases for all stores and modes, of which the operations are known.
func (c *campaign) each(do func(s *subject, mode string, ops []replace.Op) []func()) {
	var cases []func()
	for _, s := range c.subjects {
		for _, mode := range tortureModes() {
			ops, err := c.operations(s, mode)
			if err != nil {
				c.t.Errorf("%s, %s: %v", s.name, mode, err)
				continue
			}
			cases = append(cases, do(s, mode, ops)...)
		}
	}
	if len(cases) == 0 {
		c.t.Error("there is no case")
	}
	c.parallel(cases)
}

// operations are those of a compaction that nothing disturbs; none for a store
// in which there is nothing to do.
func (c *campaign) operations(s *subject, mode string) (ops []replace.Op, err error) {
	err = c.try("operations", func(dir string, _ *rand.Rand) error {
		path, err := s.put(dir)
		if err != nil {
			return err
		}
		if err := compactHooked(path, mode, func(op replace.Op) error {
			ops = append(ops, replace.Op{Kind: op.Kind, Path: op.Path})
			return nil
		}); err != nil {
			return err
		}
		return c.check(path, s)
	})
	return ops, err
}

// check is what must hold after each case: the next start finds and removes
// what was left, nobody holds the lock, the store is sound and has all of its
// content, its owner and its mode, and it can be written to.
func (c *campaign) check(path string, s *subject) (err error) {
	// A store that is damaged may make bbolt panic, or fault.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if _, err := sweepHooked(path, nil); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	if len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		return fmt.Errorf("the directory has %v", entries)
	}
	if err := freeAndOurs(path); err != nil {
		return err
	}
	if digest, err := bolttest.Digest(path); err != nil || digest != s.digest {
		return fmt.Errorf("the content has the digest %s, error %w, had %s", digest, err, s.digest)
	}
	return writeAndReopen(path)
}

// freeAndOurs looks at the lock and the attributes.
func freeAndOurs(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("the lock is not free: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Nlink != 1 || int(stat.Uid) != os.Getuid() || info.Mode() != fs.FileMode(0o640) {
		return fmt.Errorf("the store has mode %v, owner %d, %d links", info.Mode(), stat.Uid, stat.Nlink)
	}
	return nil
}

func writeAndReopen(path string) error {
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	db.StrictMode = true
	if err := errors.Join(put(db, "key", "value"), db.Close()); err != nil {
		return err
	}
	db, err = bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(db.View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket([]byte("written")).Get([]byte("key")); string(got) != "value" {
			return fmt.Errorf("the key that was written has %q", got)
		}
		return nil
	}), db.Close())
}

// summary is a table of what was done.
func (c *campaign) summary() string {
	var out strings.Builder
	var cases, failures int
	fmt.Fprintf(&out, "seed %d\n%8s %9s  %s\n", c.seed, "cases", "failures", "kind")
	for _, kind := range slices.Sorted(maps.Keys(c.counts)) {
		n := c.counts[kind]
		cases, failures = cases+n.cases, failures+n.failures
		fmt.Fprintf(&out, "%8d %9d  %s\n", n.cases, n.failures, kind)
		for _, what := range slices.Sorted(maps.Keys(n.notes)) {
			fmt.Fprintf(&out, "%20s   %d %s\n", "", n.notes[what], what)
		}
	}
	fmt.Fprintf(&out, "%8d %9d  in all", cases, failures)
	return out.String()
}
