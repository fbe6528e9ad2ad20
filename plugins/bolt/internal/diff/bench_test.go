package diff_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/diff"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// BenchmarkBetween shows that what a difference costs grows with what has changed
// and not with the file: one of 100 MB and one of 1 GB, with keys changed
// anywhere, or side by side. An operation maps the file and finds the difference,
// as a round of a compaction does.
//
// changed-pages is how many pages the transaction between the two states has
// written; nodes and read-bytes are what the difference has read of both.
func BenchmarkBetween(b *testing.B) {
	for _, size := range []int{100e6, 1e9} {
		b.Run(fmt.Sprintf("MB=%d", size/1e6), func(b *testing.B) {
			s := filled(b, size)
			defer s.close()
			random := rand.New(rand.NewPCG(1, 1))
			for _, n := range []int{0, 1, 10, 100, 1_000, 10_000, 100_000} {
				b.Run(fmt.Sprintf("anywhere=%d", n), func(b *testing.B) {
					s.measure(b, random.Perm(s.keys)[:n])
				})
			}
			b.Run("adjacent=100000", func(b *testing.B) {
				chosen := make([]int, 100_000)
				for i := range chosen {
					chosen[i] = s.keys/2 + i
				}
				s.measure(b, chosen)
			})
		})
	}
}

// filledStore has so many ascending keys.
type filledStore struct {
	*store
	keys int
}

const (
	filledValue = 200      // bytes
	filledBatch = 64 << 20 // bytes in a transaction
)

func filledKey(i int) []byte { return binary.BigEndian.AppendUint64([]byte("key/"), uint64(i)) }

// filled makes a file of about so many bytes, whose pages are nine tenths full.
func filled(b *testing.B, size int) filledStore {
	b.Helper()
	path := filepath.Join(b.TempDir(), "a.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: 4 * size, // a reader is there when it grows
	})
	if err != nil {
		b.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	s := filledStore{store: &store{db: db, file: file}}
	for put := 0; put < size*9/10; {
		if err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("bucket"))
			if err != nil {
				return err
			}
			bucket.FillPercent = 0.9
			for end := put + filledBatch; put < min(end, size*9/10); s.keys++ {
				key := filledKey(s.keys)
				if err := bucket.Put(key, make([]byte, filledValue)); err != nil {
					return err
				}
				put += len(key) + filledValue
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// measure overwrites keys in a transaction, and finds the difference that makes.
func (s *filledStore) measure(b *testing.B, keys []int) {
	was, from := s.state(b)
	defer func() { _ = was.Rollback() }()
	pages := s.overwrite(b, keys)
	is, to := s.state(b)
	defer func() { _ = is.Rollback() }()
	var nodes, read int64
	for b.Loop() {
		mapping, err := page.Map(s.file, to.Meta.Bytes())
		if err != nil {
			b.Fatal(err)
		}
		nodes, read = 0, 0
		var found counting
		if _, err := diff.Between(
			&page.File{R: s.file, Data: mapping.Data, Meta: from.Meta}, &page.File{R: s.file, Data: mapping.Data, Meta: to.Meta},
			&found, diff.Config{Read: func(bytes int64) error {
				nodes++
				read += bytes
				return nil
			}},
		); err != nil {
			b.Fatal(err)
		}
		if found.puts != len(keys) || found.others != 0 {
			b.Fatalf("%d puts and %d other changes found, want %d puts", found.puts, found.others, len(keys))
		}
		if err := mapping.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(pages), "changed-pages")
	b.ReportMetric(float64(nodes), "nodes")
	b.ReportMetric(float64(read), "read-bytes")
}

// overwrite returns how many pages it has written.
func (s *filledStore) overwrite(b *testing.B, keys []int) int64 {
	tx, err := s.db.Begin(true)
	if err != nil {
		b.Fatal(err)
	}
	bucket := tx.Bucket([]byte("bucket"))
	for _, i := range keys {
		value := make([]byte, filledValue)
		binary.BigEndian.PutUint64(value, uint64(tx.ID()))
		if err := bucket.Put(filledKey(i), value); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	stats := tx.Stats()
	return stats.GetPageCount()
}

// counting is a visitor that counts.
type counting struct{ puts, others int }

func (c *counting) Put([]byte, []byte) error    { c.puts++; return nil }
func (c *counting) Delete([]byte) error         { c.others++; return nil }
func (c *counting) Create([]byte, uint64) error { c.others++; return nil }
func (c *counting) DeleteBucket([]byte) error   { c.others++; return nil }
func (c *counting) Enter([]byte, *uint64) error { return nil }
func (c *counting) Leave() error                { return nil }

var _ diff.Visitor = (*counting)(nil)
