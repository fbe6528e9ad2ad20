package pebble

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

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

var (
	tortureWhole = flag.Bool("torture.whole", false, "make the whole campaign, which takes minutes, and not a slice of it")
	tortureSeed  = flag.Uint64("torture.seed", 1, "where the campaign's randomness begins")
	tortureOnly  = flag.String("torture.only", "", "make the case of that name alone, as a failure says it")
)

// TestTorture kills compactions, lets their file system fail and cuts their power,
// and looks at what is left each time: see campaign.check. `make torture-pebble`
// makes all of it.
func TestTorture(t *testing.T) {
	c := &campaign{t: t, whole: *tortureWhole || *tortureOnly != "", seed: *tortureSeed, only: *tortureOnly, counts: map[string]*count{}, scratch: t.TempDir()}
	c.subjects = c.generate()
	type part struct {
		name string
		run  func()
	}
	parts := []part{
		{"kills", c.killAtOperations},
		{"kills again", c.killAgain},
		{"faults", c.faults},
		{"faults of reads", c.faultsOfReads},
		{"power cuts", c.powerCuts},
	}
	if c.whole {
		parts = append(parts, part{"kills at random times", c.killAtRandomTimes})
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			c.t = t
			part.run()
		})
	}
	t.Log(c.summary())
	if c.only != "" && len(c.counts) == 0 {
		t.Errorf("there is no case %q", c.only)
	}
}

// TestSubjects has stores that are what their names say.
func TestSubjects(t *testing.T) {
	patches := generate(t, pebbletest.Spec{Shape: pebbletest.Patches, LiveBytes: 256 << 10, Adjust: tablesOf(16 << 10)})
	compactable := 0
	for _, region := range view4test(t, patches).regions() {
		if region.Compactable() {
			compactable++
		}
	}
	if compactable < 4 {
		t.Errorf("patches have %d regions to compact", compactable)
	}
	apart := generate(t, pebbletest.Spec{Shape: pebbletest.Overwrites, LiveBytes: 256 << 10, Separate: 128, Adjust: tablesOf(64 << 10)})
	if blobs, err := filepath.Glob(filepath.Join(apart, "*.blob")); err != nil || len(blobs) == 0 {
		t.Errorf("values apart have the files %q, error %v", blobs, err)
	}
}

// campaign is one run of all parts.
type campaign struct {
	t        *testing.T // of the current part
	whole    bool
	seed     uint64
	only     string // name of the only case; "" for all
	scratch  string
	subjects []*subject

	mu     sync.Mutex
	counts map[string]*count
}

// count of one kind of cases. One that ended before it came to its kill or fault
// is a case, and no more.
type count struct {
	cases, kills, faults, cuts, failures int
	notes                                map[string]int // what else is worth to be known
}

// subject is a store to torture.
type subject struct {
	name    string
	path    string // never touched
	digest  string
	keys    int
	options string // text of the OPTIONS file
	format  pebbledb.FormatMajorVersion
	blobs   bool // it keeps values in files of their own
	// modes are those in which there is something to compact, and runs are compactions
	// in them that nothing disturbs.
	modes []string
	runs  map[string]*run
	// looks are the operations of a measurement.
	looks []faultfs.Op
}

// run is a compaction that nothing disturbs: its operations, and what it leaves.
type run struct {
	ops   []faultfs.Op
	after sdk.Size
}

// generate makes stores of all shapes in which there is something to compact.
func (c *campaign) generate() []*subject {
	type spec struct {
		name string
		pebbletest.Spec
	}
	const newest = pebbledb.FormatNewest
	specs := []spec{
		{"deletes", pebbletest.Spec{Shape: pebbletest.Deletes, FilterBits: 10}},
		{"overwrites", pebbletest.Spec{Shape: pebbletest.Overwrites, Format: newest}},
		{"range deletes", pebbletest.Spec{Shape: pebbletest.RangeDeletes, RangeKeys: 5, Format: newest}},
		{"churn", pebbletest.Spec{Shape: pebbletest.Churn, RangeKeys: 3, FilterBits: 10, LeaveInLog: true}},
		{"bottom", pebbletest.Spec{Shape: pebbletest.Bottom}},
		{"held", pebbletest.Spec{Shape: pebbletest.Held, Format: newest}},
		{"expired", pebbletest.Spec{Shape: pebbletest.Expired, ObsoleteLogs: true}},
		{"patches", pebbletest.Spec{Shape: pebbletest.Patches, RangeKeys: 3, Adjust: tablesOf(16 << 10)}},
		{"patches in the log", pebbletest.Spec{Shape: pebbletest.Patches, FilterBits: 10, Format: newest, LeaveInLog: true, Adjust: tablesOf(16 << 10)}},
		{"values apart", pebbletest.Spec{Shape: pebbletest.Overwrites, Format: newest, Separate: 128}},
		{"values apart in the log", pebbletest.Spec{Shape: pebbletest.Deletes, Format: newest, Separate: 128, LeaveInLog: true}},
		{"one table", pebbletest.Spec{Shape: pebbletest.Deletes, LiveBytes: 32 << 10}},
	}
	if !c.whole {
		specs = slices.DeleteFunc(specs, func(s spec) bool { return s.name != "churn" && s.name != "held" })
	}
	var subjects []*subject
	for _, s := range specs {
		s.Seed = c.seed
		if s.LiveBytes == 0 {
			s.LiveBytes = 256 << 10
		}
		if s.Adjust == nil {
			s.Adjust = tablesOf(64 << 10)
		}
		subjects = append(subjects, c.subject(s.name, s.Spec))
	}
	return subjects
}

