package writer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rewrite writes the content of the file at from into a new file.
func rewrite(t *testing.T, from string, c writer.Config) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := writer.NewBolt(f, c)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	var size int64
	view(t, from, func(tx *bbolt.Tx) error {
		if err := content.Walk(tx, w); err != nil {
			return err
		}
		size, err = w.Finish()
		return err
	})
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() < size {
		t.Fatalf("the file has %d bytes, less than its data of %d", info.Size(), size)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	meta, err := page.ReadMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Bytes() != size {
		t.Errorf("the high-water mark is at %d, want the size of %d", meta.Bytes(), size)
	}
	if noFreelist := meta.Freelist == page.NoFreelist; noFreelist != c.NoFreelist {
		t.Errorf("no freelist: %v, want %v", noFreelist, c.NoFreelist)
	}
	if meta.PageSize != c.PageSize {
		t.Errorf("page size %d, want %d", meta.PageSize, c.PageSize)
	}
	return f.Name()
}

func view(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(f); err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	sum, err := bolttest.Digest(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestBoltKeepsContent(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		for _, pageSize := range []int{1 << 10, 4 << 10, 64 << 10} {
			// Small batches end in the middle of buckets at every depth.
			for _, batch := range []int64{0, 10_000} {
				t.Run(fmt.Sprintf("%s/%d/%d", shape, pageSize, batch), func(t *testing.T) {
					from := filepath.Join(t.TempDir(), "a.db")
					if err := bolttest.Generate(from, bolttest.Spec{
						Seed: 1, LiveBytes: 100 << 10, GarbageRatio: 0.3, Shape: shape, PageSize: pageSize,
					}); err != nil {
						t.Fatal(err)
					}
					to := rewrite(t, from, writer.Config{
						PageSize: pageSize, Fill: 0.9, BatchBytes: batch, NoFreelist: batch > 0,
					})
					if want, got := digest(t, from), digest(t, to); got != want {
						t.Errorf("content has the digest %s, want %s", got, want)
					}
				})
			}
		}
	}
}

// A file that was written can be written to: the freelist is right, whichever
// way the next writer keeps it.
func TestBoltFileTakesWrites(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		from := filepath.Join(t.TempDir(), "a.db")
		if err := bolttest.Generate(from, bolttest.Spec{Seed: 3, LiveBytes: 300 << 10, GarbageRatio: 0.5}); err != nil {
			t.Fatal(err)
		}
		to := rewrite(t, from, writer.Config{PageSize: 4 << 10, Fill: 1, BatchBytes: 20_000, NoFreelist: noFreelist})
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

func TestBoltFillsPages(t *testing.T) {
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

func TestBoltStopsWhereToldTo(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := errors.New("stop")
	var wrote int64
	w, err := writer.NewBolt(f, writer.Config{
		PageSize: 4 << 10, Fill: 0.9, BatchBytes: 50_000,
		Wrote: func(n int64) error {
			wrote += n
			return stop
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Enter([]byte("b"), 0); err != nil {
		t.Fatal(err)
	}
	puts := 0
	for ; err == nil && puts < 1000; puts++ {
		err = w.Put(fmt.Appendf(nil, "%04d", puts), make([]byte, 1000))
	}
	if !errors.Is(err, stop) {
		t.Fatalf("error %v after %d puts, want that of Wrote", err, puts)
	}
	if wrote < 40_000 || wrote > 50_000 {
		t.Errorf("told of %d bytes, want a batch of less than 50000", wrote)
	}
	w.Abort()
	w.Abort() // harmless
	// Nobody holds the file any more.
	db, err := bbolt.Open(f.Name(), 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatalf("open after Abort: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
