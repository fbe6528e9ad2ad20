package pebble

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// fidelity is a store with settings of its own.
type fidelity struct {
	name   string
	spec   pebbletest.Spec
	config Config
	// spoil changes the settings: what compacts the store under these must be found.
	spoil func(*pebbledb.Options)
	lost  []string // traits that are others then
	// twin is set where Pebble leaves the store alone when it is told to compact it, or
	// does not open it under other settings: it is made under them instead.
	twin bool
	// edit changes the text of the OPTIONS file; may be nil.
	edit func(text string) string
}

func eachLevel(o *pebbledb.Options, set func(level int, l *pebbledb.LevelOptions)) {
	for i := range o.Levels {
		set(i, &o.Levels[i])
	}
}

func bloomEverywhere(bits int) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) {
		eachLevel(o, func(_ int, l *pebbledb.LevelOptions) { l.FilterPolicy = bloom.FilterPolicy(bits) })
	}
}

func compressed(profiles ...*block.CompressionProfile) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) {
		eachLevel(o, func(level int, l *pebbledb.LevelOptions) {
			profile := profiles[min(level, len(profiles)-1)]
			l.Compression = func() *block.CompressionProfile { return profile }
		})
	}
}

// filteredAndSmall has filters and a compression that are not the usual ones.
func filteredAndSmall(o *pebbledb.Options) {
	bloomEverywhere(14)(o)
	compressed(block.SnappyCompression, block.ZstdCompression)(o)
}

// writtenBy has the columns of a key schema, and can read those of others.
func writtenBy(bundle int) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) {
		o.KeySchemas = map[string]*pebbledb.KeySchema{}
		for _, size := range []int{4, 16, bundle} {
			schema := colblk.DefaultKeySchema(pebbledb.DefaultComparer, size)
			o.KeySchema = schema.Name
			o.KeySchemas[schema.Name] = &schema
		}
	}
}

func separated(enabled bool) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) {
		o.Experimental.ValueSeparationPolicy = func() pebbledb.ValueSeparationPolicy {
			return pebbledb.ValueSeparationPolicy{Enabled: enabled, MinimumSize: 128, MaxBlobReferenceDepth: 5, RewriteMinimumAge: time.Hour, TargetGarbageRatio: 1}
		}
	}
}

func columnar(enabled bool) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) {
		o.Experimental.EnableColumnarBlocks = func() bool { return enabled }
	}
}

func collected(collectors ...func() pebbledb.BlockPropertyCollector) func(*pebbledb.Options) {
	return func(o *pebbledb.Options) { o.BlockPropertyCollectors = collectors }
}

// bare leaves the rest to Pebble's defaults. These lack ComparePointSuffixes, which
// Pebble's own checks under the race detector call.
var bare = &pebbledb.Comparer{
	Name:                 "test.bare",
	AbbreviatedKey:       pebbledb.DefaultComparer.AbbreviatedKey,
	Separator:            pebbledb.DefaultComparer.Separator,
	Successor:            pebbledb.DefaultComparer.Successor,
	ComparePointSuffixes: bytes.Compare,
}

