package bolt

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/sdk"
)

// What a sample foretells is what a rewrite gives back, within a tenth. The
// files are small and so is the sample, a third of the default: a file of which
// it takes as small a part as of one of a gigabyte would take long to make.
//
// Without a freelist (*) nothing tells how many pages are in use, and what is
// not in the sample is not missed: many buckets of unequal size are foretold
// less well then, and a chain of buckets within buckets not at all.
func TestPrediction(t *testing.T) {
	const slack = 64 << 10 // bytes: where next to nothing comes back, a page is much
	row := func(columns ...any) { t.Logf("%-10s %8v %10v %8v %12v %12v %7v", columns...) }
	row("shape", "garbage", "size", "sampled", "foretold", "given back", "off")
	for _, shape := range bolttest.Shapes() {
		if shape == bolttest.ShapeEmpty || shape == bolttest.ShapeOneKey {
			continue
		}
		for _, garbage := range []float64{0, 0.3, 0.7} {
			for _, noFreelist := range []bool{false, true} {
				if noFreelist && (garbage != 0.3 || shape == bolttest.ShapeDeep) {
					continue
				}
				bound := 0.1
				if shape == bolttest.ShapeNested {
					// bbolt lays its buckets out differently in each run, and the
					// sample is small.
					bound = 0.2
					if noFreelist {
						bound = 0.4
					}
				}
				path := generate(t, bolttest.Spec{
					Seed: 7, LiveBytes: 2 << 20, GarbageRatio: garbage, Shape: shape, PageSize: 1 << 10, NoFreelistSync: noFreelist,
				})
				b := newBackend()
				b.samplePages = 1500
				f, err := b.Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Mode: ModeRewrite})
				if err != nil {
					t.Fatal(err)
				}
				r := request(path)
				r.Mode = ModeRewrite
				result, err := b.Compact(context.Background(), r, func(sdk.Progress) {})
				if err != nil {
					t.Fatal(err)
				}
				off := math.Abs(float64(f.ReclaimableBytes-result.ReclaimedBytes)) / max(1, float64(f.ReclaimableBytes), float64(result.ReclaimedBytes))
				inUse := f.Metrics["branch_pages"] + f.Metrics["leaf_pages"]
				name := string(shape)
				if noFreelist {
					name += "*"
				}
				row(name, garbage, f.AllocatedBytes, fmt.Sprintf("%.0f%%", 100*f.Metrics["sampled_nodes"]/inUse),
					f.ReclaimableBytes, result.ReclaimedBytes, fmt.Sprintf("%.1f%%", 100*off))
				if off > bound && math.Abs(float64(f.ReclaimableBytes-result.ReclaimedBytes)) > slack {
					t.Errorf("%s with %g garbage: %d foretold, %d given back", name, garbage, f.ReclaimableBytes, result.ReclaimedBytes)
				}
			}
		}
	}
}
