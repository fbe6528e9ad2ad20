package pebble

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// rewriteOf asks for a rewrite of a store.
func rewriteOf(path string) sdk.CompactRequest {
	return sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: modeRewrite}
}

func rewrite(t *testing.T, path string) sdk.CompactResult {
	t.Helper()
	result, err := New(Config{}).Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
	if err != nil {
		t.Fatalf("%v (%s)", err, sdk.HintOf(err))
	}
	return result
}

func measureForRewrite(t *testing.T, path string, depth sdk.Depth, o sdk.Options) sdk.Fragmentation {
	t.Helper()
	f, err := New(Config{}).Fragmentation(t.Context(), sdk.FragmentationRequest{
		Store: sdk.Store{Path: path}, Mode: modeRewrite, Depth: depth, Options: o,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wantAlone checks that nothing was left beside the store.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != filepath.Base(path) {
			t.Errorf("%s is left beside the store", entry.Name())
		}
	}
}

// TestRewrite has stores of every shape: what is dead in them goes, as it was
// foretold, and all else stays.
func TestRewrite(t *testing.T) {
	newest := pebbledb.FormatNewest
	cases := []struct {
		name string
		spec pebbletest.Spec
		// quick is how far the estimate may be off, as a share of the allocated bytes.
		quick float64
		noOp  bool
	}{
		{name: "dense", spec: pebbletest.Spec{Shape: pebbletest.Dense}, noOp: true},
		{name: "empty", spec: pebbletest.Spec{Shape: pebbletest.Empty}, noOp: true},
		{name: "deletes", spec: pebbletest.Spec{FilterBits: 10}, quick: 0.1},
		{name: "deletes in log", spec: pebbletest.Spec{LeaveInLog: true, Adjust: smallTables}, quick: 1},
		{name: "deletes of little", spec: pebbletest.Spec{Garbage: 0.1, LiveBytes: 2 << 20}, quick: 0.1},
		{name: "overwrites, newest format", spec: pebbletest.Spec{Shape: pebbletest.Overwrites, Format: newest}, quick: 0.3},
		{name: "range deletes", spec: pebbletest.Spec{Shape: pebbletest.RangeDeletes, RangeKeys: 5, Adjust: smallTables}, quick: 1},
		{name: "churn", spec: pebbletest.Spec{Shape: pebbletest.Churn, Format: pebbledb.FormatColumnarBlocks, RangeKeys: 3}, quick: 0.3},
		{name: "bottom", spec: pebbletest.Spec{Shape: pebbletest.Bottom, FilterBits: 10}, quick: 0.2},
		{name: "bottom, too little for Pebble", spec: pebbletest.Spec{Shape: pebbletest.Bottom, Garbage: 0.05, LiveBytes: 3 << 20, Adjust: smallTables}, quick: 0.2},
		{name: "held", spec: pebbletest.Spec{Shape: pebbletest.Held, Format: newest, FilterBits: 10, Adjust: smallTables}, quick: 0.2},
		{name: "held, too little to be forced", spec: pebbletest.Spec{Shape: pebbletest.Held, Garbage: 0.05, LiveBytes: 3 << 20}, quick: 0.2},
		{name: "expired", spec: pebbletest.Spec{Shape: pebbletest.Expired}, quick: 1},
	}
	var report strings.Builder
	fmt.Fprintf(&report, "%-30s %9s %9s %9s %9s %9s\n", "in KiB", "allocated", "reclaimed", "quick", "sampled", "exact")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.spec.Seed = 1; c.spec.LiveBytes == 0 {
				c.spec.LiveBytes = 512 << 10
			}
			path := generate(t, c.spec)
			digest, keys := contentOf(t, path)
			options, format, last := optionsOf(t, path), markers(t, path), lastNumber(t, path)
			predicted := map[sdk.Depth]sdk.Fragmentation{}
			for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
				predicted[depth] = measureForRewrite(t, path, depth, nil)
			}
			result := rewrite(t, path)
			if after, afterKeys := contentOf(t, path); after != digest || afterKeys != keys {
				t.Errorf("content changed: %d keys, before %d", afterKeys, keys)
			}
			wantAlone(t, path)
			if result.Mode != modeRewrite || result.NoOp != c.noOp || result.Pause <= 0 {
				t.Fatalf("%+v, want no_op %v", result, c.noOp)
			}
			fmt.Fprintf(&report, "%-30s %9d %9d %9d %9d %9d\n", c.name, result.Before.AllocatedBytes>>10, result.ReclaimedBytes>>10,
				predicted[sdk.DepthQuick].ReclaimableBytes>>10, predicted[sdk.DepthSampled].ReclaimableBytes>>10, predicted[sdk.DepthExact].ReclaimableBytes>>10)
			for depth, f := range predicted {
				tolerance := max(8192, 0.03*float64(f.AllocatedBytes))
				if depth == sdk.DepthQuick {
					tolerance = max(8192, c.quick*float64(f.AllocatedBytes))
				}
				if off := math.Abs(float64(f.ReclaimableBytes - result.ReclaimedBytes)); off > tolerance {
					t.Errorf("%s predicts %d bytes of %d, and %d came back", depth, f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
				}
				if f.Obstacle != nil {
					t.Errorf("%s announces %v", depth, f.Obstacle)
				}
			}
			if c.noOp {
				return
			}
			if v := result.Verification; v == nil || v.DigestBefore != v.DigestAfter || v.ItemsBefore != v.ItemsAfter || v.ItemsAfter != int64(keys+c.spec.RangeKeys) {
				t.Errorf("verification %+v of %d keys", v, keys)
			}
			if after := optionsOf(t, path); after != options {
				t.Errorf("the OPTIONS file reads\n%s\nbefore\n%s", after, options)
			}
			if after := markers(t, path); !strings.HasSuffix(after, format[strings.LastIndex(format, "."):]) {
				t.Errorf("the format's marker is %s, before %s", after, format)
			}
			wantBottom(t, path, c.spec.FilterBits, last)
			if again := measureForRewrite(t, path, sdk.DepthExact, nil); again.ReclaimableBytes > 0 {
				t.Errorf("%d bytes are still reclaimable", again.ReclaimableBytes)
			}
			if second := rewrite(t, path); !second.NoOp {
				t.Errorf("a second time: %+v", second)
			}
			if second := compact(t, path); !second.NoOp {
				t.Errorf("a second time, in place: %+v", second)
			}
			useAsApplication(t, path, c.spec)
		})
	}
	t.Log("\n" + report.String())
}