var fidelities = []fidelity{
	{name: "oldest format", spoil: func(o *pebbledb.Options) { o.FormatMajorVersion++ }, lost: []string{"OPTIONS", "format"}},
	{name: "format of virtual tables", spec: pebbletest.Spec{Format: pebbledb.FormatVirtualSSTables},
		spoil: func(o *pebbledb.Options) { o.FormatMajorVersion = pebbledb.FormatNewest },
		lost:  []string{"CompressionStats", "KeySchemaName", "OPTIONS", "TableFormat", "format"}},
	{name: "first format with columns", spec: pebbletest.Spec{Format: pebbledb.FormatColumnarBlocks},
		spoil: columnar(false), lost: []string{"CompressionStats", "KeySchemaName", "OPTIONS", "TableFormat"}},
	{name: "newest format", spec: pebbletest.Spec{Format: pebbledb.FormatNewest},
		spoil: func(o *pebbledb.Options) { o.CacheSize = 77 << 20 }, lost: []string{"OPTIONS"}},
	{name: "newest format without columns", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: columnar(false)},
		spoil: columnar(true), lost: []string{"CompressionStats", "KeySchemaName", "OPTIONS", "TableFormat"}},
	{name: "newest format, of a Pebble that does not write down that there are columns", spec: pebbletest.Spec{Format: pebbledb.FormatNewest},
		edit:  func(text string) string { return strings.Replace(text, "  enable_columnar_blocks=true\n", "", 1) },
		spoil: columnar(false), lost: []string{"CompressionStats", "KeySchemaName", "TableFormat"}},
	{name: "value blocks of oldest format", spec: pebbletest.Spec{Adjust: func(o *pebbledb.Options) {
		o.Experimental.EnableValueBlocks = func() bool { return true }
	}}, spoil: func(o *pebbledb.Options) { o.Experimental.EnableValueBlocks = nil }, lost: []string{"TableFormat"}},
	{name: "key schema", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: writtenBy(4)},
		spoil: writtenBy(16), lost: []string{"KeySchemaName", "OPTIONS"}},

	{name: "filters of 10 bits", spec: pebbletest.Spec{Adjust: bloomEverywhere(10)},
		spoil: bloomEverywhere(9), lost: []string{"filter bits"}},
	{name: "filters of 14 bits", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: bloomEverywhere(14)},
		spoil: func(o *pebbledb.Options) {
			eachLevel(o, func(_ int, l *pebbledb.LevelOptions) { l.FilterPolicy = nil })
		}, lost: []string{"FilterPolicyName", "OPTIONS", "filter bits"}},
	{name: "filters of 14 bits, above them 10", spec: pebbletest.Spec{Shape: pebbletest.Overwrites, Garbage: 0.7, Adjust: func(o *pebbledb.Options) {
		bloomEverywhere(10)(o)
		o.Levels[6].FilterPolicy = bloom.FilterPolicy(14)
	}}, spoil: bloomEverywhere(10), lost: []string{"filter bits"}},
	{name: "filters everywhere but at the bottom", spec: pebbletest.Spec{Adjust: func(o *pebbledb.Options) {
		bloomEverywhere(10)(o)
		o.Levels[6].FilterPolicy = pebbledb.NoFilterPolicy
	}}, spoil: bloomEverywhere(10), lost: []string{"FilterPolicyName", "OPTIONS", "filter bits"}},

	{name: "no compression", spec: pebbletest.Spec{Adjust: compressed(block.NoCompression)},
		spoil: compressed(block.SnappyCompression), lost: []string{"CompressionName", "OPTIONS"}},
	{name: "another compression in each level", spec: pebbletest.Spec{Adjust: compressed(block.NoCompression, block.NoCompression,
		block.SnappyCompression, block.SnappyCompression, block.MinLZCompression, block.SnappyCompression, block.ZstdCompression)},
		spoil: compressed(block.SnappyCompression), lost: []string{"CompressionName", "OPTIONS"}},
	{name: "compression as Pebble balances it", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: func(o *pebbledb.Options) {
		o.ApplyCompressionSettings(func() pebbledb.DBCompressionSettings { return pebbledb.DBCompressionBalanced })
	}}, spoil: func(o *pebbledb.Options) {
		o.ApplyCompressionSettings(func() pebbledb.DBCompressionSettings { return pebbledb.DBCompressionGood })
	}, lost: []string{"CompressionName", "OPTIONS"}},
	{name: "good compression", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: func(o *pebbledb.Options) {
		o.ApplyCompressionSettings(func() pebbledb.DBCompressionSettings { return pebbledb.DBCompressionGood })
	}}, spoil: func(o *pebbledb.Options) {
		o.ApplyCompressionSettings(func() pebbledb.DBCompressionSettings { return pebbledb.DBCompressionFastest })
	}, lost: []string{"CompressionName", "OPTIONS"}},

	{name: "tombstones at the bottom, which only Pebble's own compactions rewrite", spec: pebbletest.Spec{Shape: pebbletest.Bottom, Adjust: filteredAndSmall},
		twin: true, spoil: bloomEverywhere(10), lost: []string{"filter bits"}},
	{name: "versions of a snapshot at the bottom, whose compaction is forced", spec: pebbletest.Spec{Shape: pebbletest.Held, Adjust: filteredAndSmall},
		twin: true, spoil: compressed(block.SnappyCompression), lost: []string{"CompressionName", "OPTIONS"}},
	{name: "writes in the log", spec: pebbletest.Spec{LeaveInLog: true, Adjust: filteredAndSmall},
		spoil: compressed(block.SnappyCompression), lost: []string{"CompressionName", "OPTIONS"}},
	{name: "sizes", spec: pebbletest.Spec{Adjust: func(o *pebbledb.Options) {
		eachLevel(o, func(level int, l *pebbledb.LevelOptions) {
			l.BlockSize, l.IndexBlockSize = 8<<10+level, 64
			l.BlockRestartInterval, l.BlockSizeThreshold = 8, 70+level
		})
		o.TargetFileSizes[0], o.TargetFileSizes[1] = 32<<10, 32<<10
		o.CacheSize, o.TargetByteDeletionRate, o.MaxOpenFiles = 77<<20, 1<<20, 500
	}}, spoil: func(o *pebbledb.Options) {
		eachLevel(o, func(_ int, l *pebbledb.LevelOptions) { l.BlockSize, l.IndexBlockSize = 4<<10, 256 })
		o.TargetFileSizes[0], o.TargetFileSizes[1] = 64<<10, 64<<10
	}, lost: []string{"OPTIONS", "data block", "index block", "table"}},

	{name: "merger", spec: pebbletest.Spec{Adjust: func(o *pebbledb.Options) { o.Merger = last }},
		config: Config{Mergers: []*pebbledb.Merger{last}}, twin: true,
		spoil: func(o *pebbledb.Options) { o.Merger = nil }, lost: []string{"MergerName", "OPTIONS"}},
	{name: "comparer", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: func(o *pebbledb.Options) { o.Comparer = renamed }},
		config: Config{Comparers: []*pebbledb.Comparer{renamed}}, twin: true,
		spoil: func(o *pebbledb.Options) { o.Comparer = nil }, lost: []string{"ComparerName", "KeySchemaName", "OPTIONS"}},
	{name: "comparer with no more than it needs", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: func(o *pebbledb.Options) { o.Comparer = bare }},
		config: Config{Comparers: []*pebbledb.Comparer{bare}}, twin: true,
		spoil: func(o *pebbledb.Options) { o.Comparer = nil }, lost: []string{"ComparerName", "KeySchemaName", "OPTIONS"}},
	{name: "block property collectors", spec: pebbletest.Spec{Format: pebbledb.FormatVirtualSSTables, Adjust: collected(newOwnProperty)},
		config: Config{BlockPropertyCollectors: []func() pebbledb.BlockPropertyCollector{newOwnProperty}},
		spoil:  collected(), lost: []string{"PropertyCollectorNames", "UserProperties"}},
	{name: "values in blob files", spec: pebbletest.Spec{Format: pebbledb.FormatNewest, ValueBytes: 512, Adjust: separated(true)},
		spoil: separated(false), lost: []string{"OPTIONS", "values in blob files", "data block"}},
}

