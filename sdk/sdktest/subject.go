package sdktest

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// subject is the backend under test in one half of the suite.
type subject struct {
	Factory
	half half
	// test is the name of the test that called Run, by which helper processes
	// find their way back to it.
	test    string
	program string // of the plugin; the test binary's own when Factory has none
	backend sdk.Backend
	// watch sees the backend without its Guard; nil in the subprocess half.
	watch   *watch
	process *sdk.Process // nil in process
	stderr  *tail        // of the process
	// about is what the backend says of itself.
	about sdk.Description
	// skipped are the cases and parts that the Factory's Skip has left out.
	skipped []string
}

func newSubject(t *testing.T, f Factory, h half) *subject {
	t.Helper()
	s := &subject{Factory: f, half: h, test: strings.TrimSuffix(t.Name(), "/"+string(h))}
	switch h {
	case inProcess:
		s.watch = &watch{}
		s.backend = sdk.Guard(watched(f.Backend(), s.watch))
	case subprocess:
		s.program = programOf(t, f)
		s.process, s.stderr = s.launch(t)
		s.backend = s.process.Client()
	}
	about, err := within(t, s.Timeout, "Describe", func() (sdk.Description, error) {
		return s.backend.Describe(t.Context())
	})
	if err != nil {
		// The Guard refuses what no host can use. Say all that is wrong.
		if raw, err := f.Backend().Describe(t.Context()); err == nil {
			checkDescription(t, raw)
		}
		t.Fatalf("Describe: %v", err)
	}
	s.about = about
	if s.SlowBytes == 0 {
		s.SlowBytes = 32 << 20
		if about.Capabilities.LimitsRate {
			s.SlowBytes = 8 << 20
		}
	}
	return s
}

// another is the backend once more, as a second host of the same store has it.
func (s *subject) another(t *testing.T) sdk.Backend {
	t.Helper()
	if s.half == inProcess {
		return sdk.Guard(s.Backend())
	}
	process, _ := s.launch(t)
	return process.Client()
}

// explainFailure adds what the plugin wrote to a failed case.
func (s *subject) explainFailure(t *testing.T) {
	t.Helper()
	if !t.Failed() || s.stderr == nil {
		return
	}
	if said := s.stderr.String(); said != "" {
		t.Logf("the plugin's stderr ends:\n%s", said)
	}
}

// store is one database on disk, alone in a directory but for some files of
// other people that nobody may touch.
type store struct {
	dir, path string
	bystander snapshot
}

func (s *subject) newStore(t *testing.T, shape Shape) store {
	t.Helper()
	return s.newStoreOf(t, shape, s.Bytes)
}

func (s *subject) newStoreOf(t *testing.T, shape Shape, size int64) store {
	t.Helper()
	st := s.noStore(t)
	if err := s.Make(st.path, Spec{Shape: shape, Bytes: size, Seed: s.Seed}); err != nil {
		t.Fatalf("Factory.Make of the %s store: %v", shape, err)
	}
	if names := st.leftovers(t); len(names) > 0 {
		t.Fatalf("Factory.Make left %q beside the store", names)
	}
	return st
}

// newLongStore makes a fragmented store whose compaction has a middle. Here a
// progress stops the backend while it is looked at, so a few pieces of work are
// enough; a plugin runs on.
func (s *subject) newLongStore(t *testing.T) store {
	t.Helper()
	size := s.SlowBytes
	if s.half == inProcess {
		size = min(size, 4*s.Bytes)
	}
	return s.newStoreOf(t, Fragmented, size)
}

// noStore is the place of a store that does not exist.
func (s *subject) noStore(t *testing.T) store {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st := store{dir: dir, path: filepath.Join(dir, s.StoreName)}
	for _, name := range []string{"notes.txt", s.StoreName + ".bak", "other-" + s.StoreName + ".tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("belongs to somebody else\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st.bystander = takeSnapshot(t, dir)
	t.Cleanup(func() { s.wantClosed(t, st); st.wantBystandersUntouched(t) })
	return st
}

func (st store) ref() sdk.Store { return sdk.Store{Name: "under-test", Path: st.path} }

// leftovers are the entries beside the store that were not there at first.
func (st store) leftovers(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(st.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if _, ok := st.bystander[e.Name()]; !ok && e.Name() != filepath.Base(st.path) {
			names = append(names, e.Name())
		}
	}
	return names
}

func (st store) wantBystandersUntouched(t *testing.T) {
	t.Helper()
	now := takeSnapshot(t, st.dir)
	for name, was := range st.bystander {
		if now[name] != was {
			t.Errorf("%s, which is no part of the store, was changed or removed", name)
		}
	}
}

// wantNoLeftovers says what a call left beside the store. There is no waiting:
// a call returns when it has tidied up, cancelled or not, here or in a plugin.
func (st store) wantNoLeftovers(t *testing.T, after string) {
	t.Helper()
	if names := st.leftovers(t); len(names) > 0 {
		t.Errorf("%s, %q was left beside the store", after, names)
	}
}

// wantClosed checks that neither half still has a file of the store open: with
// it, its lock would stay too. It needs /proc, so it checks on Linux only.
func (s *subject) wantClosed(t *testing.T, st store) {
	t.Helper()
	pids := []int{os.Getpid()}
	if s.process != nil {
		pids = append(pids, s.process.PID())
	}
	for _, pid := range pids {
		if open := openFiles(pid, st.dir); len(open) > 0 {
			t.Errorf("process %d still has open: %q", pid, open)
		}
	}
}

func (s *subject) digest(t *testing.T, st store) string {
	t.Helper()
	digest, err := within(t, s.Timeout, "Factory.Digest", func() (string, error) { return s.Digest(st.path) })
	if err != nil {
		t.Fatalf("read the store with the engine's own library: %v", err)
	}
	return digest
}

func (s *subject) wantContent(t *testing.T, st store, want, after string) {
	t.Helper()
	if got := s.digest(t, st); got != want {
		t.Errorf("%s, the content is another: digest %s, was %s", after, got, want)
	}
}

func (s *subject) measure(t *testing.T, st store, depth sdk.Depth) (sdk.Fragmentation, error) {
	t.Helper()
	return within(t, s.Timeout, "Fragmentation", func() (sdk.Fragmentation, error) {
		return s.backend.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: st.ref(), Depth: depth})
	})
}

