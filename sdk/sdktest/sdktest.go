// Package sdktest is the conformance suite for wring backends: one test that
// calls Run shows that a backend keeps its promises, in the test's own process
// and in a plugin process that is started, cancelled and killed.
//
//	func TestConformance(t *testing.T) {
//		sdktest.Run(t, sdktest.Factory{
//			Backend:   func() sdk.Backend { return backend{} },
//			Program:   sdktest.Build("."),
//			StoreName: "store.log",
//			Make:      makeStore,
//			Digest:    digest,
//			Hold:      hold,
//		})
//	}
//
// The suite knows no engine. What only the engine's own library can do (make a
// store, read it, hold it open) the Factory brings along.
package sdktest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// Factory is what the suite needs to know of an engine. Backend, StoreName,
// Make and Digest are required; Hold is too, unless the case "locked" is in
// Skip.
type Factory struct {
	// Backend makes the backend under test, the way the plugin's main does.
	Backend func() sdk.Backend
	// Program returns the path of the plugin's program; see Build. When it is
	// nil the test binary starts itself a second time and serves Backend: a
	// real process, but not the real main.
	Program func(t testing.TB) string
	// Env is what the plugin's process must see beyond the few variables that
	// every plugin gets, as KEY=VALUE.
	Env []string

	// StoreName is the file or directory name that a store usually has.
	StoreName string
	// Dir is set when a store is a directory.
	Dir bool
	// Make creates a closed store at path, where nothing is yet. Equal Specs
	// give equal content.
	Make func(path string, spec Spec) error
	// Digest reads all content with the engine's own library and without
	// changing it. Equal content has equal digests, whatever its layout, and
	// other content another: by it the suite sees what is lost.
	Digest func(path string) (string, error)
	// Hold opens the store as an application would and keeps it until release
	// is called. The suite calls it in a second process, for which it starts
	// the test binary again and runs the same test as far as Run.
	Hold func(path string) (release func() error, err error)
	// Truncate damages a store by cutting it short. When nil, the store's
	// largest file is cut in half.
	Truncate func(path string) error

	// Bytes is the size of an ordinary store; 0 means 1 MiB.
	Bytes int64
	// SlowBytes is the size of a store that takes long enough for a plugin to be
	// interrupted in the middle: some 100 ms. 0 means 8 MiB for a backend that
	// honours a rate limit, which then holds it back, and 32 MiB for another.
	SlowBytes int64
	// Tolerance is how far a prediction may be from what compaction gives
	// back, as a share of the allocated bytes; 0 means 0.25.
	Tolerance float64
	// Seed is for everything that is random.
	Seed uint64
	// Timeout is when a call that has not returned counts as hanging; 0 means
	// 30 s.
	Timeout time.Duration
	// Skip maps cases that make no sense for the engine to the reason. Keys
	// are "locked" or, for one half only, "subprocess/locked"; parts of a case
	// are "damaged/truncated". They are reported as skipped, not as passed.
	Skip map[string]string
}

// Shape is what kind of store is to be made.
type Shape string

const (
	// Empty is a new store with nothing in it.
	Empty Shape = "empty"
	// Dense is full of live content, with next to nothing to give back.
	Dense Shape = "dense"
	// Fragmented has been worked on until about half of it was dead space.
	Fragmented Shape = "fragmented"
)

// Spec says which store to make.
type Spec struct {
	Shape Shape
	// Bytes is about what the store takes on disk. It means nothing for Empty.
	Bytes int64
	Seed  uint64
}

// Some waiting is part of the contract, so it has bounds of its own.
const (
	// promptly bounds what has to happen at once: busy, cancelled, refused.
	promptly = 3 * time.Second
	// minimumYield is the share that compaction gives back of a store that is
	// rightly called fragmented.
	minimumYield = 0.10
	// slack is how many bytes of a store's size nobody quarrels about: a few
	// pages, a lock file, rounding to blocks.
	slack = 64 << 10
)

// half says where the backend under test runs.
type half string

const (
	inProcess  half = "in_process"
	subprocess half = "subprocess"
)

