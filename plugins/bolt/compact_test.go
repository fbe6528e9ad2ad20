package bolt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

// For each shape: the content survives, what was foretold is given back within
// a tenth, and a second compaction finds nothing to do.
func TestCompactShapes(t *testing.T) {
	const live = 1 << 20
	for _, test := range []struct {
		name  string
		spec  bolttest.Spec
		noOp  bool
		least float64 // part of the allocated bytes that must come back
	}{
		{"random, half deleted", bolttest.Spec{Shape: bolttest.ShapeRandom, GarbageRatio: 0.5}, false, 0.6},
		{"append-only, prefix deleted", bolttest.Spec{Shape: bolttest.ShapeAppend, GarbageRatio: 0.6}, false, 0.6},
		{"nested small buckets", bolttest.Spec{Shape: bolttest.ShapeNested, GarbageRatio: 0.5}, false, 0.2},
		{"big values", bolttest.Spec{Shape: bolttest.ShapeBigValues, GarbageRatio: 0.5}, false, 0.4},
		{"deep nesting", bolttest.Spec{Shape: bolttest.ShapeDeep, GarbageRatio: 0.5}, false, 0.2},
		{"half full pages, no garbage", bolttest.Spec{Shape: bolttest.ShapeAppend}, false, 0.3},
		{"dense", bolttest.Spec{Shape: bolttest.ShapeDense}, true, 0},
		{"dense, half deleted", bolttest.Spec{Shape: bolttest.ShapeDense, GarbageRatio: 0.5}, false, 0.4},
		{"empty", bolttest.Spec{Shape: bolttest.ShapeEmpty}, true, 0},
		{"one key", bolttest.Spec{Shape: bolttest.ShapeOneKey}, true, 0},
		{"1 KiB pages", bolttest.Spec{GarbageRatio: 0.5, PageSize: 1 << 10}, false, 0.5},
		{"64 KiB pages", bolttest.Spec{GarbageRatio: 0.5, PageSize: 64 << 10}, false, 0.5},
		{"1 KiB pages, nested", bolttest.Spec{Shape: bolttest.ShapeNested, GarbageRatio: 0.5, PageSize: 1 << 10}, false, 0.3},
		{"64 KiB pages, big values", bolttest.Spec{Shape: bolttest.ShapeBigValues, GarbageRatio: 0.5, PageSize: 64 << 10}, false, 0.3},
		{"NoFreelistSync", bolttest.Spec{GarbageRatio: 0.5, NoFreelistSync: true}, false, 0.5},
		{"NoFreelistSync, nested", bolttest.Spec{Shape: bolttest.ShapeNested, GarbageRatio: 0.5, NoFreelistSync: true}, false, 0.2},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Seed, test.spec.LiveBytes = 7, live
			path := generate(t, test.spec)
			found := measure(t, path, sdk.DepthSampled)
			result := compact(t, path)
			if result.NoOp != test.noOp {
				t.Fatalf("no-op: %v (%s)", result.NoOp, result.Note)
			}
			off := 100 * math.Abs(float64(found.ReclaimableBytes-result.ReclaimedBytes)) / float64(max(result.ReclaimedBytes, 1))
			t.Logf("%9d allocated, %9d foretold (%s), %9d reclaimed, %4.1f%% off",
				found.AllocatedBytes, found.ReclaimableBytes, found.Method, result.ReclaimedBytes, off)
			if off > 10 {
				t.Errorf("%d bytes foretold, %d reclaimed: %.1f%% off", found.ReclaimableBytes, result.ReclaimedBytes, off)
			}
			if part := float64(result.ReclaimedBytes) / float64(result.Before.AllocatedBytes); part < test.least {
				t.Errorf("%.2f of the file came back, want %.2f at least", part, test.least)
			}
			after := measure(t, path, sdk.DepthExact)
			for _, metric := range []string{"page_size_bytes", "freelist_synced", "keys", "buckets"} {
				before := measureMetric(found, metric)
				if got := measureMetric(after, metric); got != before {
					t.Errorf("%s is %g, was %g", metric, got, before)
				}
			}
			if tail := after.Metrics["tail_bytes"]; tail != 0 && !test.noOp {
				t.Errorf("a tail of %g bytes was left", tail)
			}
			if again := compact(t, path); !again.NoOp {
				t.Errorf("a second compaction gave back %d bytes more", again.ReclaimedBytes)
			}
			if after.ReclaimableBytes != 0 {
				t.Errorf("%d bytes are reclaimable after a compaction", after.ReclaimableBytes)
			}
		})
	}
}

func fileSizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func measureMetric(f sdk.Fragmentation, name string) float64 { return f.Metrics[name] }

func TestCompactFill(t *testing.T) {
	size := func(fill float64) int64 {
		path := generate(t, fragmented())
		r := request(path)
		r.Options = sdk.Options{"fill_percent": fill}
		before := digestOf(t, path)
		result, err := New().Compact(context.Background(), r, func(sdk.Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		checkCompacted(t, path, before, result)
		return result.After.TotalBytes
	}
	if full, usual := size(1), size(0); full >= usual {
		t.Errorf("%d bytes at fill 1, %d at the default", full, usual)
	}
}

// The file keeps its growth tail out of what is reclaimable.
func TestGrowthTailIsNoGain(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 20 << 20, Shape: bolttest.ShapeDense})
	was := measure(t, path, sdk.DepthSampled)
	if err := os.Truncate(path, was.TotalBytes-int64(was.Metrics["tail_bytes"])); err != nil {
		t.Fatal(err)
	}
	grow(t, path)
	const pageSize = 4 << 10
	f := measure(t, path, sdk.DepthSampled)
	if f.Metrics["tail_bytes"] != 16<<20+pageSize {
		t.Fatalf("the tail has %g bytes: not what bbolt makes", f.Metrics["tail_bytes"])
	}
	if f.ReclaimableBytes != 0 {
		t.Errorf("%d bytes reclaimable", f.ReclaimableBytes)
	}
	// Nor when a copy of the file has made its holes real.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := measure(t, path, sdk.DepthSampled); f.ReclaimableBytes != 0 {
		t.Errorf("%d bytes reclaimable of a tail with blocks", f.ReclaimableBytes)
	}
	// What is beyond that room is.
	const more = 3 << 20
	if err := os.WriteFile(path, append(b, make([]byte, more)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := measure(t, path, sdk.DepthSampled); f.ReclaimableBytes < more || f.ReclaimableBytes > more+more/4 {
		t.Errorf("%d bytes reclaimable of a tail that is %d too long", f.ReclaimableBytes, more)
	}
}

// grow lets a transaction take new pages.
func grow(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(put(db, "key", strings.Repeat("x", 1<<20)), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// A result that is not smaller does not take the store's place.
func TestCompactKeepsWhatIsSmaller(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 300 << 10, Shape: bolttest.ShapeDense})
	c := &compaction{
		backend: newBackend(), ctx: context.Background(), options: options{fill: 0.2},
		meter: rewrite.NewMeter(context.Background(), time.Now, nil, func(sdk.Progress) {}),
	}
	was := state(t, path)
	var err error
	if c.source, err = c.backend.openSource(c.ctx, path); err != nil {
		t.Fatal(err)
	}
	defer c.source.close()
	size := func() (int64, error) { return c.source.size.TotalBytes, nil }
	if c.found, err = probe.Measure(c.ctx, c.source.file, size, probeConfig(0.2)); err != nil {
		t.Fatal(err)
	}
	temp, err := replace.NewTemp(path, c.source.file, c.found.Meta.TxID, c.backend.random, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	if _, _, err := c.copyTo(temp).Run(); !errors.Is(err, rewrite.ErrNotSmaller) {
		t.Errorf("error %v, want ErrNotSmaller", err)
	}
	temp.Discard()
	if now := state(t, path); now != was {
		t.Error("the store has changed")
	}
	onlyTheStore(t, path)
}

// What leaves the store as it is leaves every byte.
func TestUnchanged(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 300 << 10, Shape: bolttest.ShapeDense, NoFreelistSync: noFreelist})
		was := state(t, path)
		for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
			measure(t, path, depth)
			if now := state(t, path); now != was {
				t.Errorf("no freelist %v: measuring at depth %s changed the file", noFreelist, depth)
			}
		}
		if result := compact(t, path); !result.NoOp || result.Note == "" {
			t.Errorf("no freelist %v: no-op %v, note %q", noFreelist, result.NoOp, result.Note)
		}
		if now := state(t, path); now != was {
			t.Errorf("no freelist %v: a no-op changed the file", noFreelist)
		}
	}
}

