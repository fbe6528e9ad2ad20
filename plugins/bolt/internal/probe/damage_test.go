package probe_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
)

// file is a whole file in memory, to be damaged.
type file struct {
	t     *testing.T
	bytes []byte
	meta  page.Meta
}

func load(t *testing.T, spec bolttest.Spec) *file {
	t.Helper()
	b, err := os.ReadFile(generate(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := page.ReadMeta(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return &file{t, b[:meta.Bytes()], meta}
}

func (f *file) measure(depth probe.Depth, limit int) (probe.Measurement, error) {
	return probe.Measure(context.Background(), bytes.NewReader(f.bytes),
		func() (int64, error) { return int64(len(f.bytes)), nil },
		probe.Config{Depth: depth, Fill: 0.9, SamplePages: limit, Picture: true})
}

func (f *file) node(id page.ID) *page.Node {
	f.t.Helper()
	r := page.File{R: bytes.NewReader(f.bytes), Meta: f.meta}
	n, err := r.Node(id, true, new(page.Buffer))
	if err != nil {
		f.t.Fatal(err)
	}
	return &n
}

// branch returns the first branch page under the first bucket.
func (f *file) branch() *page.Node {
	f.t.Helper()
	root := f.node(f.meta.Root)
	b, err := root.Bucket(0)
	if err != nil {
		f.t.Fatal(err)
	}
	n := f.node(b.Root)
	if n.Leaf {
		f.t.Fatal("the bucket has no branch")
	}
	return n
}

// leaf returns the first leaf under that branch.
func (f *file) leaf() *page.Node {
	f.t.Helper()
	n := f.branch()
	for !n.Leaf {
		n = f.node(n.Child(0))
	}
	return n
}

func (f *file) at(id page.ID, offset int) []byte { return f.bytes[int(f.meta.Offset(id))+offset:] }

func (f *file) setChild(n *page.Node, i int, child page.ID) {
	binary.NativeEndian.PutUint64(f.at(n.ID, page.HeaderSize+i*page.ElementSize+8), uint64(child))
}

func TestDamageIsFound(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(f *file)
		want   string // part of the message
		exact  bool   // found by Exact alone
	}{
		{"a page of garbage", func(f *file) {
			for i, b := 0, f.at(f.branch().Child(1), 0); i < 4096; i++ {
				b[i] = byte(i * 31)
			}
		}, "says that it is page", false},
		{"a page of zeros", func(f *file) { clear(f.at(f.branch().Child(1), 0)[:4096]) }, "says that it is page 0", false},
		{"an unknown kind", func(f *file) { f.at(f.leaf().ID, 8)[0] = 0x40 }, "neither branch nor leaf (flags 0x40)", false},
		{"a loop", func(f *file) { f.setChild(f.branch(), 0, f.branch().ID) }, "", false},
		{"a page with two parents", func(f *file) { f.setChild(f.branch(), 1, f.branch().Child(0)) }, "is referenced twice", true},
		{"a child beyond the end", func(f *file) { f.setChild(f.branch(), 1, f.meta.HighWater+7) }, "lies outside of 2 to", false},
		{"a child that is a meta", func(f *file) { f.setChild(f.branch(), 1, 1) }, "lies outside of 2 to", false},
		{"too many entries", func(f *file) {
			binary.NativeEndian.PutUint16(f.at(f.leaf().ID, 10), 0xFFFF)
		}, "more than its 4096 bytes hold", false},
		{"too much overflow", func(f *file) {
			binary.NativeEndian.PutUint32(f.at(f.leaf().ID, 12), 0xFFFFFFF0)
		}, "beyond the high-water mark", false},
		{"an entry beyond its page", func(f *file) {
			binary.NativeEndian.PutUint32(f.at(f.leaf().ID, page.HeaderSize+12), 1<<30)
		}, "reaches beyond its end", false},
		{"an empty key", func(f *file) {
			binary.NativeEndian.PutUint32(f.at(f.leaf().ID, page.HeaderSize+8), 0)
		}, "an empty key (entry 1 of", false},
		{"keys out of order", func(f *file) {
			n := f.leaf()
			last, err := n.Key(n.Count - 1)
			if err != nil {
				f.t.Fatal(err)
			}
			at := bytes.Index(f.at(n.ID, 0), last)
			copy(f.at(n.ID, at), bytes.Repeat([]byte{0}, len(last)))
		}, "a key out of order", true},
		{"a page in use on the freelist", func(f *file) {
			binary.NativeEndian.PutUint64(f.at(f.meta.Freelist, page.HeaderSize), uint64(f.branch().Child(0)))
		}, "", true},
		{"no freelist where one should be", func(f *file) { f.at(f.meta.Freelist, 8)[0] = 2 }, "is not the freelist", false},
		{"a freelist longer than the file", func(f *file) {
			binary.NativeEndian.PutUint16(f.at(f.meta.Freelist, 10), 0xFFFE)
		}, "free pages of", false},
		{"a truncated file", func(f *file) { f.bytes = f.bytes[:len(f.bytes)/2] }, "beyond the end of the file", false},
		{"one page", func(f *file) { f.bytes = f.bytes[:4096] }, "it has 4096 bytes and needs", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := load(t, bolttest.Spec{Seed: 1, LiveBytes: 300 << 10, GarbageRatio: 0.3, Shape: bolttest.ShapeAppend})
			if _, err := f.measure(probe.Exact, 0); err != nil {
				t.Fatalf("before any damage: %v", err)
			}
			test.damage(f)
			depths := map[string]probe.Depth{"exact": probe.Exact}
			if !test.exact {
				depths["sampled"] = probe.Sampled
			}
			for name, depth := range depths {
				_, err := f.measure(depth, 1<<10)
				var damage *page.Error
				if !errors.As(err, &damage) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: error %v, want one with %q", name, err, test.want)
				}
			}
			// A sample that is smaller than the trees ends too, whatever it says.
			_, _ = f.measure(probe.Sampled, 32)
		})
	}
}