// tablesOf lets a small store have several tables.
func tablesOf(bytes int64) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) {
		for i := range o.TargetFileSizes {
			o.TargetFileSizes[i] = bytes
		}
	}
}

// subject makes a store, and compacts a copy of it with nothing in the way.
func (c *campaign) subject(name string, spec pebbletest.Spec) *subject {
	s := &subject{name: name, path: filepath.Join(c.scratch, "subject "+name), runs: map[string]*run{}}
	if err := pebbletest.Generate(s.path, spec); err != nil {
		c.t.Fatal(err)
	}
	err := s.know()
	for _, mode := range []string{modeRanges, modeRewrite, ""} {
		if err == nil {
			err = c.try(name, func(dir string, _ *rand.Rand) error { return s.rehearse(dir, mode) })
		}
	}
	if err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	return s
}

// rehearse compacts, or measures where there is no mode, with nothing in the way.
func (s *subject) rehearse(dir, mode string) error {
	path, err := s.put(dir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var ops []faultfs.Op
	b := backendOn(func(op faultfs.Op, do func() error) error {
		mu.Lock()
		ops = append(ops, faultfs.Op{Kind: op.Kind, Name: op.Name})
		mu.Unlock()
		return do()
	})
	if mode == "" {
		err := measureAt(b, path)
		s.looks = ops
		return err
	}
	result, err := compactAt(b, path, mode)
	switch {
	case mode == modeRewrite && errors.Is(err, sdk.ErrUnsupported): // a store with blob files
	case err != nil:
		return err
	case !result.NoOp:
		s.modes = append(s.modes, mode)
		s.runs[mode] = &run{ops: ops, after: result.After}
	case mode == modeRanges: // what a rewrite would give back may not be worth it
		return errors.New("there is nothing to compact")
	}
	return nil
}

// those are the operations that are so. Another compaction has about as many, and
// some in another order.
func those(ops []faultfs.Op, so func(faultfs.Op) bool) []faultfs.Op {
	return slices.DeleteFunc(slices.Clone(ops), func(op faultfs.Op) bool { return !so(op) })
}

// put puts a copy of the store into a directory, where it is alone in another one.
func (s *subject) put(dir string) (string, error) {
	path := filepath.Join(dir, "alone", "store")
	return path, os.CopyFS(path, os.DirFS(s.path))
}

// met is what a case came to.
type met struct{ kills, faults, cuts int }

// one makes a case in a directory of its own.
func (c *campaign) one(kind, name string, do func(dir string, random *rand.Rand) (met, error)) {
	name = kind + "/" + name
	if c.only != "" && c.only != name {
		return
	}
	var came met
	err := c.try(name, func(dir string, random *rand.Rand) (err error) {
		came, err = do(dir, random)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count(kind)
	n.cases++
	n.kills += came.kills
	n.faults += came.faults
	n.cuts += came.cuts
	if err != nil {
		n.failures++
		c.t.Errorf("%s: %v\nagain: make torture-pebble SEED=%d ONLY='%s'", name, err, c.seed, name)
	}
}

func (c *campaign) try(name string, do func(dir string, random *rand.Rand) error) (err error) {
	dir, err := os.MkdirTemp(c.scratch, "")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// A store that is damaged may make Pebble panic.
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

// each goes through all stores, and the modes in which they are compacted.
func (c *campaign) each(do func(s *subject, mode string, r *run)) {
	for _, s := range c.subjects {
		for _, mode := range s.modes {
			do(s, mode, s.runs[mode])
		}
	}
}

// enough makes sure that most cases of a kind came to what they were to meet.
func (c *campaign) enough(kind string, least int, of func(*count) int) {
	if c.only != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.count(kind); of(n) < least {
		c.t.Errorf("%s: %d in %d cases, want %d at least", kind, of(n), n.cases, least)
	}
}

// parallel makes cases, some at a time: they wait for the disk and for others mostly.
func (c *campaign) parallel(cases []func()) {
	if len(cases) == 0 {
		c.t.Error("there is no case")
	}
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

// numbers are those from 1 to n, or evenly spread ones of them, so many in the whole
// campaign and so many in a slice of it. They begin somewhere else with another seed.
func (c *campaign) numbers(n, inWhole, inSlice int) []int {
	most := inSlice
	if c.whole {
		most = inWhole
	}
	if c.only != "" {
		most = n
	}
	all := make([]int, min(n, most))
	for i := range all {
		all[i] = 1 + (i*n/len(all)+int(c.seed%uint64(n)))%n
	}
	return all
}

// summary is a table of what was done.
func (c *campaign) summary() string {
	var out strings.Builder
	line := func(n *count, kind string) {
		fmt.Fprintf(&out, "%8d %8d %8d %8d %9d  %s\n", n.cases, n.kills, n.faults, n.cuts, n.failures, kind)
	}
	fmt.Fprintf(&out, "seed %d\n%8s %8s %8s %8s %9s\n", c.seed, "cases", "kills", "faults", "cuts", "failures")
	var all count
	for _, kind := range slices.Sorted(maps.Keys(c.counts)) {
		n := c.counts[kind]
		line(n, kind)
		for _, what := range slices.Sorted(maps.Keys(n.notes)) {
			fmt.Fprintf(&out, "%47d %s\n", n.notes[what], what)
		}
		all.cases += n.cases
		all.kills += n.kills
		all.faults += n.faults
		all.cuts += n.cuts
		all.failures += n.failures
	}
	line(&all, "in all")
	return out.String()
}