// lastNumber is the highest that a file of the store has in its name.
func lastNumber(t *testing.T, path string) (last uint64) {
	t.Helper()
	for name := range files(t, path) {
		number, _ := engine.File{Name: name}.Serial()
		last = max(last, number)
	}
	return last
}

// wantBottom checks that all tables are in the lowest level, with nothing dead in them,
// the filters that they should have, and numbers that no table had before.
func wantBottom(t *testing.T, path string, bits int, last uint64) {
	t.Helper()
	levels := view4test(t, path).levels
	for level, tables := range levels {
		for _, table := range tables {
			if level != engine.Bottom || table.Dirty() {
				t.Errorf("a table of level %d, with dead entries: %v", level, table.Dirty())
			}
			if table.Backing <= last {
				t.Errorf("a table has the number %d, and there was one of %d before", table.Backing, last)
			}
			if has := table.Props.FilterPolicyName != ""; has != (bits > 0) {
				t.Errorf("a table has the filter policy %q", table.Props.FilterPolicyName)
			}
		}
	}
	if got := engine.FilterBits(levels, pebbledb.DefaultComparer); got != bits {
		t.Errorf("filters have %d bits per key, want %d", got, bits)
	}
}

// useAsApplication opens the store as its application does, and works with it.
func useAsApplication(t *testing.T, path string, spec pebbletest.Spec) {
	t.Helper()
	o := &pebbledb.Options{Logger: &events{}, FormatMajorVersion: spec.Format, ErrorIfNotExists: true}
	if spec.Adjust != nil {
		spec.Adjust(o)
	}
	db, err := pebbledb.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("written afterwards")
	if err := errors.Join(db.Set(key, key, pebbledb.Sync), db.Flush(), db.Compact(t.Context(), []byte("a"), []byte("z"), false)); err != nil {
		t.Error(err)
	}
	if err := db.CheckLevels(nil); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, _ := contentOf(t, path)
	rewrite(t, path)
	if after, _ := contentOf(t, path); after != before {
		t.Error("what was written afterwards is not all there")
	}
}

