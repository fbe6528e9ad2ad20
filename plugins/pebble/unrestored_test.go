package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// mustRefuse makes sure that the backend refuses the store by both calls with an error
// that says so, and changes nothing.
func mustRefuse(t *testing.T, b sdk.Backend, path, says, hint string) {
	t.Helper()
	before := files(t, path)
	for name, err := range refusals(b, path) {
		if !errors.Is(err, sdk.ErrUnsupported) || sdk.Retryable(err) {
			t.Fatalf("%s: error %v, want %v that lasts", name, err, sdk.ErrUnsupported)
		}
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q does not say %q in a line", name, err, says)
		}
		if got := sdk.HintOf(err); !strings.Contains(got, hint) {
			t.Errorf("%s: hint %q, want %q in it", name, got, hint)
		}
	}
	sameFiles(t, before, files(t, path))
}

// TestOwnCompression has profiles that only the application has: the file gives their
// names, and one of these is Pebble's but for its case.
func TestOwnCompression(t *testing.T) {
	for _, name := range []string{"acme", "snappy"} {
		t.Run(name, func(t *testing.T) {
			profile := *block.ZstdCompression
			profile.Name = name
			path := generate(t, pebbletest.Spec{Adjust: compressed(block.SnappyCompression, &profile)})
			mustRefuse(t, New(Config{}), path, fmt.Sprintf("the profile %q", name), "live.Serve")
		})
	}
}

// TestFormerKeySchema has tables from before the application changed its key schema,
// which the OPTIONS file does not name. Pebble panics over an unknown one.
func TestFormerKeySchema(t *testing.T) {
	path := generate(t, pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: writtenBy(4)})
	options := (pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: writtenBy(16)}).Options()
	db, err := pebbledb.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, New(Config{}), path, `"DefaultKeySchema(leveldb.BytewiseComparator,4)"`, "Config.KeySchemas")

	config := Config{KeySchemas: []*pebbledb.KeySchema{options.KeySchemas["DefaultKeySchema(leveldb.BytewiseComparator,4)"]}}
	if _, err := New(config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if schema := traits(t, path, options).Names["KeySchemaName"]; schema != options.KeySchema {
		t.Errorf("the tables have the key schema %s, want %s", schema, options.KeySchema)
	}
}

// TestShortAttributes has values in blocks of their own, each with an attribute beside
// its key that is made of the value.
func TestShortAttributes(t *testing.T) {
	extract := func(_ []byte, _ int, value []byte) (a pebbledb.ShortAttribute, err error) {
		return pebbledb.ShortAttribute(value[0] % 8), nil
	}
	for _, format := range []pebbledb.FormatMajorVersion{pebbledb.FormatMinSupported, pebbledb.FormatNewest} {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			options := &pebbledb.Options{
				Comparer: versioned(), FormatMajorVersion: format, Logger: &events{},
				DisableAutomaticCompactions: true, MemTableSize: 256 << 10, L0StopWritesThreshold: 1 << 20,
			}
			options.Experimental.EnableValueBlocks = func() bool { return true }
			options.Experimental.ShortAttributeExtractor = extract
			path := filepath.Join(t.TempDir(), "store")
			fillInOrder(t, path, options, 1000, 3, nil)
			before := attributes(t, path, options)

			config := Config{Comparers: []*pebbledb.Comparer{options.Comparer}}
			unchanged := files(t, path)
			_, err := New(config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), "short attributes") || !strings.Contains(sdk.HintOf(err), "Config.ShortAttributeExtractor") {
				t.Fatalf("error %v with hint %q, want %v", err, sdk.HintOf(err), sdk.ErrUnsupported)
			}
			sameFiles(t, unchanged, files(t, path))

			config.ShortAttributeExtractor = extract
			if _, err := New(config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {}); err != nil {
				t.Fatal(err)
			}
			after := attributes(t, path, options)
			for key, attribute := range after {
				if was, ok := before[key]; ok && was != attribute {
					t.Fatalf("%q has the attribute %d, before %d", key, attribute, was)
				}
			}
			if len(before) < 100 || len(after) < 100 {
				t.Errorf("%d values have attributes, %d had", len(after), len(before))
			}
		})
	}
}

