package probe_test

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
)

// FuzzMeasure measures files of any pages at each depth. Both metas are made
// for them, since no mutation would leave one valid.
func FuzzMeasure(f *testing.F) {
	for _, shape := range bolttest.Shapes() {
		for _, noFreelist := range []bool{false, true} {
			path := generate(f, bolttest.Spec{
				Seed: 1, LiveBytes: 40 << 10, GarbageRatio: 0.4, Shape: shape, PageSize: page.MinPageSize, NoFreelistSync: noFreelist,
			})
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
	}
	f.Fuzz(func(t *testing.T, whole []byte, root, freelist uint64) {
		pages := len(whole) / page.MinPageSize
		if pages < 3 {
			return
		}
		whole = bytes.Clone(whole)
		meta := page.Meta{PageSize: page.MinPageSize, Root: page.ID(root), Freelist: page.ID(freelist), HighWater: page.ID(pages), TxID: 2}
		page.PutMeta(whole, meta)
		size := func() (int64, error) { return int64(len(whole)), nil }
		for _, depth := range []probe.Depth{probe.Quick, probe.Sampled, probe.Exact} {
			m, err := probe.Measure(context.Background(), bytes.NewReader(whole), size, probe.Config{
				Depth: depth, Fill: 0.9, SamplePages: 40, Picture: true,
			})
			if err != nil {
				continue
			}
			if m.FreePages < 0 || m.PackedBytes <= 0 || len(m.Map) > 1024 || depth == probe.Exact && m.TreePages() > int64(pages) {
				t.Fatalf("depth %d: %+v", depth, m)
			}
		}
	})
}
