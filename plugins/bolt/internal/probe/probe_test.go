package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
)

func generate(t testing.TB, spec bolttest.Spec) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	if err := bolttest.Generate(path, spec); err != nil {
		t.Fatal(err)
	}
	return path
}

func measure(t *testing.T, path string, c probe.Config) probe.Measurement {
	t.Helper()
	m, err := tryMeasure(path, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryMeasure(path string, c probe.Config) (probe.Measurement, error) {
	f, err := os.Open(path)
	if err != nil {
		return probe.Measurement{}, err
	}
	defer f.Close()
	if c.Fill == 0 {
		c.Fill = 0.9
	}
	return probe.Measure(context.Background(), f, sizeOf(f), c)
}

func sizeOf(f *os.File) func() (int64, error) {
	return func() (int64, error) {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
}

// What is counted is what bbolt itself says.
func TestExactAgreesWithBbolt(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		for _, noFreelist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", shape, noFreelist), func(t *testing.T) {
				path := generate(t, bolttest.Spec{
					Seed: 1, LiveBytes: 300 << 10, GarbageRatio: 0.4, Shape: shape, NoFreelistSync: noFreelist,
				})
				m := measure(t, path, probe.Config{Depth: probe.Exact, Picture: true})
				db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if free := int64(db.Stats().FreePageN); m.FreePages != free {
					t.Errorf("%d free pages, want %d", m.FreePages, free)
				}
				var items, contentBytes int64
				var stats bbolt.BucketStats
				if err := db.View(func(tx *bbolt.Tx) error {
					stats = tx.Cursor().Bucket().Stats()
					items, contentBytes = count(tx.Cursor())
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if m.Items() != items || m.ContentBytes != contentBytes {
					t.Errorf("%d items of %d bytes, want %d of %d", m.Items(), m.ContentBytes, items, contentBytes)
				}
				for _, c := range []struct {
					what      string
					got, want int64
				}{
					{"leaf pages", m.LeafPages, int64(stats.LeafPageN + stats.LeafOverflowN)},
					{"branch pages", m.BranchPages, int64(stats.BranchPageN + stats.BranchOverflowN)},
					{"overflow pages", m.OverflowPages, int64(stats.LeafOverflowN + stats.BranchOverflowN)},
					{"inline buckets", m.InlineBuckets, int64(stats.InlineBucketN)},
					{"used bytes of leaves", m.LeafUsedBytes, int64(stats.LeafInuse)},
					{"lost pages", m.LostPages, 0},
				} {
					if c.got != c.want {
						t.Errorf("%d %s, want %d", c.got, c.what, c.want)
					}
				}
				if n := len(m.Map); n == 0 || n > 1024 || int64(n) > int64(m.Meta.HighWater) {
					t.Errorf("the picture of %d pages has %d cells", m.Meta.HighWater, n)
				}
			})
		}
	}
}

// The size foretold is the size that the writer makes, page for page.
func TestPackedPagesAreWhatTheWriterMakes(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		spec := bolttest.Spec{
			Seed: seed, LiveBytes: 1 + random.Int64N(1<<18), GarbageRatio: random.Float64() * 0.8,
			Shape:    bolttest.Shapes()[random.IntN(len(bolttest.Shapes()))],
			PageSize: 1 << (10 + random.IntN(5)),
		}
		fill := 0.1 + 0.9*random.Float64()
		path := generate(t, spec)
		want := measure(t, path, probe.Config{Depth: probe.Exact, Fill: fill})
		got := measure(t, rewrite(t, path, want.Meta, fill), probe.Config{Depth: probe.Exact, Fill: fill})
		if got.TreePages() != want.PackedPages {
			t.Errorf("%+v at fill %.3f: %d pages, foretold were %d", spec, fill, got.TreePages(), want.PackedPages)
		}
		if got.PackedPages != got.TreePages() {
			t.Errorf("%+v at fill %.3f: a second rewrite would make %d pages of %d", spec, fill, got.PackedPages, got.TreePages())
		}
	}
}

// count returns the items of a bucket and their bytes.
func count(c *bbolt.Cursor) (items, size int64) {
	for key, value := c.First(); key != nil; key, value = c.Next() {
		items++
		size += int64(len(key) + len(value))
		if value == nil {
			within, bytes := count(c.Bucket().Bucket(key).Cursor())
			items, size = items+within, size+bytes
		}
	}
	return items, size
}

