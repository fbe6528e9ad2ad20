package live

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestPrediction holds what measuring says against what compacting gives back.
func TestPrediction(t *testing.T) {
	for _, spec := range []pebbletest.Spec{
		{Shape: pebbletest.Dense},
		{Shape: pebbletest.Deletes, RangeKeys: 5},
		{Shape: pebbletest.Overwrites, Format: pebbledb.FormatNewest},
		{Shape: pebbletest.RangeDeletes},
	} {
		t.Run(string(spec.Shape), func(t *testing.T) {
			o := open(t, spec, nil)
			b := o.backend(t)
			predicted := map[sdk.Depth]sdk.Fragmentation{sdk.DepthSampled: measure(t, b, sdk.DepthSampled), sdk.DepthExact: measure(t, b, sdk.DepthExact)}
			result := compact(t, b)
			for depth, f := range predicted {
				tolerance := max(f.AllocatedBytes*3/100, result.ReclaimedBytes/10+16<<10)
				if off := f.ReclaimableBytes - result.ReclaimedBytes; off > tolerance || off < -tolerance {
					t.Errorf("%s predicts %d of %d bytes, and %d came back", depth, f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
				}
				if len(f.Map) == 0 || len(f.Layers) == 0 || f.Metrics["tables"] == 0 {
					t.Errorf("%s: %d cells, %d layers, metrics %v", depth, len(f.Map), len(f.Layers), f.Metrics)
				}
			}
			if again := compact(t, b); !again.NoOp {
				t.Errorf("a second compaction was none for nothing: %+v", again)
			}
			if left := measure(t, b, sdk.DepthSampled).ReclaimableBytes; left > 64<<10 {
				t.Errorf("%d bytes are reclaimable after that", left)
			}
		})
	}
}

// TestRounds gives each step a snapshot of its own, by a limit that any write
// exceeds: content is compared each time.
func TestRounds(t *testing.T) {
	o := openInMemory(t, nil)
	const groups, keys = 5, 300 // each group has tables of its own, which overlap
	for i := range 2 * groups {
		o.set(t, i/2*1000, i/2*1000+keys, fmt.Sprint(i))
		if err := o.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := newStore(Store{Name: "events", DB: o.db, Options: o.options})
	if err != nil {
		t.Fatal(err)
	}
	s.leastHeld, s.largestStep = 0, 1
	checks, last := 0, ""
	b := sdk.Guard(&backend{stores: []*store{s}})
	n := 0
	result, err := b.Compact(t.Context(), sdk.CompactRequest{Store: events}, func(p sdk.Progress) {
		if p.Phase == "check" && last != "check" {
			checks++
		}
		last = p.Phase
		n++
		// More than a quarter of the store, so that every snapshot grows old.
		o.set(t, 10_000+n*100, 10_000+n*100+100, strings.Repeat("new", 300))
	})
	if err != nil {
		t.Fatal(err)
	}
	if checks < groups {
		t.Errorf("%d snapshots were read, want one for each of %d groups at least", checks, groups)
	}
	if v := result.Verification; v == nil || v.ItemsBefore < keys*groups*(groups+1)/2 {
		t.Errorf("after %d rounds the verification is %+v", checks, v)
	}
	if !strings.Contains(result.Note, "the application wrote") {
		t.Errorf("note %q", result.Note)
	}
}

// restless is a merger whose result is another each time that it is read, as a
// table would be that came out wrong.
func restless(armed *atomic.Bool) *pebbledb.Merger {
	var n atomic.Int64
	return &pebbledb.Merger{
		Name: pebbledb.DefaultMerger.Name,
		Merge: func(key, value []byte) (pebbledb.ValueMerger, error) {
			if armed.Load() {
				value = fmt.Appendf(nil, "%s %d", value, n.Add(1))
			}
			return pebbledb.DefaultMerger.Merge(key, value)
		},
	}
}

// TestDifference has a merger that makes something else of the same operands.
func TestDifference(t *testing.T) {
	var armed atomic.Bool
	o := openInMemory(t, func(o *pebbledb.Options) { o.Merger = restless(&armed) })
	for range 2 {
		for i := range 200 {
			if err := o.db.Merge(pebbletest.Key(i), []byte("operand"), pebbledb.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	armed.Store(true)
	err := compactStore(t.Context(), o.backend(t), events)
	wantKind(t, "content that has changed", err, sdk.ErrInternal)
	if sdk.Retryable(err) || !strings.Contains(sdk.HintOf(err), "backup") || !strings.Contains(fmt.Sprint(err), "events") {
		t.Errorf("error %v with hint %q", err, sdk.HintOf(err))
	}
}

// TestExcise cuts keys out while a compaction looks at them: that is no fault,
// and the result says that nothing was proven.
func TestExcise(t *testing.T) {
	o := open(t, pebbletest.Spec{Format: pebbledb.FormatNewest}, nil)
	cut := sync.OnceFunc(func() {
		err := o.db.Excise(t.Context(), pebbledb.KeyRange{Start: pebbletest.Key(100), End: pebbletest.Key(300)})
		if err != nil {
			t.Error(err)
		}
	})
	result, err := o.backend(t).Compact(t.Context(), sdk.CompactRequest{Store: events}, func(p sdk.Progress) {
		if p.Phase == "compact" {
			cut()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Verification != nil || !strings.Contains(result.Note, "not verified") {
		t.Errorf("verification %+v, note %q", result.Verification, result.Note)
	}
}

// TestWhatStays has a snapshot and an iterator of the application, which keep
// what they see: the result says so.
func TestWhatStays(t *testing.T) {
	o := open(t, pebbletest.Spec{Shape: pebbletest.Overwrites}, nil)
	snapshot := o.db.NewSnapshot()
	it, err := o.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	it.First()
	b := o.backend(t)
	if f := measure(t, b, sdk.DepthExact); f.Metrics["open_snapshots"] != 1 || f.Method == sdk.MethodExact {
		t.Errorf("method %s with %v snapshots", f.Method, f.Metrics["open_snapshots"])
	}
	result := compact(t, b)
	for _, want := range []string{"1 open snapshots", "open iterators hold", "live.Stalls is not set"} {
		if !strings.Contains(result.Note, want) {
			t.Errorf("note %q lacks %q", result.Note, want)
		}
	}
	if err := errors.Join(it.Close(), snapshot.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestPassive has tables that only automatic compactions rewrite, and none of
// these: what stays is said.
func TestPassive(t *testing.T) {
	o := open(t, pebbletest.Spec{Shape: pebbletest.Bottom}, nil)
	b := o.backend(t)
	if f := measure(t, b, sdk.DepthSampled); f.ReclaimableBytes != 0 {
		t.Errorf("%d bytes are promised that no compaction gives back", f.ReclaimableBytes)
	}
	result := compact(t, b)
	if !result.NoOp || !strings.Contains(result.Note, "automatic compactions are off") {
		t.Errorf("no-op %v, note %q", result.NoOp, result.Note)
	}
}

// TestThick has tables that automatic compactions alone rewrite: a compaction
// waits for these.
func TestThick(t *testing.T) {
	o := open(t, pebbletest.Spec{Shape: pebbletest.Bottom}, func(o *pebbledb.Options) { o.DisableAutomaticCompactions = false })
	result := compact(t, o.backend(t))
	levels, err := engine.ReadLevels(o.db)
	if err != nil {
		t.Fatal(err)
	}
	if left := engine.ThickTables(levels); len(left) > 0 {
		t.Errorf("%d tables are thick with tombstones; note %q", len(left), result.Note)
	}
}

// TestStalls holds Pebble's flushes up until a writer stalls: the pause is as long
// as that, and the application's own listener hears of it as before.
func TestStalls(t *testing.T) {
	gate := &gateFS{FS: vfs.NewMem(), open: make(chan struct{}), waiting: make(chan struct{}, 1)}
	stalled := make(chan struct{})
	closeOnce := sync.OnceFunc(func() { close(stalled) })
	var stall struct {
		sync.Mutex
		began time.Time
		first time.Duration
	}
	stalls := new(Stalls)
	o := openInMemory(t, func(o *pebbledb.Options) {
		o.FS, o.MemTableStopWritesThreshold = gate, 2
		o.EventListener = &pebbledb.EventListener{
			WriteStallBegin: func(pebbledb.WriteStallBeginInfo) {
				stall.Lock()
				defer stall.Unlock()
				stall.began = time.Now()
				closeOnce()
			},
			WriteStallEnd: func() {
				stall.Lock()
				defer stall.Unlock()
				if stall.first == 0 {
					stall.first = time.Since(stall.began)
				}
			},
		}
		stalls.Listen(o)
	})
	for _, value := range []string{"first", "again"} {
		o.set(t, 0, 100, value)
		if value == "first" {
			if err := o.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.set(t, 0, 100, strings.Repeat("again", 100))
	b, err := New(Store{Name: "events", DB: o.db, Options: o.options, Stalls: stalls})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.db.Flush(); err != nil {
		t.Fatal(err)
	}
	o.set(t, 0, 10, "more")
	gate.shut.Store(true)
	var result sdk.CompactResult
	done := make(chan error, 1)
	go func() {
		var err error
		result, err = b.Compact(t.Context(), sdk.CompactRequest{Store: events}, func(sdk.Progress) {})
		done <- err
	}()
	<-gate.waiting // the flush that Compact asked for
	wrote := make(chan error, 1)
	go func() {
		for i := range 2000 {
			if err := o.db.Set(pebbletest.Key(i), make([]byte, 200), pebbledb.NoSync); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	<-stalled
	gate.shut.Store(false)
	close(gate.open)
	if err := errors.Join(<-wrote, <-done); err != nil {
		t.Fatal(err)
	}
	stall.Lock()
	defer stall.Unlock()
	// The application may have stalled again once the compaction was over.
	if result.Pause < stall.first || stall.first <= 0 {
		t.Errorf("the pause is %v; a writer stalled for %v", result.Pause, stall.first)
	}
	if strings.Contains(result.Note, "live.Stalls") {
		t.Errorf("note %q", result.Note)
	}
}

// gateFS keeps tables from being made while it is shut.
type gateFS struct {
	vfs.FS
	shut    atomic.Bool
	open    chan struct{}
	waiting chan struct{}
}

func (f *gateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.shut.Load() && strings.HasSuffix(name, ".sst") {
		select {
		case f.waiting <- struct{}{}:
		default:
		}
		<-f.open
	}
	return f.FS.Create(name, category)
}
