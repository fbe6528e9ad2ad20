package punch

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// FuzzFree chooses what to punch in files of any pages: nothing that the trees
// reach, or that holds the freelist or a meta, may be among it.
func FuzzFree(f *testing.F) {
	for _, noFreelist := range []bool{false, true} {
		path := filepath.Join(f.TempDir(), "a.db")
		if err := bolttest.Generate(path, bolttest.Spec{
			Seed: 1, LiveBytes: 5 << 10, GarbageRatio: 0.6, PageSize: page.MinPageSize, NoFreelistSync: noFreelist,
		}); err != nil {
			f.Fatal(err)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		meta, err := page.ReadMeta(bytes.NewReader(whole))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole[:meta.Bytes()], uint64(meta.Root), uint64(meta.Freelist))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, whole []byte, root, freelist uint64) {
		pages := len(whole) / page.MinPageSize
		if pages < 3 {
			return
		}
		whole = append([]byte{}, whole[:pages*page.MinPageSize]...)
		meta := page.Meta{PageSize: page.MinPageSize, Root: page.ID(root), Freelist: page.ID(freelist), HighWater: page.ID(pages), TxID: 2}
		page.PutMeta(whole, meta)
		if meta.Freelist != page.NoFreelist && (meta.Freelist < 2 || meta.Freelist >= meta.HighWater) {
			return
		}
		path := filepath.Join(dir, "a.db")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if listed, err := Listed(t.Context(), file, Config{MinRun: 1}); err == nil {
			within(t, listed, int64(len(whole)))
		}
		read := &page.File{R: file, Meta: meta}
		reached, err := Reach(t.Context(), read)
		if err != nil {
			return
		}
		free, err := Checked(file, read, reached, Config{MinRun: 1})
		if err != nil {
			return
		}
		within(t, free, int64(len(whole)))
		for _, run := range free.runs {
			for id := page.ID(run.from / page.MinPageSize); id < page.ID(run.to/page.MinPageSize); id++ {
				if reached.Has(id) || id == meta.Freelist {
					t.Fatalf("page %d is in use", id)
				}
			}
		}
	})
}

// within makes sure that runs are whole pages after the metas, in order.
func within(t *testing.T, free *Free, size int64) {
	t.Helper()
	end := int64(2 * page.MinPageSize)
	for _, run := range free.runs {
		if run.from < end || run.to <= run.from || run.to > size || run.from%page.MinPageSize != 0 {
			t.Fatalf("the run %+v, after byte %d of %d", run, end, size)
		}
		end = run.to
	}
}
