package compaction_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// fragmented and dense are measurements above and below the thresholds of
// newStore.
var (
	fragmented = sdk.Fragmentation{TotalBytes: 24 * mib, AllocatedBytes: 20 * mib, LiveBytes: 8 * mib, ReclaimableBytes: 12 * mib, Method: sdk.MethodSampled}
	dense      = sdk.Fragmentation{TotalBytes: 8 * mib, AllocatedBytes: 8 * mib, LiveBytes: 8 * mib, ReclaimableBytes: mib / 8, Method: sdk.MethodSampled}
)

// success is what a compaction of fragmented gives.
var success = sdk.CompactResult{
	Before: sdk.Size{TotalBytes: 24 * mib, AllocatedBytes: 20 * mib}, After: sdk.Size{TotalBytes: 9 * mib, AllocatedBytes: 8 * mib},
	ReclaimedBytes: 12 * mib, Duration: 3 * time.Second, Pause: 2 * time.Second,
	Verification: &sdk.Verification{DigestBefore: "xxh64:1", DigestAfter: "xxh64:1", ItemsBefore: 7, ItemsAfter: 7},
}

// backend is scripted: each function gets the number of its call, from 1, and
// may be nil.
type backend struct {
	fragmentation func(n int, req sdk.FragmentationRequest) (sdk.Fragmentation, error)
	compact       func(ctx context.Context, n int, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error)
	stores        []sdk.Store

	mu    sync.Mutex
	calls []string
}

var (
	_ sdk.Backend = (*backend)(nil)
	_ sdk.Sweeper = (*backend)(nil)
)

// note remembers a call and says how many there were of it.
func (b *backend) note(call string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, call)
	for _, c := range b.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (b *backend) called() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

func (b *backend) count(call string) (n int) {
	for _, c := range b.called() {
		if c == call {
			n++
		}
	}
	return n
}

func (b *backend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name: "fake", Version: "1", Engine: "Fake",
		Capabilities: sdk.Capabilities{Modes: []string{"rewrite"}, Verifies: true, MeasuresWithoutLock: true},
	}, nil
}

func (b *backend) Fragmentation(_ context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	n := b.note("measure")
	if b.fragmentation == nil {
		return fragmented, nil
	}
	return b.fragmentation(n, req)
}

func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	n := b.note("compact")
	if b.compact == nil {
		return success, nil
	}
	return b.compact(ctx, n, req, report)
}

func (b *backend) Sweep(context.Context, sdk.Store) ([]string, error) {
	b.note("sweep")
	return nil, nil
}

// lister is a backend that knows its stores by name.
type lister struct{ *backend }

func (l lister) Stores(context.Context) ([]sdk.Store, error) { return l.stores, nil }

// clients hands out backends by the name of the store, and counts.
type clients struct {
	backends map[string]sdk.Backend
	other    sdk.Backend // for stores without one of their own
	// acquire may replace what happens on a store's n-th Acquire.
	acquire func(n int, store string) error

	mu                 sync.Mutex
	acquired, released int
	discarded          int // of those released
	ranks              []sdk.IOPriority
	byStore            map[string]int
}

func (c *clients) Acquire(ctx context.Context, store config.Store) (compaction.Lease, error) {
	c.mu.Lock()
	if c.byStore == nil {
		c.byStore = map[string]int{}
	}
	c.byStore[store.Name]++
	n := c.byStore[store.Name]
	c.mu.Unlock()
	if c.acquire != nil {
		if err := c.acquire(n, store.Name); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	b := c.backends[store.Name]
	if b == nil {
		b = c.other
	}
	d, err := b.Describe(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acquired++
	return &lease{clients: c, backend: b, description: d}, nil
}

// balance says how many leases are out.
func (c *clients) balance() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acquired - c.released
}

type lease struct {
	clients     *clients
	backend     sdk.Backend
	description sdk.Description
	once        sync.Once
}

func (l *lease) Backend() sdk.Backend         { return l.backend }
func (l *lease) Description() sdk.Description { return l.description }

func (l *lease) Release() {
	twice := true
	l.once.Do(func() { twice = false })
	if twice {
		panic("lease released twice")
	}
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	l.clients.released++
}

func (l *lease) SetIOPriority(priority sdk.IOPriority) {
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	l.clients.ranks = append(l.clients.ranks, priority)
}

func (l *lease) Discard(string) {
	l.Release()
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	l.clients.discarded++
}

// recorder is a Publisher that remembers, and may react.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) Publish(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// names are those of the events about a store, runs included, without progress.
func (r *recorder) names(store string) (names []event.Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if (e.Store == store || e.Store == "") && e.Name != event.CompactionProgress {
			names = append(names, e.Name)
		}
	}
	return names
}