func TestCompactProgress(t *testing.T) {
	path := generate(t, fragmented())
	b := newBackend()
	// A clock that runs makes every look at it worth a report.
	tick := time.Now()
	b.now = func() time.Time { tick = tick.Add(time.Second); return tick }
	var all []sdk.Progress
	if _, err := b.Compact(context.Background(), fullRequest(path), func(p sdk.Progress) { all = append(all, p) }); err != nil {
		t.Fatal(err)
	}
	written, err := fileSizeOf(path)
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	var last sdk.Progress
	during := map[string]int{}
	for _, p := range all {
		if p.Phase != last.Phase {
			phases = append(phases, p.Phase)
		} else if p.Done < last.Done || p.Total < last.Total {
			t.Errorf("%+v after %+v", p, last)
		}
		if p.BytesRead < last.BytesRead || p.BytesWritten < last.BytesWritten || p.Done > p.Total || p.Unit == "" {
			t.Errorf("%+v after %+v", p, last)
		}
		if p.Done > 0 && p.Done < p.Total {
			during[p.Phase]++
		}
		last = p
	}
	if want := []string{"copy", "sync", "verify", "replace"}; !slices.Equal(phases, want) {
		t.Errorf("phases %q, want %q", phases, want)
	}
	for _, phase := range []string{"copy", "verify"} {
		if during[phase] < 2 {
			t.Errorf("%d reports in the middle of %s", during[phase], phase)
		}
	}
	if last.BytesRead < 1<<20 || last.BytesWritten != written || last.Done != last.Total {
		t.Errorf("the last report is %+v", last)
	}
}

// A compaction ends soon after it was asked to, and not when a phase does: the
// store is so large that each takes a while.
func TestCompactCancelled(t *testing.T) {
	whole, err := os.ReadFile(generate(t, bolttest.Spec{Seed: 1, LiveBytes: 40 << 20, GarbageRatio: 0.3, Shape: bolttest.ShapeAppend}))
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []string{"copy", "sync", "verify", "replace"} {
		t.Run(phase, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			was := state(t, path)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var asked time.Time
			_, err := New().Compact(ctx, fullRequest(path), func(p sdk.Progress) {
				if !asked.IsZero() && p.Phase != phase {
					t.Errorf("%s was begun after that", p.Phase)
				}
				middle := p.Done > 0 || phase == "sync" || phase == "replace"
				if p.Phase == phase && middle && asked.IsZero() {
					asked = time.Now()
					cancel()
				}
			})
			if !errors.Is(err, sdk.ErrCancelled) || !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want ErrCancelled", err)
			}
			if late := time.Since(asked); late > time.Second {
				t.Errorf("ended %v after it was asked to", late)
			}
			if now := state(t, path); now != was {
				t.Error("the store has changed")
			}
			onlyTheStore(t, path)
			compact(t, path)
		})
	}
}