// TestFidelity compacts stores with settings of their own: how they are made stays as
// it was. The same comparison finds what another program would have changed.
func TestFidelity(t *testing.T) {
	for _, c := range fidelities {
		t.Run(c.name, func(t *testing.T) {
			c.spec.LiveBytes = 256 << 10
			if c.spec.ValueBytes == 0 {
				c.spec.ValueBytes = 64 // enough keys to tell bits per key
			}
			path := generate(t, c.spec)
			if c.edit != nil {
				edit("OPTIONS-*", func(text []byte) []byte { return []byte(c.edit(string(text))) })(t, path)
			}
			spoilt := spoil(t, path, c)
			own := c.spec.Options()
			before := traits(t, path, own)
			sameOptions(t, path, c)

			result, err := New(c.config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if result.NoOp || result.ReclaimedBytes <= 0 {
				t.Fatalf("gave back %d bytes", result.ReclaimedBytes)
			}
			after := traits(t, path, own)
			for _, name := range before.Differences(after) {
				t.Errorf("%s: %s %v, before %s %v", name, after.Names[name], after.Sizes[name], before.Names[name], before.Sizes[name])
			}
			if found := before.Differences(spoilt); !slices.Equal(found, c.lost) {
				t.Errorf("under other settings, %q are found to be lost, want %q", found, c.lost)
			}
		})
	}
}

func traits(t *testing.T, path string, o *pebbledb.Options) pebbletest.Traits {
	t.Helper()
	found, err := pebbletest.ReadTraits(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// sameOptions holds what the backend makes of the store's files against the options
// of the application, for all levels.
func sameOptions(t *testing.T, path string, c fidelity) {
	t.Helper()
	v, err := newBackend(c.config).openView(context.Background(), path, viewing{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	if err := v.settleFilters(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	want, got := c.spec.Options(), v.own.parsed.Clone()
	for _, o := range []*pebbledb.Options{want, got} {
		o.FS = vfs.Default
		o.EnsureDefaults()
	}
	if want.String() != got.String() {
		t.Errorf("the options are taken for\n%s\nwant\n%s", got, want)
	}
	for level := range want.Levels {
		w, g := want.MakeWriterOptions(level, v.format.MaxTableFormat()), got.MakeWriterOptions(level, v.format.MaxTableFormat())
		if w.FilterPolicy != g.FilterPolicy || w.Compression != g.Compression || len(w.BlockPropertyCollectors) != len(g.BlockPropertyCollectors) {
			t.Errorf("level %d has filters of %v bits and compression %s, want %v and %s", level, g.FilterPolicy, g.Compression.Name, w.FilterPolicy, w.Compression.Name)
		}
	}
}

// spoil compacts a copy of the store under other settings, with Pebble alone.
func spoil(t *testing.T, path string, c fidelity) pebbletest.Traits {
	t.Helper()
	if c.twin {
		spec := c.spec
		spec.Adjust = func(o *pebbledb.Options) { c.spec.Adjust(o); c.spoil(o) }
		return traits(t, generate(t, spec), spec.Options())
	}
	spoilt := filepath.Join(t.TempDir(), "spoilt")
	if err := os.CopyFS(spoilt, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	options := c.spec.Options()
	c.spoil(options)
	db, err := pebbledb.Open(spoilt, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(context.Background(), pebbletest.Key(0), pebbletest.Key(1<<30), false); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return traits(t, spoilt, options)
}

// TestRewriteFormat has a store of the newest format whose tables have no columns.
func TestRewriteFormat(t *testing.T) {
	spec := pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: columnar(false)}
	path := generate(t, spec)
	before := traits(t, path, spec.Options())
	if result := rewrite(t, path); result.ReclaimedBytes <= 0 {
		t.Fatalf("gave back %d bytes", result.ReclaimedBytes)
	}
	after := traits(t, path, spec.Options())
	for _, name := range before.Differences(after) {
		t.Errorf("%s: %s, before %s", name, after.Names[name], before.Names[name])
	}
}