// cases is the suite in the order in which failures are best read.
var cases = []struct {
	name string
	only half // empty for both
	run  func(*testing.T, *subject)
}{
	{"factory", inProcess, testFactory},
	{"describe", "", testDescribe},
	{"describe_command", subprocess, testDescribeCommand},
	{"recognise", "", testRecognise},
	{"measure", "", testMeasure},
	{"measure_changes_nothing", "", testMeasureChangesNothing},
	{"compact", "", testCompact},
	{"compact_empty", "", testCompactEmpty},
	{"compact_dense", "", testCompactDense},
	{"compact_symlink", "", testCompactSymlink},
	{"compact_again", "", testCompactAgain},
	{"predict", "", testPredict},
	{"progress", "", testProgress},
	{"rate_limit", inProcess, testRateLimit},
	{"rate_change", "", testRateChange},
	{"options", "", testOptions},
	{"modes", "", testModes},
	{"damaged", "", testDamaged},
	{"locked", "", testLocked},
	{"measure_while_compacting", "", testMeasureWhileCompacting},
	{"compact_twice_at_once", "", testCompactTwiceAtOnce},
	{"compact_several_stores", "", testCompactSeveralStores},
	{"sweep", "", testSweep},
	{"cancel", "", testCancel},
	{"cancel_before", "", testCancelBefore},
	{"cancel_each_phase", inProcess, testCancelEachPhase},
	{"killed", subprocess, testKilled},
}

// Run puts a backend through the suite: all cases in this process, then all of
// them through a plugin process.
func Run(t *testing.T, f Factory) {
	t.Helper()
	f.check(t)
	playRole(t, f) // ends the process where it is one of the suite's helpers

	for _, h := range []half{inProcess, subprocess} {
		t.Run(string(h), func(t *testing.T) {
			s := newSubject(t, f, h)
			passed := 0
			for _, c := range cases {
				if c.only != "" && c.only != h {
					continue
				}
				var sub *testing.T // stays nil where -run or Skip leaves the case out
				s.part(t, c.name, func(t *testing.T) { sub = t; c.run(t, s) })
				if sub != nil && !sub.Failed() && !sub.Skipped() {
					passed++
				}
			}
			if s.watch != nil {
				// Whoever reports after Compact has returned does it about now.
				time.Sleep(100 * time.Millisecond)
				s.watch.wantNothing(t)
			}
			t.Logf("%d cases passed, %d skipped %s", passed, len(s.skipped), strings.Join(s.skipped, ", "))
		})
	}
}

// check refuses a Factory with which cases would silently be missing.
func (f *Factory) check(t *testing.T) {
	t.Helper()
	if f.Backend == nil || f.StoreName == "" || f.Make == nil || f.Digest == nil {
		t.Fatal("sdktest: Backend, StoreName, Make and Digest are required in the Factory")
	}
	if f.Hold == nil && f.Skip["locked"] == "" {
		t.Fatal(`sdktest: give the Factory a Hold, or say in Skip["locked"] why the engine has no lock`)
	}
	known := make(map[string]bool, len(cases))
	for _, c := range cases {
		known[c.name] = true
	}
	for key, reason := range f.Skip {
		if reason == "" {
			t.Fatalf("sdktest: Skip[%q] needs a reason", key)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(key, string(inProcess)+"/"), string(subprocess)+"/")
		name, _, _ = strings.Cut(name, "/")
		if !known[name] {
			t.Fatalf("sdktest: Skip[%q] names no case", key)
		}
	}
	f.setDefaults()
}

func (f *Factory) setDefaults() {
	if f.Bytes == 0 {
		f.Bytes = 1 << 20
	}
	if f.Tolerance == 0 {
		f.Tolerance = 0.25
	}
	if f.Seed == 0 {
		f.Seed = 1
	}
	if f.Timeout == 0 {
		f.Timeout = 30 * time.Second
	}
}

// part runs a case, or a part of one, unless the Factory skips it.
func (s *subject) part(t *testing.T, name string, run func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		_, key, _ := strings.Cut(t.Name(), "/"+string(s.half)+"/")
		if reason, ok := s.skipReason(key); ok {
			s.skipped = append(s.skipped, key)
			t.Skipf("skipped by the factory: %s", reason)
		}
		defer s.explainFailure(t)
		if s.watch != nil {
			defer s.watch.wantNothing(t)
		}
		run(t)
	})
}

func (s *subject) skipReason(key string) (string, bool) {
	if reason, ok := s.Skip[key]; ok {
		return reason, true
	}
	reason, ok := s.Skip[fmt.Sprintf("%s/%s", s.half, key)]
	return reason, ok
}
