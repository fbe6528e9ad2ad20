package punch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Runs of pages are given in units of 1 KiB, with blocks of 4 KiB.
func TestAllocated(t *testing.T) {
	for _, test := range []struct {
		name     string
		size     int64
		runs     []span
		minRun   int64
		extents  []span
		want     []span
		dataKiBs int64 // of what is punched
	}{
		{"whole blocks", 100, []span{{8, 16}, {40, 44}}, 0, []span{{0, 100}}, []span{{8, 16}, {40, 44}}, 12},
		{"clipped", 100, []span{{7, 17}, {41, 47}}, 0, []span{{0, 100}}, []span{{8, 16}}, 8},
		{"within a block", 100, []span{{5, 7}, {6, 10}}, 0, []span{{0, 100}}, nil, 0},
		{"too short once clipped", 100, []span{{7, 17}}, 10, []span{{0, 100}}, nil, 0},
		{"a hole already", 100, []span{{8, 16}, {40, 44}}, 0, []span{{0, 8}, {16, 100}}, []span{{40, 44}}, 4},
		{"holes at its ends", 100, []span{{8, 40}}, 0, []span{{0, 4}, {16, 32}, {60, 100}}, []span{{16, 32}}, 16},
		{"holes within", 100, []span{{8, 40}}, 0, []span{{0, 12}, {20, 24}, {32, 100}}, []span{{8, 40}}, 16},
		{"too little but for holes", 100, []span{{8, 40}}, 17, []span{{0, 12}, {20, 24}, {32, 100}}, nil, 0},
		{"several in an extent, several extents in one", 200, []span{{8, 12}, {20, 24}, {28, 60}, {80, 84}}, 0,
			[]span{{0, 32}, {40, 44}, {56, 100}}, []span{{8, 12}, {20, 24}, {28, 60}, {80, 84}}, 24},
		{"the last block", 43, []span{{38, 43}}, 0, []span{{0, 43}}, []span{{40, 44}}, 3},
		{"no data", 100, []span{{8, 40}}, 0, nil, nil, 0},
		{"no runs", 100, nil, 0, []span{{0, 100}}, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &matcher{size: test.size << 10, block: 4 << 10, minRun: test.minRun << 10, runs: inBytes(test.runs)}
			var all int64
			for _, e := range inBytes(test.extents) {
				m.extent(e)
				all += e.length()
			}
			m.finish()
			if want := inBytes(test.want); !slices.Equal(m.found.punch, want) || m.found.bytes != test.dataKiBs<<10 || m.found.dataBytes != all {
				t.Errorf("found %+v, want %v", m.found, want)
			}
		})
	}
}

func inBytes(kib []span) []span {
	var spans []span
	for _, s := range kib {
		spans = append(spans, span{s.from << 10, s.to << 10})
	}
	return spans
}

func TestParts(t *testing.T) {
	for _, test := range []struct {
		span span
		most int64
		want []span
	}{
		{span{10, 20}, 10, []span{{10, 20}}},
		{span{10, 20}, 4, []span{{10, 14}, {14, 18}, {18, 20}}},
		{span{10, 10}, 4, nil},
	} {
		if got := slices.Collect(test.span.parts(test.most)); !slices.Equal(got, test.want) {
			t.Errorf("%v in parts of %d: %v, want %v", test.span, test.most, got, test.want)
		}
	}
}

// What the walk finds in use and what bbolt takes for free are the whole file.
func TestCheckedAgreesWithBbolt(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		for _, shape := range bolttest.Shapes() {
			path := generate(t, bolttest.Spec{Seed: 3, LiveBytes: 300 << 10, GarbageRatio: 0.5, Shape: shape, NoFreelistSync: noFreelist})
			db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, ReadOnly: true, PreLoadFreelist: true})
			if err != nil {
				t.Fatal(err)
			}
			want := int64(db.Stats().FreePageN)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			free, err := check(t.Context(), f, Config{})
			if err != nil || free.Pages != want {
				t.Errorf("%s: %d pages are free, want %d, error %v", shape, free.Pages, want, err)
			}
			_ = f.Close()
		}
	}
}

