package live

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestRefusals has stores that cannot be served: it is said at once, with advice.
func TestRefusals(t *testing.T) {
	mine := openInMemory(t, nil)
	turned := openInMemory(t, backwardsOptions)
	turned.set(t, 0, 10, "value")
	if err := turned.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closed := openInMemory(t, nil)
	db := closed.db
	closed.close(t)
	for name, c := range map[string]struct {
		stores []Store
		kind   error
		say    string
	}{
		"no store":         {nil, sdk.ErrInvalidOption, "no store"},
		"no name":          {[]Store{{DB: mine.db}}, sdk.ErrInvalidOption, "no name"},
		"no DB":            {[]Store{{Name: "a"}}, sdk.ErrInvalidOption, "nil"},
		"one name twice":   {[]Store{{Name: "a", DB: mine.db}, {Name: "a", DB: mine.db}}, sdk.ErrInvalidOption, `"a"`},
		"another comparer": {[]Store{{Name: "a", DB: turned.db}}, sdk.ErrInvalidOption, "test.reversed"},
		"another place":    {[]Store{{Name: "a", DB: mine.db, Dir: t.TempDir()}}, sdk.ErrInvalidOption, "no Pebble store"},
		"no place":         {[]Store{{Name: "a", DB: mine.db, Dir: "/no/such/place"}}, sdk.ErrInvalidOption, "/no/such/place"},
		"closed":           {[]Store{{Name: "a", DB: db}}, sdk.ErrNotFound, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // serving would not end
			defer cancel()
			err := Serve(ctx, t.TempDir()+"/s", c.stores...)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.say) || sdk.HintOf(err) == "" {
				t.Errorf("error %v (hint %q), want %v with %q and a hint", err, sdk.HintOf(err), c.kind, c.say)
			}
		})
	}
}

// TestStoreNames asks for stores by their names.
func TestStoreNames(t *testing.T) {
	a, b := openInMemory(t, nil), open(t, pebbletest.Spec{}, nil)
	one, err := New(Store{Name: "a", DB: a.db})
	if err != nil {
		t.Fatal(err)
	}
	if err := measureStore(t.Context(), one, sdk.Store{Name: "whatever the host calls it"}); err != nil {
		t.Errorf("a single store does not answer to another name: %v", err)
	}
	two, err := New(Store{Name: "a", DB: a.db}, Store{Name: "b", DB: b.db})
	if err != nil {
		t.Fatal(err)
	}
	stores, err := storesOf(t, two)
	if want := []sdk.Store{{Name: "a"}, {Name: "b", Path: b.path}}; err != nil || !slices.Equal(stores, want) {
		t.Errorf("stores %v, %v; want %v", stores, err, want)
	}
	for _, s := range []sdk.Store{{Name: "a"}, {Name: "b"}, {Path: b.path}} {
		if err := measureStore(t.Context(), two, s); err != nil {
			t.Errorf("measure %v: %v", s, err)
		}
	}
	for _, err := range []error{
		measureStore(t.Context(), two, sdk.Store{Name: "c"}),
		compactStore(t.Context(), two, sdk.Store{Name: "c"}),
	} {
		wantKind(t, "an unknown store", err, sdk.ErrNotFound)
		if !strings.Contains(err.Error(), `"c" here: there are a, b`) {
			t.Errorf("error %v does not name the stores there are", err)
		}
	}
	a.close(t)
	if stores, err := storesOf(t, two); err != nil || len(stores) != 1 || stores[0].Name != "b" {
		t.Errorf("stores %v, %v; want b alone once a is closed", stores, err)
	}
}

func storesOf(t *testing.T, b sdk.Backend) ([]sdk.Store, error) {
	t.Helper()
	lister, ok := b.(sdk.StoreLister)
	if !ok {
		t.Fatal("the backend lists no stores")
	}
	return lister.Stores(t.Context())
}

// TestOwnOrder has a store whose keys lie backwards.
func TestOwnOrder(t *testing.T) {
	o := openInMemory(t, backwardsOptions)
	o.set(t, 0, 2000, strings.Repeat("first", 20))
	if err := o.db.Flush(); err != nil {
		t.Fatal(err)
	}
	o.set(t, 0, 2000, strings.Repeat("again", 20))
	b := o.backend(t)
	f := measure(t, b, sdk.DepthExact)
	result := compact(t, b)
	if result.NoOp || result.ReclaimedBytes <= 0 || f.ReclaimableBytes <= 0 {
		t.Errorf("predicted %d bytes, result %+v", f.ReclaimableBytes, result)
	}
	if v := result.Verification; v == nil || v.ItemsBefore != 2000 {
		t.Errorf("verification %+v, want of 2000 items", v)
	}
	it, err := o.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for it.First(); it.Valid(); it.Next() {
		if n++; string(it.Key()) != string(pebbletest.Key(2000-n)) {
			t.Fatalf("key %d is %s", n, it.Key())
		}
	}
	if err := it.Close(); err != nil || n != 2000 {
		t.Errorf("%d keys, error %v", n, err)
	}
}

