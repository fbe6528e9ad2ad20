package diff_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/diff"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// store is an open file whose states are compared.
type store struct {
	db   *bbolt.DB
	file *os.File
	open []*bbolt.Tx // Close waits for them
}

func open(t interface{ Fatal(...any) }, path string) *store {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, PageSize: 1024, InitialMmapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return &store{db: db, file: file}
}

func (s *store) close() {
	for _, tx := range s.open {
		_ = tx.Rollback()
	}
	_ = s.file.Close()
	_ = s.db.Close()
}

// state is what a read transaction sees, which keeps its pages.
func (s *store) state(t interface{ Fatal(...any) }) (*bbolt.Tx, *page.File) {
	tx, err := s.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	s.open = append(s.open, tx)
	meta, err := page.ReadMeta(s.file)
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := page.Map(s.file, meta.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return tx, &page.File{R: s.file, Data: mapping.Data, Meta: meta}
}

// sumOf reads everything by the library.
func sumOf(t interface{ Fatal(...any) }, tx *bbolt.Tx) content.Sum {
	var within func(b *bbolt.Bucket) content.Sum
	within = func(b *bbolt.Bucket) (s content.Sum) {
		if err := b.ForEach(func(k, v []byte) error {
			if v != nil {
				s.Put(k, v)
				return nil
			}
			inner := b.Bucket(k)
			s.Bucket(k, inner.Sequence(), within(inner))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	root := tx.Cursor().Bucket()
	return content.File(root.Sequence(), within(root))
}

// change makes random changes in one transaction: nested buckets, sequences,
// buckets deleted, made again and moved, values that become buckets and the
// reverse, big values.
func change(t *rapid.T, b *bbolt.Bucket, depth int) {
	key := func(label string) []byte { return fmt.Appendf(nil, "%03d", rapid.IntRange(0, 60).Draw(t, label)) }
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range rapid.IntRange(1, 6).Draw(t, "changes") {
		k := key("key")
		inner := b.Bucket(k)
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 2 && inner != nil:
			must(b.DeleteBucket(k))
			if kind == 0 {
				must(b.Put(k, k))
			}
		case kind < 7 && inner != nil && depth > 0:
			change(t, inner, depth-1)
		case inner != nil:
			must(inner.SetSequence(rapid.Uint64Range(0, 3).Draw(t, "sequence")))
		case kind < 3 && depth > 0:
			must(b.Delete(k))
			inner, err := b.CreateBucket(k)
			must(err)
			change(t, inner, depth-1)
		case kind == 3:
			must(b.Delete(k))
		case kind == 4:
			must(b.Put(k, make([]byte, rapid.IntRange(0, 5000).Draw(t, "big"))))
		case kind == 5:
			for i := range rapid.IntRange(0, 300).Draw(t, "run") {
				must(b.Put(fmt.Appendf(nil, "%s-%04d", k, i), k))
			}
		case kind == 6:
			from := key("from")
			if b.Bucket(from) != nil && string(from) != string(k) && b.Get(k) == nil {
				to, err := b.CreateBucketIfNotExists(k)
				must(err)
				must(b.MoveBucket(from, to))
			}
		default:
			must(b.Put(k, rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "value")))
		}
	}
}

// Whatever transactions come between two states: the difference makes one of the
// other, and its sum is that of the change.
func TestBetweenMakesTheLaterState(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		a, b := filepath.Join(dir, fmt.Sprint(n, "a")), filepath.Join(dir, fmt.Sprint(n, "b"))
		source, copied := open(t, a), open(t, b)
		defer func() {
			source.close()
			copied.close()
			_, _ = os.Remove(a), os.Remove(b)
		}()
		tx, from := source.state(t)
		for range rapid.IntRange(1, 5).Draw(t, "states") {
			for range rapid.IntRange(1, 4).Draw(t, "transactions") {
				if err := source.db.Update(func(tx *bbolt.Tx) error {
					top, err := tx.CreateBucketIfNotExists([]byte("top"))
					if err != nil {
						return err
					}
					change(t, top, 2)
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			later, to := source.state(t)
			_, was := copied.state(t)
			var applier diff.Applier
			var sum content.Sum
			if err := copied.db.Update(func(tx *bbolt.Tx) (err error) {
				applier.Begin(tx)
				sum, err = diff.Between(from, to, &applier, diff.Config{})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			want := sumOf(t, later)
			now, is := copied.state(t)
			if got := sumOf(t, now); got != want {
				t.Fatalf("the copy has %+v, want %+v", got, want)
			}
			change := want
			change.Sub(sumOf(t, tx))
			if sum != change {
				t.Fatalf("the difference has the sum %+v, want %+v", sum, change)
			}
			again, err := diff.Between(was, is, nothing{}, diff.Config{})
			if again != change || err != nil {
				t.Fatalf("in the copy the difference has the sum %+v, want %+v; error %v", again, change, err)
			}
			_, _ = tx.Rollback(), now.Rollback()
			tx, from = later, to
		}
	})
}

// What a difference costs follows from what has changed.
func TestCostFollowsFromWhatChanged(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.close()
	const keys = 200_000
	put := func(tx *bbolt.Tx, i int, value string) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put(fmt.Appendf(nil, "%08d", i), []byte(value))
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		for i := range keys {
			if err := put(tx, i, "value"); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 10, 100} {
		tx, from := s.state(t)
		if err := s.db.Update(func(tx *bbolt.Tx) error {
			for range n {
				if err := put(tx, random.IntN(keys), fmt.Sprint(n)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		later, to := s.state(t)
		nodes := 0
		if _, err := diff.Between(from, to, nothing{}, diff.Config{Read: func(int64) error { nodes++; return nil }}); err != nil {
			t.Fatal(err)
		}
		// Both states, a leaf and the branches above it.
		if most := 2 * 5 * (n + 1); nodes > most {
			t.Errorf("%d changes: %d nodes read, want at most %d", n, nodes, most)
		}
		_, _ = tx.Rollback(), later.Rollback()
	}
}

type nothing struct{}

func (nothing) Put([]byte, []byte) error    { return nil }
func (nothing) Delete([]byte) error         { return nil }
func (nothing) Create([]byte, uint64) error { return nil }
func (nothing) DeleteBucket([]byte) error   { return nil }
func (nothing) Enter([]byte, *uint64) error { return nil }
func (nothing) Leave() error                { return nil }