func rewrite(t *testing.T, path string, meta page.Meta, fill float64) string {
	t.Helper()
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	mapping, err := page.Map(from, meta.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	defer mapping.Close()
	f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := writer.New(context.Background(), f, writer.Config{PageSize: meta.PageSize, Fill: fill, TxID: 1})
	defer w.Abort()
	if _, err := walk.Walk(&page.File{R: from, Data: mapping.Data, Meta: meta}, copier{w}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// copier hands what is walked to a writer.
type copier struct{ *writer.Writer }

func (copier) Node(*page.Node, int) error { return nil }

func (c copier) Item(n *page.Node, i int) error {
	key, value, err := n.Item(i)
	return errors.Join(err, c.Put(key, value))
}

func (c copier) Enter(n *page.Node, i int, b *page.Bucket) error {
	name, err := n.Key(i)
	return errors.Join(err, c.Writer.Enter(name, b.Sequence))
}

// A sample of a fifth says nearly what all pages say.
func TestSampledIsNearExact(t *testing.T) {
	for _, shape := range []bolttest.Shape{
		bolttest.ShapeRandom, bolttest.ShapeAppend, bolttest.ShapeNested, bolttest.ShapeBigValues, bolttest.ShapeDeep,
	} {
		for _, noFreelist := range []bool{false, true} {
			if noFreelist && shape != bolttest.ShapeNested {
				continue // the trees are sampled alike
			}
			t.Run(fmt.Sprintf("%s/%v", shape, noFreelist), func(t *testing.T) {
				spec := bolttest.Spec{
					Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.5, Shape: shape, NoFreelistSync: noFreelist, PageSize: 1 << 10,
				}
				if shape == bolttest.ShapeBigValues {
					spec.LiveBytes *= 8
				}
				path := generate(t, spec)
				exact := measure(t, path, probe.Config{Depth: probe.Exact})
				limit := int(exact.SampledNodes / 5)
				sampled := measure(t, path, probe.Config{Depth: probe.Sampled, SamplePages: limit})
				if sampled.Whole == (sampled.SampledNodes < exact.SampledNodes) {
					t.Errorf("whole: %v after %d of %d nodes", sampled.Whole, sampled.SampledNodes, exact.SampledNodes)
				}
				if shape != bolttest.ShapeDeep && sampled.SampledNodes > exact.SampledNodes/2 {
					t.Errorf("%d of %d nodes read: no sample", sampled.SampledNodes, exact.SampledNodes)
				}
				for _, c := range []struct {
					what      string
					got, want int64
				}{
					{"pages in use", sampled.TreePages(), exact.TreePages()},
					{"packed pages", sampled.PackedPages, exact.PackedPages},
					{"used bytes", sampled.UsedBytes, exact.UsedBytes},
					{"items", sampled.Items(), exact.Items()},
				} {
					// Without a freelist nothing tells how many pages are in use. (The
					// layout of buckets in a file differs from run to run.)
					bound := 0.10
					if noFreelist {
						bound = 0.3
					}
					if off := math.Abs(float64(c.got)/float64(c.want) - 1); off > bound {
						t.Errorf("%s: %d, exactly %d: %.1f%% off", c.what, c.got, c.want, 100*off)
					}
				}
				again := measure(t, path, probe.Config{Depth: probe.Sampled, SamplePages: limit})
				if again.Tally != sampled.Tally {
					t.Errorf("a second sample says %+v, the first %+v", again.Tally, sampled.Tally)
				}
			})
		}
	}
}

// However small a sample is, it finds no damage where there is none, and it is
// not far off.
func TestTinySamples(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		for _, noFreelist := range []bool{false, true} {
			path := generate(t, bolttest.Spec{
				Seed: 1, LiveBytes: 500 << 10, GarbageRatio: 0.3, Shape: shape, NoFreelistSync: noFreelist, PageSize: 1 << 10,
			})
			exact := measure(t, path, probe.Config{Depth: probe.Exact})
			for limit := 32; limit <= 512; limit += 16 {
				m, err := tryMeasure(path, probe.Config{Depth: probe.Sampled, SamplePages: limit})
				if err != nil {
					t.Errorf("%s, %d pages: %v", shape, limit, err)
					continue
				}
				bound := 0.4
				if noFreelist {
					bound = 1 // nothing tells how many pages are in use
				}
				if off := math.Abs(float64(m.UsedBytes)/float64(exact.UsedBytes) - 1); off > bound {
					t.Errorf("%s (no freelist: %v), %d pages: %d bytes used, exactly %d: %.0f%% off",
						shape, noFreelist, limit, m.UsedBytes, exact.UsedBytes, 100*off)
				}
			}
		}
	}
}

// A small bucket does not stand for a large one that happens to be beside it.
func TestTinySamplesOfUnequalBuckets(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 3 << 20, GarbageRatio: 0.5})
	db, err := bbolt.Open(path, 0, &bbolt.Options{NoSync: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"a", "z"} {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for i := range 300 {
				if err := b.Put(fmt.Appendf(nil, "%03d", i), make([]byte, 20)); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	exact := measure(t, path, probe.Config{Depth: probe.Exact})
	for limit := 32; limit <= 512; limit += 8 {
		m := measure(t, path, probe.Config{Depth: probe.Sampled, SamplePages: limit})
		for what, off := range map[string]float64{
			"used bytes":   float64(m.UsedBytes)/float64(exact.UsedBytes) - 1,
			"packed pages": float64(m.PackedPages)/float64(exact.PackedPages) - 1,
		} {
			if math.Abs(off) > 0.25 {
				t.Errorf("%d pages: %s %.0f%% off", limit, what, 100*off)
			}
		}
	}
}

func TestQuickReadsNextToNothing(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.5, Shape: bolttest.ShapeAppend})
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &counter{ReaderAt: f}
	m, err := probe.Measure(context.Background(), r, sizeOf(f), probe.Config{Depth: probe.Quick, Fill: 0.9})
	if err != nil {
		t.Fatal(err)
	}
	if r.bytes > 1<<10 {
		t.Errorf("%d bytes were read", r.bytes)
	}
	exact := measure(t, path, probe.Config{Depth: probe.Exact})
	if m.FreePages != exact.FreePages || m.TreePages() != exact.TreePages() {
		t.Errorf("%d free and %d used pages, want %d and %d", m.FreePages, m.TreePages(), exact.FreePages, exact.TreePages())
	}
}

type counter struct {
	io.ReaderAt
	bytes int
}

func (c *counter) ReadAt(b []byte, off int64) (int, error) {
	c.bytes += len(b)
	return c.ReaderAt.ReadAt(b, off)
}

// committer lets a transaction happen after each so many reads.
type committer struct {
	io.ReaderAt
	t     *testing.T
	db    *bbolt.DB
	every int // reads
	left  int // transactions; 0 for no end
	reads int
}

func (c *committer) ReadAt(b []byte, off int64) (int, error) {
	if c.reads++; c.reads%c.every == 0 {
		if err := c.db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("random")).Put(fmt.Appendf(nil, "new-%d", c.reads), make([]byte, 100))
		}); err != nil {
			c.t.Error(err)
		}
		if c.left--; c.left == 0 {
			c.every = math.MaxInt
		}
	}
	return c.ReaderAt.ReadAt(b, off)
}