// attributes are those of all values that lie apart from their keys.
func attributes(t *testing.T, path string, o *pebbledb.Options) map[string]pebbledb.ShortAttribute {
	t.Helper()
	o = o.Clone()
	o.ReadOnly = true
	db, err := pebbledb.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	found := map[string]pebbledb.ShortAttribute{}
	for it.First(); it.Valid(); it.Next() {
		value := it.LazyValue()
		if attribute, ok := value.TryGetShortAttribute(); ok {
			found[string(it.Key())] = attribute
		}
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestSpanPolicy has ranges that the application wants to be compressed for speed,
// which nothing in the store tells.
func TestSpanPolicy(t *testing.T) {
	split := pebbletest.Key(4000)
	policy := func(start []byte) (pebbledb.SpanPolicy, []byte, error) {
		if bytes.Compare(start, split) < 0 {
			return pebbledb.SpanPolicy{PreferFastCompression: true}, split, nil
		}
		return pebbledb.SpanPolicy{}, nil, nil
	}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"known":   {Config{SpanPolicyFunc: policy}, "Fastest | ZSTD"},
		"unknown": {Config{}, "ZSTD"},
	} {
		t.Run(name, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{Format: pebbledb.FormatNewest, ValueBytes: 64, Adjust: func(o *pebbledb.Options) {
				compressed(block.ZstdCompression)(o)
				o.Experimental.SpanPolicyFunc = policy
			}})
			if before := traits(t, path, nil).Names["CompressionName"]; before != "Fastest | ZSTD" {
				t.Fatalf("the tables are compressed by %s", before)
			}
			if _, err := New(c.config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {}); err != nil {
				t.Fatal(err)
			}
			if after := traits(t, path, nil).Names["CompressionName"]; after != c.want {
				t.Errorf("the tables are compressed by %s, want %s", after, c.want)
			}
		})
	}
}

// TestUnknownOfTables has settings of a later Pebble, of which this one does not know
// what they make of tables: their filters, their format or their key schema would be
// lost.
func TestUnknownOfTables(t *testing.T) {
	filtered := pebbletest.Spec{Format: pebbledb.FormatNewest, FilterBits: 10}
	for _, c := range []struct {
		name     string
		spec     pebbletest.Spec
		old, now string
		says     string
	}{
		{"another name of the filters", filtered, "  filter_policy=", "  table_filter=", "table_filter"},
		{"a setting of a level", pebbletest.Spec{}, "  index_block_size=", "  zone_maps=yes\n  index_block_size=", "zone_maps"},
		{"a setting of value separation", pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: separated(true)}, "  enabled=true\n", "  enabled=true\n  minimum_age=1h\n", "minimum_age"},
		{"filters by a setting of all levels", filtered, "  filter_policy=" + engine.BloomName() + "\n", "", "the filter rocksdb.BuiltinBloomFilter, where it would write none"},
		{"another type of filters", filtered, "filter_type=table", "filter_type=ribbon", `unknown filter type: "ribbon"`},
		{"another heuristic", pebbletest.Spec{}, "multilevel_compaction_heuristic=", "multilevel_compaction_heuristic=x", "unrecognized multilevel compaction heuristic"},
		{"another format", pebbletest.Spec{Format: pebbledb.FormatNewest}, "  enable_columnar_blocks=true\n", "  enable_columnar_blocks=false\n", "the format (Pebble,v7), where it would write (Pebble,v4)"},
		{"another key schema", pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: writtenBy(16)}, "BytewiseComparator,16)", "BytewiseComparator,4)", "the key schema DefaultKeySchema(leveldb.BytewiseComparator,16), where"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := generate(t, c.spec)
			editOptions(t, path, c.old, c.now)
			editOptions(t, path, "[Options]\n", "[Options]\n  of_tomorrow=1\n")
			schema := colblk.DefaultKeySchema(pebbledb.DefaultComparer, 16)
			mustRefuse(t, New(Config{KeySchemas: []*pebbledb.KeySchema{&schema}}), path, c.says, "built on the Pebble of the store's application")
		})
	}
}