// The path is the application's again as soon as the new file is there.
func TestCompactOfAStoreThatIsMovedAway(t *testing.T) {
	path := generate(t, fragmented())
	before := digestOf(t, path)
	b := newBackend()
	b.hook = func(op replace.Op) error {
		if op.Kind == replace.OpRelease {
			return os.Rename(path, path+".moved")
		}
		return nil
	}
	result, err := b.Compact(context.Background(), request(path), func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	checkCompacted(t, path+".moved", before, result)
}

func TestCompactKeepsToItsRate(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 100 << 10, GarbageRatio: 0.6})
	r := request(path)
	r.Pace = sdk.NewPace(2 << 20)
	began := time.Now()
	var last sdk.Progress
	if _, err := New().Compact(context.Background(), r, func(p sdk.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	least := time.Duration(float64(last.BytesRead+last.BytesWritten)/float64(2<<20)*float64(time.Second)) - 200*time.Millisecond
	if took := time.Since(began); took < least {
		t.Errorf("%d bytes read and %d written in %v, want %v at least", last.BytesRead, last.BytesWritten, took, least)
	}
}

func TestCompactRefuses(t *testing.T) {
	dir := t.TempDir()
	path := generateIn(t, dir, fragmented())
	if err := os.Link(path, filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	other := request(path)
	other.Mode = "sideways"
	rewrite := request(path)
	rewrite.Mode = ModeRewrite
	for _, test := range []struct {
		name string
		req  sdk.CompactRequest
		want error
	}{
		{"a file with two names", rewrite, sdk.ErrUnsupported},
		{"a directory", request(dir), sdk.ErrUnsupported},
		{"a device", request("/dev/null"), sdk.ErrUnsupported},
		{"a missing file", request(filepath.Join(dir, "missing")), sdk.ErrNotFound},
		{"a mode that is not there", other, sdk.ErrInvalidOption},
	} {
		_, err := New().Compact(context.Background(), test.req, func(sdk.Progress) {})
		if !errors.Is(err, test.want) || sdk.HintOf(err) == "" {
			t.Errorf("%s: error %v, hint %q, want %v", test.name, err, sdk.HintOf(err), test.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the missing file is there now")
	}
}

func TestCompactThroughASymlink(t *testing.T) {
	path := generate(t, fragmented())
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	before := digestOf(t, path)
	result, err := New().Compact(context.Background(), request(link), func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	checkCompacted(t, path, before, result)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, error %v", info.Mode(), err)
	}
	left := filepath.Join(filepath.Dir(path), ".a.db.wring-0123456789abcdef-1-1.tmp")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: link})
	if err != nil || !slices.Equal(removed, []string{left}) {
		t.Errorf("swept %q, error %v, want %q", removed, err, left)
	}
}

// The longest name that a file can have leaves no room for that of a temp.
func TestLongNames(t *testing.T) {
	for _, name := range []string{strings.Repeat("n", 255), strings.Repeat("é", 127)} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.Rename(generate(t, fragmented()), path); err != nil {
			t.Fatal(err)
		}
		if said, err := start(t, killAt(replace.OpSync, 1), path, 0).end(); !wasKilled(err) {
			t.Fatalf("the compaction ended with %v, said %q: it was to be killed", err, said)
		}
		// Another store whose name begins in the same way is another one.
		neighbour := path[:len(path)-2] + "x"
		if err := os.WriteFile(neighbour, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: neighbour}); err != nil || len(removed) != 0 {
			t.Errorf("swept %q for another store, error %v", removed, err)
		}
		if err := os.Remove(neighbour); err != nil {
			t.Fatal(err)
		}
		removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path})
		if err != nil || len(removed) != 1 || !utf8.ValidString(removed[0]) {
			t.Errorf("swept %q, error %v, want one temp", removed, err)
		}
		if result := compact(t, path); result.NoOp {
			t.Error(result.Note)
		}
	}
}

// Verification notices what has become of the new file on its way to the disk.
func TestCompactVerifies(t *testing.T) {
	path := generate(t, fragmented())
	was := state(t, path)
	b := newBackend()
	b.hook = func(op replace.Op) error {
		if op.Kind != replace.OpSync {
			return nil
		}
		return withoutItsFirstKey(op.Path, filepath.Join(t.TempDir(), "copy.db"))
	}
	_, err := b.Compact(context.Background(), fullRequest(path), func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrInternal) || !strings.Contains(err.Error(), "not sound") || sdk.HintOf(err) == "" {
		t.Errorf("error %v (hint %q), want that the new file is not sound", err, sdk.HintOf(err))
	}
	if now := state(t, path); now != was {
		t.Error("the store has changed")
	}
	onlyTheStore(t, path)
}