func TestMeasureAmongCommits(t *testing.T) {
	for _, test := range []struct {
		name        string
		depth       probe.Depth
		every, left int
		moving      bool
		whole       bool
	}{
		{"exact, one commit", probe.Exact, 100, 1, false, true},
		{"exact, no end", probe.Exact, 100, 0, true, false},
		{"sampled, one commit", probe.Sampled, 100, 1, false, false},
		{"sampled, a commit each 200 reads", probe.Sampled, 200, 0, false, false},
		{"sampled, a commit each 3 reads", probe.Sampled, 3, 0, true, false},
		{"quick, a commit each 10 reads", probe.Quick, 10, 0, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.3})
			db, err := bbolt.Open(path, 0, &bbolt.Options{NoSync: true, Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			r := &committer{ReaderAt: f, t: t, db: db, every: test.every, left: test.left}
			m, err := probe.Measure(context.Background(), r, sizeOf(f), probe.Config{Depth: test.depth, Fill: 0.9})
			if test.moving {
				if !errors.Is(err, probe.ErrMoving) {
					t.Fatalf("error %v, want ErrMoving", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.depth != probe.Quick && m.Retries == 0 {
				t.Error("no retry, though a transaction was committed")
			}
			if m.Whole && !test.whole && test.every == 200 {
				t.Error("all pages were read between two commits")
			}
			used := float64(m.UsedBytes) / float64(2<<20)
			if test.depth != probe.Quick && (used < 0.9 || used > 1.4) {
				t.Errorf("%d used bytes of about %d", m.UsedBytes, 2<<20)
			}
		})
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 2 << 20})
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	r := &canceller{ReaderAt: f, after: 200, cancel: cancel}
	_, err = probe.Measure(ctx, r, sizeOf(f), probe.Config{Depth: probe.Exact, Fill: 0.9})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if r.reads > 400 {
		t.Errorf("went on for %d reads", r.reads-200)
	}
}

type canceller struct {
	io.ReaderAt
	reads, after int
	cancel       context.CancelFunc
}

func (c *canceller) ReadAt(b []byte, off int64) (int, error) {
	if c.reads++; c.reads == c.after {
		c.cancel()
	}
	return c.ReaderAt.ReadAt(b, off)
}