// backwardsOptions have the oldest format: the columns of newer ones want keys in
// the order of their bytes, or a key schema of the application's own.
func backwardsOptions(o *pebbledb.Options) {
	o.Comparer, o.FormatMajorVersion = reversed(), pebbledb.FormatMinSupported
}

// reversed orders the keys below a directory from the last to the first: what
// follows the first slash is a suffix, the only part whose order Pebble leaves to a
// comparer. No key has one that comes next.
func reversed() *pebbledb.Comparer {
	split := func(key []byte) int { return bytes.IndexByte(key, '/') + 1 }
	suffixes := func(a, b []byte) int {
		if len(a) == 0 || len(b) == 0 {
			return cmp.Compare(len(a), len(b))
		}
		return bytes.Compare(b, a)
	}
	return &pebbledb.Comparer{
		Name:  "test.reversed",
		Split: split,
		Compare: func(a, b []byte) int {
			i, j := split(a), split(b)
			return cmp.Or(bytes.Compare(a[:i], b[:j]), suffixes(a[i:], b[j:]))
		},
		ComparePointSuffixes: suffixes,
		CompareRangeSuffixes: suffixes,
		Separator:            func(dst, a, _ []byte) []byte { return append(dst, a...) },
		Successor:            func(dst, a []byte) []byte { return append(dst, a...) },
		AbbreviatedKey:       func(key []byte) uint64 { return pebbledb.DefaultComparer.AbbreviatedKey(key[:split(key)]) },
	}
}

// TestReadOnly has a store that may be measured and not compacted.
func TestReadOnly(t *testing.T) {
	o := open(t, pebbletest.Spec{}, func(o *pebbledb.Options) { o.ReadOnly = true })
	for name, given := range map[string]*pebbledb.Options{"with options": o.options, "without": nil} {
		t.Run(name, func(t *testing.T) {
			b, err := New(Store{Name: "events", DB: o.db, Options: given})
			if err != nil {
				t.Fatal(err)
			}
			f := measure(t, b, sdk.DepthSampled)
			if f.ReclaimableBytes == 0 || f.Obstacle == nil || !errors.Is(f.Obstacle.Kind, sdk.ErrUnsupported) {
				t.Errorf("%d bytes reclaimable, obstacle %v; want %v", f.ReclaimableBytes, f.Obstacle, sdk.ErrUnsupported)
			}
			err = compactStore(t.Context(), b, events)
			wantKind(t, "compact", err, sdk.ErrUnsupported)
			if sdk.HintOf(err) == "" {
				t.Error("the error has no hint")
			}
		})
	}
}

// TestOutOfSight has a store in memory whose options are not given: Pebble's own
// count takes the place of the file system's.
func TestOutOfSight(t *testing.T) {
	o := openInMemory(t, nil)
	for _, value := range []string{"first", "again"} {
		o.set(t, 0, 100, value)
		if err := o.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := New(Store{Name: "events", DB: o.db})
	if err != nil {
		t.Fatal(err)
	}
	f := measure(t, b, sdk.DepthSampled)
	if f.TotalBytes != int64(o.db.Metrics().DiskSpaceUsage()) || f.TotalBytes == 0 {
		t.Errorf("total %d, Pebble counts %d", f.TotalBytes, o.db.Metrics().DiskSpaceUsage())
	}
	if result := compact(t, b); result.NoOp || result.Before.TotalBytes == 0 {
		t.Errorf("result %+v", result)
	}
}

// TestNoSpace has a disk that is full but for a little.
func TestNoSpace(t *testing.T) {
	o := open(t, pebbletest.Spec{}, func(o *pebbledb.Options) { o.FS = &fullFS{FS: vfs.Default} })
	b := o.backend(t)
	if f := measure(t, b, sdk.DepthSampled); f.Obstacle == nil || !errors.Is(f.Obstacle.Kind, sdk.ErrNoSpace) {
		t.Errorf("obstacle %v, want %v", f.Obstacle, sdk.ErrNoSpace)
	}
	err := compactStore(context.Background(), b, events)
	wantKind(t, "compact", err, sdk.ErrNoSpace)
	if !strings.Contains(err.Error(), "1.0 KiB are free") {
		t.Errorf("error %v does not say how much is free", err)
	}
}

// fullFS has a kilobyte left.
type fullFS struct{ vfs.FS }

func (fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 10}, nil
}