// TestRewriteVirtual has tables of which only a part is in use: nothing overlaps, so
// mode ranges gives none of it back.
func TestRewriteVirtual(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Dense, Format: pebbledb.FormatNewest})
	db, err := pebbledb.Open(path, &pebbledb.Options{Logger: &events{}, FormatMajorVersion: pebbledb.FormatNewest, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Excise(t.Context(), pebbledb.KeyRange{Start: pebbletest.Key(300), End: pebbletest.Key(1500)}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	digest, _ := contentOf(t, path)
	f := measureForRewrite(t, path, sdk.DepthSampled, nil)
	result := rewrite(t, path)
	if off := f.ReclaimableBytes - result.ReclaimedBytes; result.ReclaimedBytes < f.AllocatedBytes/3 || max(off, -off) > f.AllocatedBytes/20 {
		t.Errorf("%d bytes of %d were foretold, %d came back", f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
	}
	if after, _ := contentOf(t, path); after != digest {
		t.Error("content changed")
	}
}

// TestRecompress goes from one compression to another, and comes to an end.
func TestRecompress(t *testing.T) {
	spec := pebbletest.Spec{Shape: pebbletest.Dense, Format: pebbledb.FormatNewest, RangeKeys: 3, FilterBits: 10, Adjust: func(o *pebbledb.Options) {
		smallTables(o)
		for i := range o.Levels {
			o.Levels[i].Compression = func() *block.CompressionProfile { return block.NoCompression }
		}
	}}
	path := generate(t, spec)
	digest, _ := contentOf(t, path)
	options := optionsOf(t, path)
	for _, c := range []struct {
		to, name string
		// gain is 1 where the store must shrink and -1 where it must grow.
		gain int64
		note bool
	}{
		{"zstd", "ZSTD", 1, true}, {"snappy", "Snappy", 0, true}, {"balanced", "Balanced", 0, true},
		{"minlz", "MinLZ", 0, true}, {"good", "Good", 0, true}, {"none", "NoCompression", -1, false},
	} {
		t.Run(c.to, func(t *testing.T) {
			o := sdk.Options{optionRecompress: c.to}
			f := measureForRewrite(t, path, sdk.DepthSampled, o)
			request := rewriteOf(path)
			request.Options = o
			result, err := New(Config{}).Compact(t.Context(), request, func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if result.NoOp || c.gain*result.ReclaimedBytes < 0 || c.gain != 0 && result.ReclaimedBytes == 0 {
				t.Errorf("%+v", result)
			}
			if off := f.ReclaimableBytes - max(0, result.ReclaimedBytes); max(off, -off) > f.AllocatedBytes/20 {
				t.Errorf("%d bytes of %d were foretold, %d came back", f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
			}
			if got := compressionOf(t, path); got != c.name {
				t.Errorf("tables have the compression %s", got)
			}
			if noted := strings.Contains(result.Note, "OPTIONS still says NoCompression"); noted != c.note {
				t.Errorf("note %q", result.Note)
			}
			if after, _ := contentOf(t, path); after != digest || optionsOf(t, path) != options {
				t.Error("content or OPTIONS changed")
			}
			wantBottom(t, path, 10, 0)
			if f := measureForRewrite(t, path, sdk.DepthSampled, o); f.ReclaimableBytes > 0 {
				t.Errorf("%d bytes are still foretold", f.ReclaimableBytes)
			}
			if again, err := New(Config{}).Compact(t.Context(), request, func(sdk.Progress) {}); err != nil || !again.NoOp {
				t.Errorf("a second time: %+v, %v", again, err)
			}
		})
	}
}

// TestModeRefused has requests that make no sense: they reach no store.
func TestModeRefused(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	before := files(t, path)
	for _, c := range []struct {
		mode, recompress string
		kind             error
		says             string
	}{
		{"sideways", "", sdk.ErrInvalidOption, "sideways"},
		{modeRewrite, "lzma", sdk.ErrInvalidOption, "lzma"},
		{modeRanges, "zstd", sdk.ErrInvalidOption, "for mode rewrite"},
		{"", "zstd", sdk.ErrInvalidOption, "for mode rewrite"},
		{modeRewrite, "minlz", sdk.ErrUnsupported, "MinLZ"}, // the format is too old
	} {
		request := rewriteOf(path)
		request.Mode = c.mode
		if c.recompress != "" {
			request.Options = sdk.Options{optionRecompress: c.recompress}
		}
		_, err := New(Config{}).Compact(t.Context(), request, func(sdk.Progress) {})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || sdk.HintOf(err) == "" {
			t.Errorf("mode %q to %q: error %v (hint %q), want %v", c.mode, c.recompress, err, sdk.HintOf(err), c.kind)
		}
		f, ferr := New(Config{}).Fragmentation(t.Context(), sdk.FragmentationRequest{Store: request.Store, Mode: c.mode, Options: request.Options})
		if f.Obstacle != nil {
			ferr = f.Obstacle
		}
		if fmt.Sprint(ferr) != fmt.Sprint(err) {
			t.Errorf("mode %q to %q: a measurement says %v, a compaction %v", c.mode, c.recompress, ferr, err)
		}
	}
	sameFiles(t, before, files(t, path))
	wantAlone(t, path)
}

// TestRewriteRefused has stores that a copy cannot replace: they stay as they are,
// a measurement announces it, and mode ranges takes them.
func TestRewriteRefused(t *testing.T) {
	cases := []struct {
		name string
		make func(t *testing.T) string
		says string
	}{
		{"a log elsewhere", func(t *testing.T) string {
			dir := t.TempDir()
			return generate(t, pebbletest.Spec{Adjust: func(o *pebbledb.Options) { o.WALDir = dir }})
		}, "log elsewhere"},
		{"a second log", func(t *testing.T) string {
			path := generate(t, pebbletest.Spec{})
			editOptions(t, path, "[Level \"0\"]", "[WAL Failover]\n  secondary_dir="+t.TempDir()+"\n\n[Level \"0\"]")
			return path
		}, "log elsewhere"},
		{"values in blob files", func(t *testing.T) string {
			return generate(t, pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: func(o *pebbledb.Options) {
				o.Experimental.ValueSeparationPolicy = func() pebbledb.ValueSeparationPolicy {
					return pebbledb.ValueSeparationPolicy{Enabled: true, MinimumSize: 128, MaxBlobReferenceDepth: 5, RewriteMinimumAge: time.Hour, TargetGarbageRatio: 1}
				}
			}})
		}, "blob files"},
		{"a file of somebody else's", func(t *testing.T) string {
			path := generate(t, pebbletest.Spec{})
			if err := os.WriteFile(filepath.Join(path, "notes.txt"), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "notes.txt"},
		{"a directory in it", func(t *testing.T) string {
			path := generate(t, pebbletest.Spec{})
			if err := os.Mkdir(filepath.Join(path, "000009.sst"), 0o700); err != nil {
				t.Fatal(err)
			}
			return path
		}, "000009.sst"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			before := files(t, path)
			_, err := New(Config{}).Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
			if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), c.says) || !strings.Contains(sdk.HintOf(err), "mode ranges") {
				t.Fatalf("error %v (hint %q), want %v", err, sdk.HintOf(err), sdk.ErrUnsupported)
			}
			if f := measureForRewrite(t, path, sdk.DepthSampled, nil); f.Obstacle == nil || f.Obstacle.Error() != err.Error() {
				t.Errorf("a measurement announces %v, want %v", f.Obstacle, err)
			}
			sameFiles(t, before, files(t, path))
			wantAlone(t, path)
			if result := compact(t, path); result.ReclaimedBytes <= 0 {
				t.Errorf("in place: %+v", result)
			}
		})
	}
}

// TestRewriteOwnCode has stores with code of their application's: the order of keys, how
// they are split, how values merge.
func TestRewriteOwnCode(t *testing.T) {
	schema := colblk.DefaultKeySchema(versioned(), 16)
	valueBlocks := pebbledb.Options{Comparer: versioned(), FormatMajorVersion: pebbledb.FormatMinSupported}
	valueBlocks.Experimental.EnableValueBlocks = func() bool { return true }
	for name, c := range map[string]struct {
		options  pebbledb.Options
		config   Config
		versions uint64
		mark     []byte
	}{
		"backwards": {options: pebbledb.Options{Comparer: backwards(), FormatMajorVersion: pebbledb.FormatMinSupported}},
		"suffixes": {options: pebbledb.Options{Comparer: versioned(), FormatMajorVersion: pebbledb.FormatMinSupported},
			versions: 3, mark: versionOf(nil, 2)},
		"suffixes, values in blocks of their own": {options: valueBlocks, versions: 3, mark: versionOf(nil, 2)},
		"suffixes in columns": {options: pebbledb.Options{
			Comparer: versioned(), FormatMajorVersion: pebbledb.FormatNewest,
			KeySchema: schema.Name, KeySchemas: map[string]*pebbledb.KeySchema{schema.Name: &schema},
		}, config: Config{KeySchemas: []*pebbledb.KeySchema{&schema}}, versions: 3, mark: versionOf(nil, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			o := &c.options
			o.Logger, o.DisableAutomaticCompactions, o.MemTableSize, o.L0StopWritesThreshold = &events{}, true, 256<<10, 1<<20
			smallTables(o)
			c.config.Comparers = []*pebbledb.Comparer{o.Comparer}
			path := filepath.Join(t.TempDir(), "store")
			want := fillInOrder(t, path, o, 2000, c.versions, c.mark)
			before, _, err := pebbletest.Digest(path, o)
			if err != nil {
				t.Fatal(err)
			}
			result, err := New(c.config).Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if result.ReclaimedBytes < result.Before.AllocatedBytes/4 {
				t.Errorf("gave back %d of %d bytes", result.ReclaimedBytes, result.Before.AllocatedBytes)
			}
			if after, _, err := pebbletest.Digest(path, o); err != nil || after != before {
				t.Errorf("the content is another, %v", err)
			}
			checkOrder(t, path, o, want)
			v, err := newBackend(c.config).openView(t.Context(), path, viewing{})
			if err != nil {
				t.Fatal(err)
			}
			defer v.close()
			for _, table := range v.levels[engine.Bottom] {
				p := table.Props
				if p.ComparerName != o.Comparer.Name || p.KeySchemaName != o.KeySchema ||
					(p.NumValueBlocks > 0) != (o.Experimental.EnableValueBlocks != nil || o.KeySchema != "") {
					t.Fatalf("a table has lost what makes it the application's: %s", p)
				}
			}
			again, err := New(c.config).Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
			if err != nil || !again.NoOp {
				t.Errorf("the second time: %+v, %v", again, err)
			}
		})
	}
}

// TestRewriteMerged has values that are operands of a merge only: they become what a
// reader gets of them, to which more can be merged.
func TestRewriteMerged(t *testing.T) {
	adjust := func(o *pebbledb.Options) { o.Merger = last; smallTables(o) }
	path := generate(t, pebbletest.Spec{Adjust: adjust})
	o := &pebbledb.Options{Merger: last, Logger: &events{}, DisableAutomaticCompactions: true}
	merge := func(text string) {
		t.Helper()
		db, err := pebbledb.Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3000 {
			if err := db.Merge(fmt.Appendf(nil, "sum/%04d", i), []byte(text), pebbledb.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(db.Flush(), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	merge("one")
	merge("two")
	b := New(Config{Mergers: []*pebbledb.Merger{last}})
	before, keys, err := pebbletest.Digest(path, o)
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
	if err != nil || result.NoOp {
		t.Fatalf("%+v, %v", result, err)
	}
	if after, n, err := pebbletest.Digest(path, o); err != nil || after != before || n != keys {
		t.Errorf("%d keys, before %d; the same %v, error %v", n, keys, after == before, err)
	}
	merge("three")
	v, err := newBackend(Config{Mergers: []*pebbledb.Merger{last}}).openView(t.Context(), path, viewing{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	value, closer, err := v.db.Get([]byte("sum/0007"))
	if err != nil || string(value) != "onetwothree" {
		t.Fatalf("%q, error %v", value, err)
	}
	_ = closer.Close()
}

// TestRewriteDiffers has copies that are not what the store is: they go, and the store
// stays.
func TestRewriteDiffers(t *testing.T) {
	var reads atomic.Int64
	fickle := &pebbledb.Merger{Name: "test.fickle", Merge: func(_, _ []byte) (pebbledb.ValueMerger, error) {
		return pebbledb.DefaultMerger.Merge(nil, fmt.Append(nil, reads.Add(1)))
	}}
	garble := func(b *backend) {
		b.fs = &hookFS{FS: b.fs, hook: func(string, string) error { return nil }, garble: func(name string, p []byte) {
			if strings.Contains(name, "table-") && len(p) > 100 {
				p[len(p)/2] ^= 0x55
			}
		}}
	}
	cases := []struct {
		name   string
		adjust func(*pebbledb.Options)
		change func(*backend)
		says   string
	}{
		{"values that are others each time", func(o *pebbledb.Options) { o.Merger = fickle }, func(*backend) {}, "digest"},
		{"a disk that writes something else", nil, garble, ""},
		{"levels out of order", nil, func(b *backend) {
			b.checkLevels = func(*view, map[uint64]bool) error { return errors.New("keys out of order\nstack") }
		}, "keys out of order"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{Adjust: c.adjust})
			if c.adjust != nil {
				db, err := pebbledb.Open(path, &pebbledb.Options{Merger: fickle, Logger: &events{}})
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(db.Merge([]byte("a"), []byte("b"), pebbledb.Sync), db.Close()); err != nil {
					t.Fatal(err)
				}
			}
			before := files(t, path)
			b := newBackend(Config{Mergers: []*pebbledb.Merger{fickle}})
			c.change(b)
			_, err := b.Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
			if !errors.Is(err, sdk.ErrInternal) || sdk.Retryable(err) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want a lasting %v", err, sdk.ErrInternal)
			}
			if !strings.Contains(fmt.Sprint(err), "the store itself is as it was") || strings.Contains(sdk.HintOf(err), "backup") {
				t.Errorf("error %v with hint %q frightens people", err, sdk.HintOf(err))
			}
			sameFiles(t, before, files(t, path))
			wantAlone(t, path)
			if len(b.held) != 0 {
				t.Errorf("%d directories are still held", len(b.held))
			}
		})
	}
}

// TestRewriteIsHeard looks at the progress of a rewrite.
func TestRewriteIsHeard(t *testing.T) {
	path := generate(t, pebbletest.Spec{LiveBytes: 2 << 20})
	var phases []string
	var last sdk.Progress
	_, err := New(Config{}).Compact(context.Background(), rewriteOf(path), func(p sdk.Progress) {
		if !slices.Contains(phases, p.Phase) {
			phases = append(phases, p.Phase)
		}
		if p.Phase == last.Phase && (p.Done < last.Done || p.Total < last.Total) {
			t.Errorf("%+v comes after %+v", p, last)
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"open", "copy", "ingest", "sync", "verify", "levels", "replace"}; !slices.Equal(phases, want) {
		t.Errorf("phases %q, want %q", phases, want)
	}
	if last.BytesWritten < 1<<20 || last.BytesRead < 3<<20 {
		t.Errorf("%d bytes read and %d written", last.BytesRead, last.BytesWritten)
	}
}

// compressionOf is what all tables of a store are compressed by.
func compressionOf(t *testing.T, path string) (name string) {
	t.Helper()
	for _, level := range view4test(t, path).levels {
		for _, table := range level {
			if name != "" && table.Props.CompressionName != name {
				t.Errorf("tables have the compressions %s and %s", name, table.Props.CompressionName)
			}
			name = table.Props.CompressionName
		}
	}
	return name
}
