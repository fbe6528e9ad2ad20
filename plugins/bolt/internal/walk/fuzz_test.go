package walk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// FuzzWalk reads whole files of any pages, mapped and page by page. Metas are
// made for them, since no mutation would leave one valid.
func FuzzWalk(f *testing.F) {
	for _, shape := range bolttest.Shapes() {
		path := filepath.Join(f.TempDir(), "a.db")
		if err := bolttest.Generate(path, bolttest.Spec{
			Seed: 1, LiveBytes: 5 << 10, GarbageRatio: 0.4, Shape: shape, PageSize: 1 << 10,
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
		f.Add(whole[:meta.Bytes()], uint64(meta.Root), uint64(meta.Freelist), uint8(0))
	}
	f.Fuzz(func(t *testing.T, whole []byte, root, freelist uint64, shift uint8) {
		meta := page.Meta{PageSize: page.MinPageSize << (shift % 3), Root: page.ID(root), Freelist: page.ID(freelist)}
		meta.HighWater = page.ID(len(whole) / meta.PageSize)
		if meta.HighWater < 3 {
			return
		}
		read := &page.File{R: bytes.NewReader(whole), Meta: meta}
		mapped := &page.File{R: read.R, Data: whole, Meta: meta}
		first, second := &recorder{}, &recorder{}
		reached, err := walk.Walk(read, first)
		_, mappedErr := walk.Walk(mapped, second)
		if (err == nil) != (mappedErr == nil) {
			t.Fatalf("read: %v; mapped: %v", err, mappedErr)
		}
		if err != nil {
			return
		}
		if !slices.Equal(first.events, second.events) {
			t.Fatalf("read: %q; mapped: %q", first.events, second.events)
		}
		if reached.Count() > int64(meta.HighWater) {
			t.Fatalf("reached %d pages of %d", reached.Count(), meta.HighWater)
		}
		if meta.Freelist < 2 || meta.Freelist >= meta.HighWater {
			return
		}
		list, err := read.Freelist(false)
		var named int64
		streamed := read.EachFree(func(page.ID) error { named++; return nil })
		if err == nil && streamed == nil && named != list.Count {
			t.Fatalf("%d free pages are named, %d counted", named, list.Count)
		}
		_, _ = read.Freelist(true)
	})
}
