package writer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/audit"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// written makes a file of what fill hands to the writer, audits it, and has
// bbolt check it.
func written(t *testing.T, c writer.Config, fill func(content.Visitor) error) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	auditor := audit.New(f, c.PageSize, c.FirstPage())
	defer auditor.Close()
	c.Written = auditor.To
	if c.TxID == 0 {
		c.TxID = 7
	}
	w := writer.New(context.Background(), f, c)
	defer w.Abort()
	if err := fill(w); err != nil {
		t.Fatal(err)
	}
	size, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auditor.Finish(); err != nil {
		t.Fatalf("audit: %v", err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	meta, err := page.ReadMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != size || meta.Bytes() != size {
		t.Errorf("Finish says %d bytes; the file has %d, the meta %d", size, info.Size(), meta.Bytes())
	}
	if noFreelist := meta.Freelist == page.NoFreelist; noFreelist != c.NoFreelist {
		t.Errorf("no freelist: %v, want %v", noFreelist, c.NoFreelist)
	}
	if meta.PageSize != c.PageSize || meta.TxID != c.TxID || meta.Sequence != c.Sequence {
		t.Errorf("meta %+v, want the page size, transaction and sequence of %+v", meta, c)
	}
	return f.Name()
}

// rewrite writes the content of the file at from into a new one.
func rewrite(t *testing.T, from string, c writer.Config) string {
	t.Helper()
	return written(t, c, func(v content.Visitor) error {
		// The writer keeps what it is handed until it has finished, which is
		// after the transaction here.
		return view(from, func(tx *bbolt.Tx) error { return visit(tx.Cursor(), v) })
	})
}

func visit(c *bbolt.Cursor, v content.Visitor) error {
	for key, value := c.First(); key != nil; key, value = c.Next() {
		name := bytes.Clone(key)
		if value != nil {
			if err := v.Put(name, bytes.Clone(value)); err != nil {
				return err
			}
			continue
		}
		b := c.Bucket().Bucket(key)
		if err := errors.Join(v.Enter(name, b.Sequence()), visit(b.Cursor(), v), v.Leave()); err != nil {
			return err
		}
	}
	return nil
}

func view(path string, f func(*bbolt.Tx) error) error {
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(f)
}

func digest(t *testing.T, path string) string {
	t.Helper()
	sum, err := bolttest.Digest(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestKeepsContent(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		for _, pageSize := range []int{1 << 10, 4 << 10, 64 << 10} {
			for _, fill := range []float64{0.1, 0.9, 1} {
				t.Run(fmt.Sprintf("%s/%d/%g", shape, pageSize, fill), func(t *testing.T) {
					from := filepath.Join(t.TempDir(), "a.db")
					if err := bolttest.Generate(from, bolttest.Spec{
						Seed: 1, LiveBytes: 100 << 10, GarbageRatio: 0.3, Shape: shape, PageSize: pageSize,
					}); err != nil {
						t.Fatal(err)
					}
					to := rewrite(t, from, writer.Config{PageSize: pageSize, Fill: fill, NoFreelist: fill == 1})
					if want, got := digest(t, from), digest(t, to); got != want {
						t.Errorf("content has the digest %s, want %s", got, want)
					}
				})
			}
		}
	}
}

// put is a key with its value.
type put struct{ key, value []byte }

// Nodes at the edges: keys longer than pages, which leave a branch with two
// children; levels that end with one child too few; values larger than what is
// written at a time.
func TestNodesAtTheEdges(t *testing.T) {
	key := func(i, size int) []byte {
		return append(fmt.Appendf(nil, "%08d", i), bytes.Repeat([]byte{'k'}, size-8)...)
	}
	cases := map[string][]put{
		"an empty value": {{[]byte("k"), nil}},
		"huge values": {
			{key(1, 8), make([]byte, 10)}, {key(2, 8), make([]byte, 5<<20)},
			{key(3, 8), make([]byte, 3<<20+17)}, {key(4, 8), make([]byte, 10)}, {key(5, 8), make([]byte, 1<<20)},
		},
	}
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 33} {
		var long, wide []put
		for i := range n {
			long = append(long, put{key(i, bbolt.MaxKeySize), nil})
			wide = append(wide, put{key(i, 900), make([]byte, 3000)})
		}
		cases[fmt.Sprintf("%d longest keys", n)] = long
		cases[fmt.Sprintf("%d wide entries", n)] = wide
	}
	// From one full branch of leaves with one entry each to a little more.
	for n := 226; n < 234; n++ {
		var puts []put
		for i := range n {
			puts = append(puts, put{key(i, 8), make([]byte, 3600)})
		}
		cases[fmt.Sprintf("%d leaves", n)] = puts
	}
	for name, puts := range cases {
		t.Run(name, func(t *testing.T) {
			path := written(t, writer.Config{PageSize: 4 << 10, Fill: 0.9, Sequence: 3}, func(v content.Visitor) error {
				err := v.Enter([]byte("b"), 5)
				for _, p := range puts {
					err = errors.Join(err, v.Put(p.key, p.value))
				}
				return errors.Join(err, v.Leave())
			})
			digest(t, path)
			if err := view(path, func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("b"))
				if b.Sequence() != 5 {
					t.Errorf("sequence %d, want 5", b.Sequence())
				}
				for _, p := range puts {
					if got := b.Get(p.key); got == nil || !bytes.Equal(got, p.value) {
						t.Errorf("key %.8q has %d bytes, want %d", p.key, len(got), len(p.value))
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Random trees of buckets within buckets, keys between them, of all sizes.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var fill func(v content.Visitor, depth int) error
		fill = func(v content.Visitor, depth int) (err error) {
			for i := range random.IntN(60) {
				name := fmt.Appendf(nil, "%04d-%s", i, make([]byte, random.IntN(400)))
				if random.IntN(10) > 0 || depth > 4 {
					err = errors.Join(err, v.Put(name, make([]byte, random.IntN(1<<random.IntN(14)))))
					continue
				}
				err = errors.Join(err, v.Enter(name, random.Uint64()), fill(v, depth+1), v.Leave())
			}
			return err
		}
		path := written(t, writer.Config{PageSize: 1 << (10 + seed%4), Fill: 0.5 + float64(seed%6)/10}, func(v content.Visitor) error {
			return errors.Join(v.Enter([]byte("b"), 0), fill(v, 0), v.Leave())
		})
		digest(t, path) // with bbolt's check
	}
}

// A file that was written can be written to: the freelist is right, whichever
// way the next writer keeps it.
func TestFileTakesWrites(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		from := filepath.Join(t.TempDir(), "a.db")
		if err := bolttest.Generate(from, bolttest.Spec{Seed: 3, LiveBytes: 300 << 10, GarbageRatio: 0.5}); err != nil {
			t.Fatal(err)
		}
		to := rewrite(t, from, writer.Config{PageSize: 4 << 10, Fill: 1, NoFreelist: noFreelist})
		db, err := bbolt.Open(to, 0, &bbolt.Options{Timeout: time.Second, NoFreelistSync: noFreelist, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		db.StrictMode = true // checks all after each commit, and panics
		for i := range 20 {
			if err := db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("random")).Put(fmt.Appendf(nil, "new-%d", i), make([]byte, 3000))
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		digest(t, to)
	}
}

// bbolt panics when a node has more entries than its header can count, and splits
// none for that: so the writer leaves room in a huge page of tiny entries.
func TestHugePagesTakeWrites(t *testing.T) {
	path := written(t, writer.Config{PageSize: 4 << 20, Fill: 1}, func(v content.Visitor) error {
		err := v.Enter([]byte("b"), 0)
		for i := range 100_000 {
			err = errors.Join(err, v.Put(fmt.Appendf(nil, "%08d", 2*i), nil))
		}
		return errors.Join(err, v.Leave())
	})
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		var err error
		for i := range 1000 {
			err = errors.Join(err, tx.Bucket([]byte("b")).Put(fmt.Appendf(nil, "%08d", 2*i+1), nil))
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	digest(t, path)
}

func TestFillsPages(t *testing.T) {
	from := filepath.Join(t.TempDir(), "a.db")
	if err := bolttest.Generate(from, bolttest.Spec{Seed: 1, LiveBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	size := func(fill float64) int64 {
		info, err := os.Stat(rewrite(t, from, writer.Config{PageSize: 4 << 10, Fill: fill}))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	full, usual, half := size(1), size(0.9), size(0.5)
	if full >= usual || usual >= half {
		t.Errorf("sizes at fill 1, 0.9, 0.5: %d, %d, %d, want them ascending", full, usual, half)
	}
	if half < full*17/10 || half > full*23/10 {
		t.Errorf("half full pages take %d bytes, full ones %d: want about twice as much", half, full)
	}
}

// A full file is no larger than the library's own compaction makes it.
func TestNoLargerThanTheLibrary(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			dir := t.TempDir()
			from := filepath.Join(dir, "a.db")
			if err := bolttest.Generate(from, bolttest.Spec{Seed: 1, LiveBytes: 4 << 20, GarbageRatio: 0.3, Shape: shape}); err != nil {
				t.Fatal(err)
			}
			library, err := bbolt.Open(filepath.Join(dir, "library.db"), 0o600, &bbolt.Options{NoSync: true, PageSize: 4 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer library.Close()
			source, err := bbolt.Open(from, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			if err := bbolt.Compact(library, source, 64<<10); err != nil {
				t.Fatal(err)
			}
			tx, err := library.Begin(false)
			if err != nil {
				t.Fatal(err)
			}
			theirs := tx.Size()
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(rewrite(t, from, writer.Config{PageSize: 4 << 10, Fill: 1}))
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() > theirs {
				t.Errorf("%d bytes, the library %d", info.Size(), theirs)
			}
		})
	}
}

// faulty fails from a byte on.
type faulty struct {
	*os.File
	from int64
}

func (f faulty) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.from {
		return 0, errStop
	}
	return f.File.WriteAt(b, off)
}

var errStop = errors.New("stop")

func TestStopsWhereToldTo(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	stop := func(int64) error { return errStop }
	for name, c := range map[string]struct {
		ctx    context.Context
		config writer.Config
		faulty int64
		want   error
	}{
		"by who accepts":    {config: writer.Config{Accept: stop}, want: errStop},
		"by who is told":    {config: writer.Config{Written: stop}, want: errStop},
		"by the file":       {faulty: 3 << 20, want: errStop},
		"at the first byte": {faulty: 1, want: errStop},
		"by the context":    {ctx: cancelled, want: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			if c.faulty == 0 {
				c.faulty = 1 << 40
			}
			c.config.PageSize, c.config.Fill = 4<<10, 0.9
			w := writer.New(c.ctx, faulty{f, c.faulty}, c.config)
			err = w.Enter([]byte("b"), 0)
			puts := 0
			for ; err == nil && puts < 100_000; puts++ {
				err = w.Put(fmt.Appendf(nil, "%08d", puts), make([]byte, 1000))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("error %v after %d puts, want %v", err, puts, c.want)
			}
			w.Abort()
			w.Abort() // harmless
		})
	}
}

// A small file fails no earlier than in the end.
func TestFinishFails(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := writer.New(context.Background(), faulty{f, 1}, writer.Config{PageSize: 4 << 10, Fill: 0.9, TxID: 1})
	if err := w.Put([]byte("key"), []byte("value")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); !errors.Is(err, errStop) {
		t.Errorf("error %v, want that of the file", err)
	}
}