func (s *subject) mustMeasure(t *testing.T, st store, depth sdk.Depth) sdk.Fragmentation {
	t.Helper()
	f, err := s.measure(t, st, depth)
	if err != nil {
		t.Fatalf("Fragmentation, %s: %v", depth, err)
	}
	return f
}

// compact compacts with a backend; on, which may be nil, sees each progress.
func (s *subject) compact(ctx context.Context, t *testing.T, b sdk.Backend, req sdk.CompactRequest, on func(sdk.Progress)) (sdk.CompactResult, *trace, error) {
	t.Helper()
	tr := &trace{on: on}
	res, err := within(t, s.Timeout, "Compact", func() (sdk.CompactResult, error) {
		return b.Compact(ctx, req, tr.report)
	})
	return res, tr, err
}

func (s *subject) mustCompact(t *testing.T, st store) (sdk.CompactResult, *trace) {
	t.Helper()
	res, tr, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref()}, nil)
	if err != nil {
		t.Fatalf("Compact: %v", err)
	}
	return res, tr
}

// slowly limits the rate where the backend can, so that there is a middle to
// interrupt.
func (s *subject) slowly() sdk.Limits {
	if !s.about.Capabilities.LimitsRate {
		return sdk.Limits{}
	}
	return sdk.Limits{BytesPerSecond: s.SlowBytes}
}

func (s *subject) sweep(t *testing.T, b sdk.Backend, st store) (removed []string, err error) {
	t.Helper()
	sweeper, ok := b.(sdk.Sweeper)
	if !ok {
		t.Fatalf("%T does not implement sdk.Sweeper", b)
	}
	return within(t, s.Timeout, "Sweep", func() ([]string, error) { return sweeper.Sweep(t.Context(), st.ref()) })
}

func (s *subject) mustSweep(t *testing.T, st store) (removed []string) {
	t.Helper()
	removed, err := s.sweep(t, s.backend, st)
	if err != nil {
		t.Fatalf("Sweep: %v", err)
	}
	return removed
}

// trace keeps the progress of one compaction.
type trace struct {
	on func(sdk.Progress)

	mu   sync.Mutex
	seen []sdk.Progress
}

func (tr *trace) report(p sdk.Progress) {
	tr.mu.Lock()
	tr.seen = append(tr.seen, p)
	tr.mu.Unlock()
	if tr.on != nil {
		tr.on(p)
	}
}

func (tr *trace) all() []sdk.Progress {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.seen)
}

// phases are the names of the phases in their order.
func (tr *trace) phases() []string {
	var names []string
	for _, p := range tr.all() {
		if !slices.Contains(names, p.Phase) {
			names = append(names, p.Phase)
		}
	}
	return names
}

// inTheMiddle says whether a progress shows that some work is done and some is
// left.
func inTheMiddle(p sdk.Progress) bool { return p.Done > 0 && unfinished(p) }

func unfinished(p sdk.Progress) bool { return p.Total == 0 || p.Done < p.Total }

// interruptible says when to interrupt. Here the backend stands still at each
// progress. A plugin has gone on when its progress arrives, and sends only a
// few: the first will do.
func (s *subject) interruptible(p sdk.Progress) bool {
	if s.half == inProcess {
		return inTheMiddle(p)
	}
	return unfinished(p)
}

// within makes a call and fails the test when it has not returned in time.
func within[T any](t *testing.T, limit time.Duration, what string, call func() (T, error)) (T, error) {
	t.Helper()
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := call()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-time.After(limit):
		t.Fatalf("%s hangs: it has not returned after %s", what, limit)
		panic("unreachable")
	}
}

// wantKind checks that err is one of the kinds that a host decides on.
func wantKind(t *testing.T, what string, err error, kinds ...error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was not refused; want %q", what, kinds)
		return
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Errorf("%s: error %q; want one of kind %q", what, err, kinds)
}

// random is the suite's only source of chance.
func (s *subject) random() *rand.Rand { return rand.New(rand.NewPCG(s.Seed, 0)) }
