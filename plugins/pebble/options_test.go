package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestFilterBits has stores whose bloom filters tell their bits per key more or less
// well. People hear what was found.
func TestFilterBits(t *testing.T) {
	differing := func(o *pebbledb.Options) {
		bloomEverywhere(10)(o)
		o.Levels[6].FilterPolicy = bloom.FilterPolicy(14)
	}
	for _, c := range []struct {
		name   string
		spec   pebbletest.Spec
		option sdk.Options
		bits   string // of the filters afterwards
		note   string
	}{
		{name: "none", bits: "[0]"},
		{name: "usual", spec: pebbletest.Spec{FilterBits: 10}, bits: "[10]", note: "10 bits per key, as in the tables"},
		{name: "less", spec: pebbletest.Spec{FilterBits: 5}, bits: "[5]", note: "5 bits per key, as in the tables"},
		{name: "overwritten", spec: pebbletest.Spec{FilterBits: 20, Shape: pebbletest.Overwrites}, bits: "[20]", note: "20 bits per key, as in the tables"},
		{name: "two of each key", spec: pebbletest.Spec{FilterBits: 16, Shape: pebbletest.Held}, bits: "[16]", note: "16 bits per key, as in the tables"},
		{name: "by option", spec: pebbletest.Spec{FilterBits: 5}, option: sdk.Options{optionFilterBits: 16.0}, bits: "[16]", note: "16 bits per key, as the option says"},
		{name: "by option, none in the settings", option: sdk.Options{optionFilterBits: 16.0}, bits: "[0]", note: "filter_bits has no effect"},
		{name: "of few keys", spec: pebbletest.Spec{FilterBits: 7, LiveBytes: 64 << 10}, bits: "[6 7]", note: "7 bits per key, as in the tables"},
		{name: "other at the bottom", spec: pebbletest.Spec{Adjust: differing}, bits: "[14]", note: "10 bits per key, 14 in level 6, as in the tables"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := generate(t, c.spec)
			result, err := New(Config{}).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}, Options: c.option}, func(sdk.Progress) {})
			if err != nil || result.NoOp {
				t.Fatalf("compacted: %t, %v", !result.NoOp, err)
			}
			if !strings.Contains(result.Note, c.note) || (c.note == "" && result.Note != "") {
				t.Errorf("note %q, want %q", result.Note, c.note)
			}
			if bits := traits(t, path, nil).Names["filter bits"]; bits != c.bits {
				t.Errorf("filters have %s bits per key, want %s", bits, c.bits)
			}
		})
	}
}

