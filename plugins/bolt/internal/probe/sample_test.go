package probe_test

import (
	"encoding/binary"
	"fmt"
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
)

// lopsided makes a file with thousands of buckets of a page or two, and one
// that is larger than all of them and half empty.
func lopsided(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1 << 10, NoSync: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	random := rand.New(rand.NewPCG(1, 2))
	update := func(name string, change func(b *bbolt.Bucket) error) {
		t.Helper()
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			return change(b)
		}); err != nil {
			t.Fatal(err)
		}
	}
	value := func() []byte { return make([]byte, 100+random.IntN(100)) }
	if err := db.Update(func(tx *bbolt.Tx) error {
		for i := range 3000 {
			b, err := tx.CreateBucket(fmt.Appendf(nil, "%06d", i*7919%1000003))
			for j := 0; j < 1+random.IntN(8) && err == nil; j++ {
				err = b.Put(fmt.Appendf(nil, "key-%d", j), value())
			}
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	const keys = 40000
	key := func(i int) []byte { return fmt.Appendf(nil, "%06x", i*7919%1000003) }
	for from := 0; from < keys; from += keys / 8 {
		update("456789", func(b *bbolt.Bucket) error {
			for i := from; i < from+keys/8; i++ {
				if err := b.Put(key(i), value()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	update("456789", func(b *bbolt.Bucket) error {
		for i := range keys {
			if random.IntN(2) == 0 {
				continue
			}
			if err := b.Delete(key(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return path
}

// The one that is larger than all others is found or missed by chance; what the
// sample says must not depend on that.
func TestHugeBucketAmongSmallOnes(t *testing.T) {
	path := lopsided(t)
	exact := measure(t, path, probe.Config{Depth: probe.Exact})
	for limit := 1000; limit < 1400; limit += 20 {
		m := measure(t, path, probe.Config{Depth: probe.Sampled, SamplePages: limit})
		if m.Whole || m.TreePages() != exact.TreePages() {
			t.Errorf("%d pages: whole %v, %d tree pages, want %d", limit, m.Whole, m.TreePages(), exact.TreePages())
		}
		for what, off := range map[string]float64{
			"packed pages": float64(m.PackedPages)/float64(exact.PackedPages) - 1,
			"used bytes":   float64(m.UsedBytes)/float64(exact.UsedBytes) - 1,
		} {
			if math.Abs(off) > 0.1 {
				t.Errorf("%d pages: %s %.1f%% off", limit, what, 100*off)
			}
		}
	}
}

// A sample is no larger than it may be, whatever the trees are like.
func TestSampleKeepsToItsBudget(t *testing.T) {
	paths := map[string]string{"lopsided": lopsided(t)}
	for _, shape := range bolttest.Shapes() {
		paths[string(shape)] = generate(t, bolttest.Spec{
			Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.5, Shape: shape, PageSize: 1 << 10,
		})
	}
	for name, path := range paths {
		exact := measure(t, path, probe.Config{Depth: probe.Exact})
		for _, limit := range []int{300, 500, 800} {
			m := measure(t, path, probe.Config{Depth: probe.Sampled, SamplePages: limit, Picture: true})
			// The freelist is read for the picture, and perhaps once more.
			most := int64(limit)*9/8 + 64 + 2*exact.FreelistPages
			if read := m.BytesRead >> 10; read > most {
				t.Errorf("%s, %d pages: %d KiB were read, want %d at most", name, limit, read, most)
			}
			if m.BytesRead < 100 || m.SampledNodes > exact.SampledNodes {
				t.Errorf("%s, %d pages: %d of %d nodes and %d bytes were read", name, limit, m.SampledNodes, exact.SampledNodes, m.BytesRead)
			}
		}
	}
}

// sparse makes a file of an empty root and many free pages.
func sparse(t *testing.T, highWater, free int) string {
	t.Helper()
	const size = 4 << 10
	listed := page.HeaderSize + 8*(1+free)
	meta := page.Meta{PageSize: size, Root: 2, Freelist: 3, HighWater: page.ID(highWater), TxID: 2}
	head := make([]byte, 3*size+(listed+size-1)/size*size)
	page.PutMeta(head, meta)
	page.PutTable(head[2*size:], 2, true, 0, nil)
	list := head[3*size:]
	page.PutFreelist(list, 3)
	binary.NativeEndian.PutUint16(list[10:], 0xFFFF) // the count follows
	binary.NativeEndian.PutUint32(list[12:], uint32(len(list)/size-1))
	binary.NativeEndian.PutUint64(list[page.HeaderSize:], uint64(free))
	for i := range free {
		binary.NativeEndian.PutUint64(list[page.HeaderSize+8*(1+i):], uint64(highWater-free+i))
	}
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, meta.Bytes()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQuickDoesNotReadALongFreelist(t *testing.T) {
	for _, test := range []struct {
		free    int
		picture bool
		most    int64 // bytes
	}{
		{1 << 16, true, 1<<19 + 1<<10},
		{1<<16 + 1, false, 1 << 10},
		{1 << 20, false, 1 << 10},
	} {
		path := sparse(t, 1<<21, test.free)
		m := measure(t, path, probe.Config{Depth: probe.Quick, Picture: true})
		if m.FreePages != int64(test.free) || (m.Map != nil) != test.picture || m.BytesRead > test.most {
			t.Errorf("%d free pages: %d found, picture %v, %d bytes read", test.free, m.FreePages, m.Map != nil, m.BytesRead)
		}
	}
}