func TestBrokenMetas(t *testing.T) {
	breakMeta := func(f *file, id page.ID) { f.at(id, page.HeaderSize)[8]++ }
	for _, pageSize := range []int{1 << 10, 4 << 10, 64 << 10} {
		spec := bolttest.Spec{Seed: 1, LiveBytes: 100 << 10, Shape: bolttest.ShapeAppend, PageSize: pageSize}
		for id := range page.ID(2) {
			f := load(t, spec)
			newest := page.ID(f.meta.TxID % 2)
			breakMeta(f, id)
			m, err := f.measure(probe.Quick, 0)
			if err != nil {
				t.Errorf("page size %d, meta %d broken: %v", pageSize, id, err)
				continue
			}
			want := f.meta.TxID
			if id == newest {
				want--
			}
			if m.Meta.TxID != want || m.Meta.PageSize != pageSize {
				t.Errorf("page size %d, meta %d broken: read %+v, want transaction %d", pageSize, id, m.Meta, want)
			}
		}
		f := load(t, spec)
		breakMeta(f, 0)
		breakMeta(f, 1)
		if _, err := f.measure(probe.Quick, 0); !errors.Is(err, page.ErrNoMeta) {
			t.Errorf("page size %d, both broken: error %v, want ErrNoMeta", pageSize, err)
		}
	}
}

// Whatever the bytes are, a measurement ends with a result or a plain error.
func TestRandomDamageNeverPanics(t *testing.T) {
	found := 0
	for _, shape := range []bolttest.Shape{bolttest.ShapeNested, bolttest.ShapeBigValues} {
		f := load(t, bolttest.Spec{Seed: 1, LiveBytes: 60 << 10, GarbageRatio: 0.3, Shape: shape, PageSize: 1 << 10})
		whole := bytes.Clone(f.bytes)
		random := rand.New(rand.NewPCG(1, 2))
		for range 400 {
			copy(f.bytes, whole)
			for range 1 + random.IntN(8) {
				// Mostly where the structure is: near the start of a page.
				id := page.ID(2 + random.IntN(int(f.meta.HighWater)-2))
				b := f.at(id, random.IntN(64))
				switch random.IntN(3) {
				case 0:
					b[0] ^= 1 << random.IntN(8)
				case 1:
					binary.NativeEndian.PutUint32(b, uint32(random.IntN(int(f.meta.HighWater)+3)))
				default:
					binary.NativeEndian.PutUint32(b, random.Uint32())
				}
			}
			for _, depth := range []probe.Depth{probe.Quick, probe.Sampled, probe.Exact} {
				m, err := f.measure(depth, 64)
				var damage *page.Error
				switch {
				case err != nil && !errors.As(err, &damage):
					t.Fatalf("%s: error %v of another kind", shape, err)
				case err != nil:
					found++
				case m.PackedBytes <= 0 || m.UsedBytes < 0:
					t.Fatalf("%s: measured %+v", shape, m)
				}
			}
		}
	}
	if found < 200 {
		t.Errorf("only %d of 2400 measurements found damage: the test does not reach the structure", found)
	}
}