// withoutItsFirstKey takes a key from a new file, which is locked, by way of a
// copy.
func withoutItsFirstKey(path, scratch string) error {
	whole, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(scratch, whole, 0o600); err != nil {
		return err
	}
	db, err := bbolt.Open(scratch, 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte("random")).Cursor()
		c.First()
		return c.Delete()
	}), db.Close()); err != nil {
		return err
	}
	if whole, err = os.ReadFile(scratch); err != nil {
		return err
	}
	return os.WriteFile(path, whole, 0)
}

func TestDescribe(t *testing.T) {
	d, err := New().Describe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Options.Resolve(map[string]any{"fill_percent": 0.05}); !errors.Is(err, sdk.ErrInvalidOption) {
		t.Errorf("a fill of 0.05: error %v, want ErrInvalidOption", err)
	}
	options, err := d.Options.Resolve(nil)
	if err != nil || options.Number("fill_percent") != 0.9 {
		t.Errorf("default options %v, error %v", options, err)
	}
	matches := func(b []byte) bool {
		return slices.ContainsFunc(d.Signatures, func(s sdk.Signature) bool {
			end := s.Offset + int64(len(s.Magic))
			return end <= int64(len(b)) && string(b[s.Offset:end]) == string(s.Magic)
		})
	}
	for _, pageSize := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		b, err := os.ReadFile(generate(t, bolttest.Spec{Shape: bolttest.ShapeOneKey, PageSize: pageSize}))
		if err != nil {
			t.Fatal(err)
		}
		if !matches(b) {
			t.Errorf("page size %d: not recognised", pageSize)
		}
		clear(b[:page.MinPageSize])
		if !matches(b) {
			t.Errorf("page size %d: not recognised by its second meta", pageSize)
		}
		clear(b[pageSize:][:page.MinPageSize])
		if matches(b) {
			t.Errorf("page size %d: recognised without any meta", pageSize)
		}
	}
}

func TestReclaimable(t *testing.T) {
	const mib = 1 << 20
	meta := page.Meta{PageSize: 4096, HighWater: 100 * mib / 4096}
	for _, test := range []struct {
		name             string
		total, allocated int64
		freePages        int64
		packed           int64
		whole            bool
		want             int64
	}{
		{"half is free", 100 * mib, 100 * mib, 50 * mib / 4096, 50 * mib, true, 50 * mib},
		{"a sparse tail", 116 * mib, 100 * mib, 50 * mib / 4096, 50 * mib, true, 50 * mib},
		{"a tail with blocks", 116 * mib, 116 * mib, 50 * mib / 4096, 50 * mib, true, 50 * mib},
		{"a tail that bbolt does not make", 200 * mib, 200 * mib, 50 * mib / 4096, 50 * mib, true, 134*mib - 4096},
		{"free pages were punched", 100 * mib, 50 * mib, 50 * mib / 4096, 50 * mib, true, 0},
		{"compressed to a half", 100 * mib, 45 * mib, 50 * mib / 4096, 25 * mib, true, 45*mib - 45*mib/2},
		{"nothing", 100 * mib, 100 * mib, 0, 110 * mib, true, 0},
		{"noise", 100 * mib, 100 * mib, 0, 100*mib - 300*1024, true, 0},
		{"more than noise", 100 * mib, 100 * mib, 0, 100*mib - 500*1024, true, 500 * 1024},
		{"noise of a sample", 100 * mib, 100 * mib, 0, 100*mib - 500*1024, false, 0},
	} {
		m := probe.Measurement{Meta: meta, FreePages: test.freePages, PackedBytes: test.packed, Whole: test.whole, SampledNodes: 1}
		got := reclaimable(m, sdk.Size{TotalBytes: test.total, AllocatedBytes: test.allocated})
		if got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func ExampleNew() {
	d, err := New().Describe(context.Background())
	fmt.Println(d.Engine, d.Capabilities.Modes, err)
	// Output: bbolt [auto rewrite punch] <nil>
}