// TestFilterBitsChanged has tables of 10 bits per key from before the application took
// 14: what is written from now on has what it would write.
func TestFilterBitsChanged(t *testing.T) {
	spec := pebbletest.Spec{Shape: pebbletest.Dense, ValueBytes: 64, LiveBytes: 512 << 10, FilterBits: 10}
	path := generate(t, spec)
	spec.FilterBits = 14
	db, err := pebbledb.Open(path, spec.Options())
	if err != nil {
		t.Fatal(err)
	}
	const former, beyond = 5000, 1 << 20
	for i := range 4000 {
		if err := db.Set(pebbletest.Key(beyond+i), []byte("value"), pebbledb.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Compact(context.Background(), pebbletest.Key(beyond), pebbletest.Key(2*beyond), false); err != nil {
		t.Fatal(err)
	}
	for i := range former / 2 {
		if err := db.Delete(pebbletest.Key(2*i), pebbledb.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.Flush(), db.Close()); err != nil {
		t.Fatal(err)
	}
	result := compact(t, path)
	if want := "14 bits per key, as in the tables"; !strings.Contains(result.Note, want) {
		t.Errorf("note %q, want %q", result.Note, want)
	}
	if bits := traits(t, path, nil).Names["filter bits"]; bits != "[14]" {
		t.Errorf("filters have %s bits per key, want 14", bits)
	}
}

// TestBeforeKeySchemas has an OPTIONS file from before there were key schemas, and a
// plugin that knows some.
func TestBeforeKeySchemas(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	editOptions(t, path, "  key_schema=DefaultKeySchema(leveldb.BytewiseComparator,16)\n", "")
	config := Config{KeySchemas: []*pebbledb.KeySchema{&cockroachkvs.KeySchema}}
	result, err := New(config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	if err != nil || result.NoOp {
		t.Errorf("compacted: %t, %v", !result.NoOp, err)
	}
}

func optionsOf(t *testing.T, path string) string {
	t.Helper()
	text, err := pebbletest.Options(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func markers(t *testing.T, path string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(path, "marker.format-version.*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("markers %v: %v", names, err)
	}
	return filepath.Base(names[0])
}

// view4test opens a store without its lock until the test ends.
func view4test(t *testing.T, path string) *view {
	t.Helper()
	v, err := newBackend(Config{}).openView(context.Background(), path, viewing{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.close)
	return v
}

// Parts that only an application has.
var (
	renamed = func() *pebbledb.Comparer {
		c := *pebbledb.DefaultComparer
		c.Name = "test.keys"
		return &c
	}()
	last = &pebbledb.Merger{Name: "test.merger", Merge: pebbledb.DefaultMerger.Merge}
)

// ownFilter is a bloom filter under another name.
type ownFilter struct{ bloom.FilterPolicy }

func (ownFilter) Name() string { return "test.filter" }

// ownProperty is a block property that says nothing.
type ownProperty struct {
	pebbledb.BlockPropertyCollector
}

func (ownProperty) Name() string                                                   { return "test.property" }
func (ownProperty) AddPointKey(pebbledb.InternalKey, []byte) error                 { return nil }
func (ownProperty) FinishDataBlock(buf []byte) ([]byte, error)                     { return buf, nil }
func (ownProperty) FinishIndexBlock(buf []byte) ([]byte, error)                    { return buf, nil }
func (ownProperty) FinishTable(buf []byte) ([]byte, error)                         { return append(buf, 'x'), nil }
func (ownProperty) AddPrevDataBlockToIndexBlock()                                  {}
func (ownProperty) AddCollectedWithSuffixReplacement([]byte, []byte, []byte) error { return nil }
func (ownProperty) SupportsSuffixReplacement() bool                                { return false }

func newOwnProperty() pebbledb.BlockPropertyCollector { return ownProperty{} }

// TestOwnCode has stores that need code of their application: a plain backend
// refuses them untouched, one that is given the code compacts them.
func TestOwnCode(t *testing.T) {
	cases := []struct {
		name   string
		adjust func(*pebbledb.Options)
		config Config
		named  string // in the error
		field  string // in the hint
	}{
		{"comparer", func(o *pebbledb.Options) { o.Comparer = renamed }, Config{Comparers: []*pebbledb.Comparer{renamed}}, "test.keys", "Config.Comparers"},
		{"merger", func(o *pebbledb.Options) { o.Merger = last }, Config{Mergers: []*pebbledb.Merger{last}}, "test.merger", "Config.Mergers"},
		{"filter policy", func(o *pebbledb.Options) {
			o.Levels[6].FilterPolicy = ownFilter{10}
		}, Config{FilterPolicies: []pebbledb.FilterPolicy{ownFilter{10}}}, "test.filter", "Config.FilterPolicies"},
		{"block property", func(o *pebbledb.Options) {
			o.BlockPropertyCollectors = []func() pebbledb.BlockPropertyCollector{newOwnProperty}
		}, Config{BlockPropertyCollectors: []func() pebbledb.BlockPropertyCollector{newOwnProperty}}, "test.property", "Config.BlockPropertyCollectors"},
	}
	for i := range 2 * len(cases) {
		c, mode := cases[i/2], []string{modeRanges, modeRewrite}[i%2]
		t.Run(c.name+", "+mode, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{Adjust: c.adjust})
			before := files(t, path)
			for name, err := range refusals(New(Config{}), path) {
				if !errors.Is(err, sdk.ErrUnsupported) {
					t.Fatalf("%s: error %v, want %v", name, err, sdk.ErrUnsupported)
				}
				if !strings.Contains(err.Error(), c.named) {
					t.Errorf("%s: error %q does not name %s", name, err, c.named)
				}
				if hint := sdk.HintOf(err); !strings.Contains(hint, c.field) || !strings.Contains(hint, "build a plugin") {
					t.Errorf("%s: hint %q does not show the way out by %s", name, hint, c.field)
				}
			}
			sameFiles(t, before, files(t, path))

			options := &pebbledb.Options{}
			c.adjust(options)
			options.BlockPropertyCollectors = nil
			digest, _, err := pebbletest.Digest(path, options)
			if err != nil {
				t.Fatal(err)
			}
			result, err := New(c.config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: mode}, func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if result.NoOp || result.ReclaimedBytes <= 0 {
				t.Errorf("with the code, compaction gave back %d bytes", result.ReclaimedBytes)
			}
			if got, _, err := pebbletest.Digest(path, options); err != nil || got != digest {
				t.Errorf("content changed: %v", err)
			}
			// What makes the store its own must have survived.
			v, err := newBackend(c.config).openView(context.Background(), path, viewing{})
			if err != nil {
				t.Fatal(err)
			}
			defer v.close()
			p := v.levels[engine.Bottom][0].Props
			if all := p.ComparerName + p.MergerName + p.FilterPolicyName + p.PropertyCollectorNames; !strings.Contains(all, c.named) {
				t.Errorf("the tables lost %s: %s", c.named, all)
			}
		})
	}
}

// refusals are the errors of both calls on a store that is not to be served.
func refusals(b sdk.Backend, path string) map[string]error {
	_, measured := b.Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}})
	_, compacted := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	return map[string]error{"fragmentation": measured, "compact": compacted}
}

// TestRefused has directories that are no store, or none for this backend, and
// stores that are damaged. Each gets a typed error and stays as it is.
func TestRefused(t *testing.T) {
	template := generate(t, pebbletest.Spec{FilterBits: 10})
	store := func(change func(t *testing.T, path string)) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(path, os.DirFS(template)); err != nil {
				t.Fatal(err)
			}
			change(t, path)
			return path
		}
	}
	directoryOf := func(contents map[string]string) func(*testing.T) string {
		return func(t *testing.T) string {
			dir := t.TempDir()
			for name, text := range contents {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}
	}
	rename := func(pattern, to string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Rename(newest(t, path, pattern), filepath.Join(path, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(pattern string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Remove(newest(t, path, pattern)); err != nil {
				t.Fatal(err)
			}
		}
	}
	setting := func(old, changed string) func(*testing.T, string) {
		return func(t *testing.T, path string) { editOptions(t, path, old, changed) }
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	cases := []struct {
		name string
		make func(*testing.T) string
		kind error
		says string
	}{
		{"missing", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, sdk.ErrNotFound, "none"},
		{"no path", func(*testing.T) string { return "" }, sdk.ErrNotFound, "path"},
		{"empty directory", func(t *testing.T) string { return t.TempDir() }, sdk.ErrNotFound, "empty"},
		{"text file", func(t *testing.T) string {
			name := filepath.Join(t.TempDir(), "notes.txt")
			if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
			return name
		}, sdk.ErrCorrupt, "is a file"},
		{"directory of something else", directoryOf(map[string]string{"README": "x"}), sdk.ErrCorrupt, "no Pebble store"},
		{"one with a lock of its own", directoryOf(map[string]string{"LOCK": "4711"}), sdk.ErrCorrupt, "no Pebble store"},
		{"format 1", directoryOf(map[string]string{"CURRENT": "MANIFEST-000001\n", "MANIFEST-000001": "x", "000002.log": ""}), sdk.ErrUnsupported, "format major version 1"},
		{"RocksDB", directoryOf(map[string]string{"CURRENT": "MANIFEST-000004\n", "MANIFEST-000004": "x", "IDENTITY": "4711", "LOG": "", "000009.sst": "x",
			"OPTIONS-000007": "[Version]\n  rocksdb_version=8.9.1\n  options_file_version=1.1\n"}), sdk.ErrUnsupported, "a store of RocksDB"},
		{"RocksDB, without OPTIONS", directoryOf(map[string]string{"CURRENT": "MANIFEST-000004\n", "MANIFEST-000004": "x", "IDENTITY": "4711"}), sdk.ErrUnsupported, "a store of RocksDB"},
		{"RocksDB, with which Pebble went on", directoryOf(map[string]string{"CURRENT": "MANIFEST-000004\n", "MANIFEST-000004": "x", "IDENTITY": "4711",
			"OPTIONS-000007": "[Version]\n  rocksdb_version=6.2.1\n", "OPTIONS-000011": "[Version]\n  pebble_version=0.1\n"}), sdk.ErrUnsupported, "of Pebble v1"},
		{"LevelDB", directoryOf(map[string]string{"CURRENT": "MANIFEST-000004\n", "MANIFEST-000004": "x", "LOG": "", "000005.ldb": "x"}), sdk.ErrUnsupported, "a store of LevelDB"},
		{"LevelDB, new", directoryOf(map[string]string{"CURRENT": "MANIFEST-000002\n", "MANIFEST-000002": "x", "LOG": "", "000003.log": "x"}), sdk.ErrUnsupported, "a store of LevelDB"},
		{"old format", store(rename("marker.format-version.*", "marker.format-version.000001.007")), sdk.ErrUnsupported, "version 7"},
		{"future format", store(rename("marker.format-version.*", "marker.format-version.000001.999")), sdk.ErrUnsupported, "version 999"},
		{"no format", store(rename("marker.format-version.*", "marker.format-version.000001.abc")), sdk.ErrCorrupt, "abc"},
		{"no manifest's marker", store(remove("marker.manifest.*")), sdk.ErrCorrupt, "manifest"},
		{"no manifest", store(remove("MANIFEST-*")), sdk.ErrCorrupt, "MANIFEST"},
		{"no OPTIONS", store(remove("OPTIONS-*")), sdk.ErrUnsupported, "OPTIONS"},
		{"OPTIONS of garbage", store(edit("OPTIONS-*", func([]byte) []byte { return []byte("[Options]\n  bytes_per_sync=many\n") })), sdk.ErrCorrupt, "OPTIONS"},
		{"OPTIONS of a level too many", store(setting("[Level \"6\"]", "[Level \"9\"]")), sdk.ErrCorrupt, "OPTIONS"},
		{"OPTIONS of half a key schema", store(setting("key_schema=DefaultKeySchema(leveldb.BytewiseComparator,16)", "key_schema=DefaultKeySchema(leveldb.BytewiseComparator)")), sdk.ErrCorrupt, "OPTIONS"},
		{"remote tables", store(func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Join(path, "marker.remote-obj-catalog.000001.REMOTE-OBJ-CATALOG-000001"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}), sdk.ErrUnsupported, "remote"},
		{"archive of obsolete tables", store(setting("cleaner=delete", "cleaner=archive")), sdk.ErrUnsupported, "archive"},
		{"cleaner of its own", store(setting("cleaner=delete", "cleaner=shredder")), sdk.ErrUnsupported, "shredder"},
		{"key schema of its own", store(setting("key_schema=", "key_schema=test.")), sdk.ErrUnsupported, "key schema"},
		{"log out of reach", store(setting("wal_dir=", "wal_dir=/nowhere/wal")), sdk.ErrUnsupported, "/nowhere/wal"},
		{"log somewhere relative", store(setting("wal_dir=", "wal_dir=wal")), sdk.ErrUnsupported, "wal"},
		{"table truncated", store(edit("*.sst", half)), sdk.ErrCorrupt, ".sst"},
		{"table missing", store(remove("*.sst")), sdk.ErrCorrupt, "file does not exist"},
		{"manifest truncated", store(edit("MANIFEST-*", half)), sdk.ErrCorrupt, ""},
		{"manifest garbled", store(edit("MANIFEST-*", garble)), sdk.ErrCorrupt, ""},
		{"manifest empty", store(edit("MANIFEST-*", func([]byte) []byte { return nil })), sdk.ErrCorrupt, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			info, err := os.Stat(path)
			isDir := err == nil && info.IsDir()
			var before map[string]string
			if isDir {
				before = files(t, path)
			}
			for name, err := range refusals(New(Config{}), path) {
				if !errors.Is(err, c.kind) {
					t.Errorf("%s: error %v, want %v", name, err, c.kind)
				} else if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: error %q does not say %q in a line", name, err, c.says)
				}
				if sdk.Retryable(err) {
					t.Errorf("%s: error %q claims that a retry may help", name, err)
				}
			}
			if isDir {
				sameFiles(t, before, files(t, path))
			}
		})
	}
}

// newest is the file in use where there are several: its number is highest.
func newest(t *testing.T, path, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(path, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in %s", pattern, path)
	}
	return slices.Max(names)
}

func edit(pattern string, change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		name := newest(t, path, pattern)
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, change(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func garble(b []byte) []byte {
	for i := len(b) / 4; i < len(b)*3/4; i++ {
		b[i] ^= 0xa5
	}
	return b
}

// TestTableGarbled has a table that is wrong in its middle, which shows when it is
// read: the store may have been opened by then, but its tables are what they were.
func TestTableGarbled(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	edit("*.sst", garble)(t, path)
	before := tables(files(t, path))
	for name, err := range refusals(New(Config{}), path) {
		if !errors.Is(err, sdk.ErrCorrupt) || strings.Contains(err.Error(), "\n") || sdk.Retryable(err) {
			t.Errorf("%s: error %v, want %v in a line, and no retry", name, err, sdk.ErrCorrupt)
		}
	}
	sameFiles(t, before, tables(files(t, path)))
}

// TestUnknownSetting has a setting of a later Pebble that has nothing to do with tables,
// as far as they tell: it must neither stop the compaction nor get lost.
func TestUnknownSetting(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	editOptions(t, path, "[Options]\n", "[Options]\n  of_tomorrow=1\n")
	before := optionsOf(t, path)
	result := compact(t, path)
	if !strings.Contains(result.Note, "of_tomorrow") {
		t.Errorf("note %q does not mention the setting", result.Note)
	}
	if after := optionsOf(t, path); after != before || !strings.Contains(after, "of_tomorrow") {
		t.Errorf("the OPTIONS file reads\n%s", after)
	}
}

// TestFilterOfNoTable has bloom filters in its settings and in no table, as after
// they were switched on.
func TestFilterOfNoTable(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	editOptions(t, path, "filter_policy=none", "filter_policy="+engine.BloomName())
	result := compact(t, path)
	if want := "10 bits per key, the usual number"; !strings.Contains(result.Note, want) {
		t.Errorf("note %q, want %q", result.Note, want)
	}
	if bits := traits(t, path, nil).Names["filter bits"]; bits != "[10]" {
		t.Errorf("filters have %s bits per key, want 10", bits)
	}
}

// TestFormatOfOptions has an OPTIONS file that names a higher format than the
// store has, as after a crash on the way up.
func TestFormatOfOptions(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	editOptions(t, path, "format_major_version=13", fmt.Sprintf("format_major_version=%d", pebbledb.FormatNewest))
	compact(t, path)
	if marker := markers(t, path); !strings.HasSuffix(marker, ".013") {
		t.Errorf("the format's marker is %s", marker)
	}
}

// editOptions changes all places in all OPTIONS files of a store.
func editOptions(t *testing.T, path, old, changed string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(path, "OPTIONS-*"))
	if err != nil || len(names) == 0 {
		t.Fatal("no OPTIONS file")
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), old) {
			t.Fatalf("%s does not contain %q", name, old)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), old, changed)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPermission runs as a user that may not read the store.
func TestPermission(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(path, 0o700) }) // so that it can be removed
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+roleStranger, envStore+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "fragmentation: true\ncompact: true\n"; string(out) != want {
		t.Errorf("permission denied:\n%s\nwant\n%s", out, want)
	}
}

var _ vfs.FS = (*hookFS)(nil)
