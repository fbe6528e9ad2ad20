package rebuild

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// versions orders keys by name, and the versions of a name, which follow an @, from the
// last to the first.
func versions() *pebbledb.Comparer {
	split := func(key []byte) int {
		if i := bytes.IndexByte(key, '@'); i >= 0 {
			return i
		}
		return len(key)
	}
	suffixes := func(a, b []byte) int {
		if len(a) == 0 || len(b) == 0 {
			return cmp.Compare(len(a), len(b)) // -1 or 1, as Pebble wants
		}
		return bytes.Compare(b, a)
	}
	c := pebbledb.Comparer{
		Name: "test.versions", Split: split, ComparePointSuffixes: suffixes, CompareRangeSuffixes: suffixes,
		Compare: func(a, b []byte) int {
			i, j := split(a), split(b)
			return cmp.Or(bytes.Compare(a[:i], b[:j]), suffixes(a[i:], b[j:]))
		},
		AbbreviatedKey: func(key []byte) uint64 { return pebbledb.DefaultComparer.AbbreviatedKey(key[:split(key)]) },
		Separator:      func(dst, a, _ []byte) []byte { return append(dst, a...) },
		Successor:      func(dst, a []byte) []byte { return append(dst, a...) },
	}
	return c.EnsureDefaults()
}

type store struct {
	*pebbledb.DB
	options *pebbledb.Options
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Error(...any)
	Fatal(...any)
}

// open makes a store in memory.
func open(t tester, format pebbledb.FormatMajorVersion) store {
	t.Helper()
	o := &pebbledb.Options{
		FS: vfs.NewMem(), Comparer: versions(), FormatMajorVersion: format, DisableAutomaticCompactions: true,
		Logger: quiet{},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 1 << 10
	}
	o.EnsureDefaults()
	db, err := pebbledb.Open("store", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return store{db, o}
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (s store) do(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tables describes those of the store, of a size, that go into another one.
func (s store) tables(into store, size int64) (t Tables, paths *[]string) {
	paths = new([]string)
	return Tables{
		Comparer: s.options.Comparer,
		Options:  s.options.MakeWriterOptions(engine.Bottom, s.TableFormat()),
		Size:     size,
		Create: func(n int) (vfs.File, error) {
			*paths = append(*paths, fmt.Sprintf("table-%d.sst", n))
			return into.options.FS.Create((*paths)[n], vfs.WriteCategoryUnspecified)
		},
	}, paths
}

func name(i int) []byte { return fmt.Appendf(nil, "name/%05d", i) }

func value(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d.", i*7919), 12) }

const names = 400

// TestWrite holds the tables against the store that they are of: whatever a reader sees
// of it, he sees of them, and they lie side by side in the lowest level.
func TestWrite(t *testing.T) {
	plain := func(t *testing.T, s store) {
		for i := range names {
			s.do(t, s.Set(name(i), value(i), nil))
		}
	}
	cases := []struct {
		name string
		fill func(t *testing.T, s store)
		// tables is how many there have to be at least.
		tables int
	}{
		{"nothing", func(*testing.T, store) {}, 0},
		{"keys", plain, 4},
		{"dead keys", func(t *testing.T, s store) {
			plain(t, s)
			plain(t, s)
			s.do(t, s.DeleteRange(name(10), name(100), nil))
			s.do(t, s.Delete(name(200), nil))
			s.do(t, s.SingleDelete(name(300), nil))
			s.do(t, s.Merge(name(50), []byte("more"), nil))
			s.do(t, s.Merge(name(350), []byte("more"), nil))
		}, 3},
		{"versions", func(t *testing.T, s store) {
			for i := range names {
				for v := range 3 {
					s.do(t, s.Set(fmt.Appendf(name(i), "@%d", v), value(i), nil))
				}
			}
		}, 8},
		{"a name with most of the versions", func(t *testing.T, s store) {
			plain(t, s)
			for v := range names {
				s.do(t, s.Set(fmt.Appendf(name(7), "@%04d", v), value(v), nil))
			}
		}, 6},
		{"a range key over all", func(t *testing.T, s store) {
			plain(t, s)
			s.do(t, s.RangeKeySet([]byte("a"), []byte("z"), []byte("@1"), []byte("mark"), nil))
		}, 4},
		{"range keys that overlap", func(t *testing.T, s store) {
			plain(t, s)
			for i := 0; i < names; i += 20 {
				s.do(t, s.RangeKeySet(name(i), name(i+50), []byte("@1"), fmt.Append(nil, "mark ", i), nil))
				s.do(t, s.RangeKeySet(name(i), name(i+30), []byte("@2"), []byte("the same"), nil))
			}
			s.do(t, s.RangeKeyUnset(name(100), name(130), []byte("@1"), nil))
			s.do(t, s.RangeKeyDelete(name(200), name(210), nil))
		}, 4},
		{"a range key over many versions", func(t *testing.T, s store) {
			for v := range names {
				s.do(t, s.Set(fmt.Appendf(name(7), "@%04d", v), value(v), nil))
			}
			plain(t, s)
			s.do(t, s.RangeKeySet(name(5), name(9), nil, []byte("mark"), nil))
			s.do(t, s.RangeKeySet(name(7), name(300), []byte("@4"), []byte("other"), nil))
		}, 4},
		{"range keys alone", func(t *testing.T, s store) {
			for i := range names {
				s.do(t, s.RangeKeySet(name(i), name(i+1), nil, value(i), nil))
			}
		}, 4},
		{"a range key behind all", func(t *testing.T, s store) {
			plain(t, s)
			s.do(t, s.RangeKeySet([]byte("x"), []byte("z"), nil, []byte("mark"), nil))
		}, 4},
		{"large values", func(t *testing.T, s store) {
			for i := range 3 {
				s.do(t, s.Set(name(i), bytes.Repeat([]byte{byte(i)}, chunkBytes+i), nil))
			}
		}, 3},
	}
	for _, format := range []pebbledb.FormatMajorVersion{pebbledb.FormatMinSupported, pebbledb.FormatNewest} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s, format %d", c.name, format), func(t *testing.T) {
				from, into := open(t, format), open(t, format)
				c.fill(t, from)
				tables, paths := from.tables(into, 4<<10)
				var told int64
				n, err := tables.Write(t.Context(), from, func(bytes int64) { told = bytes })
				if err != nil {
					t.Fatal(err)
				}
				if n != len(*paths) || n < c.tables {
					t.Errorf("%d tables of %d files, want at least %d", n, len(*paths), c.tables)
				}
				if n > 0 {
					into.do(t, into.Ingest(t.Context(), *paths))
				}
				levels, err := engine.ReadLevels(into.DB)
				into.do(t, err)
				if got := len(levels[engine.Bottom]); got != n {
					t.Errorf("%d tables of %d are in the lowest level", got, n)
				}
				for _, table := range levels[engine.Bottom] {
					if table.Dirty() || table.Props.NumMergeOperands > 0 {
						t.Errorf("a table has dead entries: %s", table.Props)
					}
				}
				into.do(t, into.CheckLevels(nil))
				want, got := content(t, from), content(t, into)
				if want != got {
					t.Errorf("the tables have %+v, the store %+v", got, want)
				}
				if told != want.Bytes {
					t.Errorf("%d bytes were told of %d", told, want.Bytes)
				}
			})
		}
	}
}