// A page that is needed is never punched, whatever the file says.
func TestDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(d *damaged)
		want   string
	}{
		{"a leaf on the freelist", func(d *damaged) { d.list(d.children()[3]) }, "is in use and on the freelist"},
		{"the root on the freelist", func(d *damaged) { d.list(d.meta.Root) }, "is in use and on the freelist"},
		{"the freelist on the freelist", func(d *damaged) { d.list(d.meta.Freelist) }, "holds the freelist and is on it"},
		{"a freelist that reaches into the trees", func(d *damaged) {
			d.moveFreelist(d.free(), slices.Max(d.children()))
		}, "holds the freelist and is in use by a tree"},
		{"a meta on the freelist", func(d *damaged) { d.list(1) }, "lists page 1 as free"},
		{"a page beyond the end on the freelist", func(d *damaged) { d.list(d.meta.HighWater) }, "as free, outside of 2 to"},
		{"a page twice on the freelist", func(d *damaged) { d.list(d.free() + 1) }, "is on the freelist twice"},
		{"a child in two places", func(d *damaged) { d.setChild(1, d.children()[0]) }, "is referenced twice"},
		{"a loop", func(d *damaged) { d.setChild(1, d.bucket()) }, "is referenced twice"},
		{"a child that is a free page", func(d *damaged) { d.setChild(1, d.free()) }, "page"},
		{"a child that is the freelist", func(d *damaged) { d.setChild(1, d.meta.Freelist) }, "is neither branch nor leaf"},
		{"a child that is a meta", func(d *damaged) { d.setChild(1, 0) }, "lies outside of 2 to"},
		{"a child beyond the end", func(d *damaged) { d.setChild(1, 1<<40) }, "lies outside of 2 to"},
		{"a leaf that reaches into the next", func(d *damaged) {
			binary.NativeEndian.PutUint32(d.at(d.children()[0])[12:], uint32(d.meta.HighWater-d.children()[0]-1))
		}, "is referenced twice"},
		{"a file cut short", func(d *damaged) { d.bytes = d.bytes[:d.meta.Bytes()-10] }, "lies beyond the end of the file"},
		{"no meta", func(d *damaged) { clear(d.bytes[:8192]) }, "no valid meta page"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDamaged(t)
			test.damage(d)
			if err := os.WriteFile(d.path, d.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			was := state(t, d.path)
			result, err := punchAll(t.Context(), d.path, Config{MinRun: 1})
			var problem *page.Error
			if !errors.As(err, &problem) && !errors.Is(err, page.ErrNoMeta) {
				t.Fatalf("%+v, error %v", result, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want one with %q", err, test.want)
			}
			if now := state(t, d.path); now != was {
				t.Error("the file has changed")
			}
		})
	}
}

// damaged is a store of one bucket, whose bytes a test changes.
type damaged struct {
	t     *testing.T
	path  string
	bytes []byte
	meta  page.Meta
	file  page.File
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	d := &damaged{t: t, path: generate(t, bolttest.Spec{Seed: 1, LiveBytes: 500 << 10, GarbageRatio: 0.5, Shape: bolttest.ShapeAppend})}
	var err error
	if d.bytes, err = os.ReadFile(d.path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if d.meta, err = page.ReadMeta(f); err != nil {
		t.Fatal(err)
	}
	d.file = page.File{R: f, Meta: d.meta}
	return d
}

func (d *damaged) at(id page.ID) []byte { return d.bytes[d.meta.Offset(id):][:d.meta.PageSize] }

func (d *damaged) node(id page.ID) page.Node {
	n, err := d.file.Node(id, true, new(page.Buffer))
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// bucket is the branch that the only bucket begins with.
func (d *damaged) bucket() page.ID {
	root := d.node(d.meta.Root)
	b, err := root.Bucket(0)
	if err != nil {
		d.t.Fatal(err)
	}
	return b.Root
}

func (d *damaged) children() []page.ID {
	n := d.node(d.bucket())
	if n.Leaf || n.Count < 4 {
		d.t.Fatalf("the bucket has no branch of four: %+v", n)
	}
	ids := make([]page.ID, n.Count)
	for i := range ids {
		ids[i] = n.Child(i)
	}
	return ids
}

func (d *damaged) setChild(i int, to page.ID) {
	binary.NativeEndian.PutUint64(d.at(d.bucket())[page.HeaderSize+i*page.ElementSize+8:], uint64(to))
}

func (d *damaged) free() page.ID {
	list, err := d.file.Freelist(true)
	if err != nil || len(list.IDs) == 0 {
		d.t.Fatalf("no free page: %v", err)
	}
	return list.IDs[0]
}

// list puts a page on the freelist in place of the first one there.
func (d *damaged) list(id page.ID) {
	binary.NativeEndian.PutUint64(d.at(d.meta.Freelist)[page.HeaderSize:], uint64(id))
}

// moveFreelist lets the freelist begin at a page and reach to another.
func (d *damaged) moveFreelist(to, end page.ID) {
	if to >= end {
		d.t.Fatalf("page %d is not before page %d", to, end)
	}
	copy(d.at(to), d.at(d.meta.Freelist))
	binary.NativeEndian.PutUint64(d.at(to), uint64(to))
	binary.NativeEndian.PutUint32(d.at(to)[12:], uint32(end-to))
	const checksum = 56 // after so many bytes
	meta := d.at(d.meta.Page)[page.HeaderSize:]
	binary.NativeEndian.PutUint64(meta[32:], uint64(to))
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:checksum])
	binary.NativeEndian.PutUint64(meta[checksum:], sum.Sum64())
}

// While somebody writes, a measurement gives a figure or says that it cannot;
// it never takes a page that is half written for damage.
func TestListedWhileSomebodyWrites(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		spec := holey()
		spec.NoFreelistSync = noFreelist
		path := generate(t, spec)
		db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: noFreelist})
		if err != nil {
			t.Fatal(err)
		}
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := db.Update(func(tx *bbolt.Tx) error {
					b, err := tx.CreateBucketIfNotExists([]byte("written"))
					if err != nil {
						return err
					}
					return b.Put(fmt.Appendf(nil, "%d", i%1000), make([]byte, i%3000))
				}); err != nil {
					done <- err
					return
				}
			}
		}()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		measured := 0
		for range 40 {
			free, err := Listed(t.Context(), f, Config{})
			if errors.Is(err, ErrMoving) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := free.Punchable(f); err != nil {
				t.Fatal(err)
			}
			measured++
		}
		close(stop)
		if err := errors.Join(<-done, db.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if !noFreelist && measured == 0 {
			t.Error("not one measurement succeeded")
		}
	}
}
