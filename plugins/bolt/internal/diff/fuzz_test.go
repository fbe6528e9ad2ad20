package diff_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/diff"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// FuzzBetween compares two roots in files of any pages: it ends, with an error or
// a difference, for as long as whoever counts what is read lets it go on.
func FuzzBetween(f *testing.F) {
	for _, shape := range []bolttest.Shape{bolttest.ShapeRandom, bolttest.ShapeNested} {
		path := filepath.Join(f.TempDir(), "a.db")
		if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 5 << 10, GarbageRatio: 0.4, Shape: shape, PageSize: page.MinPageSize}); err != nil {
			f.Fatal(err)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			f.Fatal(err)
		}
		metas, err := page.ReadMetas(file, page.MinPageSize)
		if err := errors.Join(err, file.Close()); err != nil {
			f.Fatal(err)
		}
		f.Add(whole[:max(metas[0].Bytes(), metas[1].Bytes())], uint64(metas[0].Root), uint64(metas[1].Root))
	}
	enough := errors.New("enough was read")
	f.Fuzz(func(t *testing.T, whole []byte, was, is uint64) {
		left := 1000
		read := func(int64) error {
			if left--; left < 0 {
				return enough
			}
			return nil
		}
		state := func(root uint64) *page.File {
			return &page.File{Data: whole, Meta: page.Meta{PageSize: page.MinPageSize, Root: page.ID(root), HighWater: page.ID(len(whole) / page.MinPageSize)}}
		}
		for _, to := range []uint64{is, was} {
			change, err := diff.Between(state(was), state(to), silent{}, diff.Config{Read: read})
			if to == was && (err != nil || change != content.Sum{}) {
				t.Fatalf("a state and itself differ by %+v, error %v", change, err)
			}
		}
	})
}

// silent hears of everything and does nothing.
type silent struct{}

func (silent) Put(_, _ []byte) error       { return nil }
func (silent) Delete([]byte) error         { return nil }
func (silent) Create([]byte, uint64) error { return nil }
func (silent) DeleteBucket([]byte) error   { return nil }
func (silent) Enter([]byte, *uint64) error { return nil }
func (silent) Leave() error                { return nil }