func content(t tester, s store) engine.Content {
	t.Helper()
	c, err := engine.ReadContent(t.Context(), s, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPrefixesStayTogether looks for a name whose versions are in two tables, which
// only those have that do not fit into one.
func TestPrefixesStayTogether(t *testing.T) {
	from, into := open(t, pebbledb.FormatNewest), open(t, pebbledb.FormatNewest)
	for i := range names {
		for v := range 5 {
			from.do(t, from.Set(fmt.Appendf(name(i), "@%d", v), value(i), nil))
		}
	}
	tables, paths := from.tables(into, 4<<10)
	if _, err := tables.Write(t.Context(), from, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	into.do(t, into.Ingest(t.Context(), *paths))
	levels, err := engine.ReadLevels(into.DB)
	into.do(t, err)
	seen := map[string]bool{}
	split := from.options.Comparer.Split
	for _, table := range levels[engine.Bottom] {
		if first := string(table.Smallest[:split(table.Smallest)]); seen[first] {
			t.Errorf("%s is in two tables", first)
		}
		seen[string(table.Largest[:split(table.Largest)])] = true
	}
	if len(seen) < 10 {
		t.Fatalf("%d tables, too few to tell", len(seen))
	}
}

// TestFailures lets writing and reading fail in the middle.
func TestFailures(t *testing.T) {
	from := open(t, pebbledb.FormatNewest)
	for i := range 20 {
		from.do(t, from.Set(name(i), bytes.Repeat([]byte{'x'}, chunkBytes/2), nil))
	}
	t.Run("no file", func(t *testing.T) {
		tables, _ := from.tables(open(t, pebbledb.FormatNewest), 4<<10)
		create, broken := tables.Create, errors.New("no more files")
		tables.Create = func(n int) (vfs.File, error) {
			if n == 3 {
				return nil, broken
			}
			return create(n)
		}
		if n, err := tables.Write(t.Context(), from, func(int64) {}); !errors.Is(err, broken) || n != 3 {
			t.Errorf("%d tables, error %v", n, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tables, _ := from.tables(open(t, pebbledb.FormatNewest), 4<<10)
		_, err := tables.Write(ctx, from, func(int64) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("a comparer that panics", func(t *testing.T) {
		tables, _ := from.tables(open(t, pebbledb.FormatNewest), 4<<10)
		defer func() {
			if p := recover(); p != "broken" {
				t.Errorf("panicked with %v", p)
			}
		}()
		_, _ = tables.Write(t.Context(), panicking{from}, func(int64) {})
		t.Error("it came to nobody")
	})
}

// panicking cannot be read.
type panicking struct{ store }

func (panicking) NewIterWithContext(context.Context, *pebbledb.IterOptions) (*pebbledb.Iterator, error) {
	panic("broken")
}

// TestWeigh compresses a sample of a store in two ways.
func TestWeigh(t *testing.T) {
	s := open(t, pebbledb.FormatNewest)
	for i := range names {
		s.do(t, s.Set(name(i), value(i), nil))
	}
	weigh := func(starts [][]byte, limit int64, profile *sstable.CompressionProfile) (size, raw int64) {
		o := s.options.MakeWriterOptions(engine.Bottom, s.TableFormat())
		o.Compression = profile
		size, raw, err := Weigh(t.Context(), s, o, starts, limit)
		if err != nil {
			t.Fatal(err)
		}
		return size, raw
	}
	all := content(t, s).Bytes + 8*names
	overlapping := [][]byte{name(0), name(0), name(1), name(names / 2)}
	if _, raw := weigh(overlapping, 1<<30, sstable.NoCompression); raw != all {
		t.Errorf("%d bytes of a sample of all, want %d", raw, all)
	}
	some := [][]byte{name(0), name(names / 2)}
	none, raw := weigh(some, 2000, sstable.NoCompression)
	if raw < 4000 || raw > 5000 || none < raw {
		t.Errorf("%d bytes of a sample of 4000, a table of %d", raw, none)
	}
	if zstd, _ := weigh(some, 2000, sstable.ZstdCompression); zstd >= none/2 {
		t.Errorf("%d bytes compressed, %d not", zstd, none)
	}
}