func (r *recorder) count(name event.Name) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Name == name {
			n++
		}
	}
	return n
}

// world is a Runner with all that is around it: a real history, scripted
// backends, and the clock of the bubble that the test runs in.
type world struct {
	t       *testing.T
	dir     string
	history *history.DB
	events  *recorder
	clients *clients
	runner  *compaction.Runner
}

// inBubble runs a test with a clock that stands still while anybody works.
func inBubble(t *testing.T, c compaction.Config, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), events: &recorder{}, clients: &clients{backends: map[string]sdk.Backend{}}}
		db, err := history.Open(filepath.Join(w.dir, history.FileName), 20, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		w.history = db
		c.History, c.Bus = db, w.events
		if c.Clients == nil {
			c.Clients = w.clients
		}
		if testing.Verbose() {
			c.Logger = hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Debug})
		}
		w.runner = compaction.New(c)
		test(t, w)
		synctest.Wait()
		if n := w.clients.balance(); n != 0 {
			t.Errorf("%d leases were not released", n)
		}
	})
}

// store makes a store with a file of its own, as the defaults configure it, and
// a guarded backend.
func (w *world) store(name string, b *backend) config.Store {
	w.t.Helper()
	path := filepath.Join(w.dir, name+".db")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.clients.backends[name] = sdk.Guard(b)
	return newStore(name, path)
}

func newStore(name, path string) config.Store {
	return config.Store{
		Name: name, Plugin: "fake", Path: path,
		Policy:       policy.Settings{MinRatio: 0.1, MinReclaim: mib, MinGap: time.Hour, QuarantineAfter: 5},
		Retry:        config.Retry{Attempts: 1, Delay: 30 * time.Second},
		StallTimeout: 5 * time.Minute,
	}
}

// run makes a scheduled run.
func (w *world) run(stores ...config.Store) history.Run {
	w.t.Helper()
	return w.request(w.t.Context(), compaction.Request{Stores: stores})
}

// quiet is a context in which a panic of a guarded backend is not logged.
func (w *world) quiet() context.Context {
	return hclog.WithContext(w.t.Context(), hclog.NewNullLogger())
}

func (w *world) request(ctx context.Context, req compaction.Request) history.Run {
	w.t.Helper()
	run, err := w.runner.Run(ctx, req)
	if err != nil {
		w.t.Fatal(err)
	}
	return run
}

func (w *world) past(store string) history.Past {
	w.t.Helper()
	past, err := w.history.Past(store)
	if err != nil {
		w.t.Fatal(err)
	}
	return past
}

// failures gives a store a past of n failed runs.
func (w *world) failures(store string, n int) {
	w.t.Helper()
	for i := range n {
		id := fmt.Sprintf("before-%d", i)
		run := history.Run{ID: id, Results: []history.Result{{Store: store, Run: id, Outcome: history.Failed}}}
		if err := w.history.AddRun(run); err != nil {
			w.t.Fatal(err)
		}
	}
}

// sequence returns a compact function that answers its n-th call with the n-th
// error; nil, and whatever follows the last, is success.
func sequence(errs ...error) func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
	return func(_ context.Context, n int, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
		if n <= len(errs) && errs[n-1] != nil {
			return sdk.CompactResult{}, errs[n-1]
		}
		return success, nil
	}
}

// measures returns a fragmentation function likewise; the last answer stays.
func measures(answers ...any) func(int, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	return func(n int, _ sdk.FragmentationRequest) (sdk.Fragmentation, error) {
		switch answer := answers[min(n, len(answers))-1].(type) {
		case error:
			return sdk.Fragmentation{}, answer
		case sdk.Fragmentation:
			return answer, nil
		default:
			panic(fmt.Sprintf("the script has a %T", answer))
		}
	}
}
