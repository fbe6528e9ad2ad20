package bolt

import (
	"context"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/sdk"
)

// largeVariable asks for a test of files of a gigabyte, which takes minutes.
const largeVariable = "WRING_BOLT_TEST_LARGE"

// prediction is a file of which a sample foretells what a rewrite gives back.
type prediction struct {
	bolttest.Spec
	fill  float64 // 0 for the default
	pages int     // in the sample, 0 for the default
	bound float64 // of the error, as a part of the larger of foretold and given back
}

func (p prediction) String() string {
	name := string(p.Shape)
	if p.NoFreelistSync {
		name += "*"
	}
	if p.fill != 0 {
		name += fmt.Sprintf(" %g", p.fill)
	}
	return name
}

// What a sample foretells is what a rewrite gives back, within a tenth. The
// files are small and so is the sample, a third of the default: a file of which
// it takes as small a part as of one of a gigabyte would take long to make.
//
// Without a freelist (*) nothing tells how many pages are in use, and what is not in
// the sample is not missed: a file of up to eight times the sample is read in whole
// then. In a larger one many buckets of unequal size are foretold less well, and a
// chain of buckets within buckets is not.
func TestPrediction(t *testing.T) {
	var all []prediction
	for _, shape := range bolttest.Shapes() {
		if shape == bolttest.ShapeEmpty || shape == bolttest.ShapeOneKey {
			continue
		}
		p := prediction{
			Spec:  bolttest.Spec{Seed: 7, LiveBytes: 2 << 20, Shape: shape, PageSize: 1 << 10},
			pages: 1500, bound: 0.1,
		}
		if shape == bolttest.ShapeBigValues {
			p.LiveBytes, p.pages = 24<<20, 300
		}
		for _, p.GarbageRatio = range []float64{0, 0.3, 0.7} {
			all = append(all, p)
		}
		p.GarbageRatio, p.NoFreelistSync = 0.3, true
		if shape == bolttest.ShapeNested {
			smaller := p
			smaller.pages, smaller.bound = 600, 0.25
			all = append(all, smaller)
		}
		all = append(all, p)
	}
	for _, fill := range []float64{0.5, 1} {
		spec := bolttest.Spec{Seed: 7, LiveBytes: 2 << 20, GarbageRatio: 0.5, Shape: bolttest.ShapeRandom, PageSize: 1 << 10}
		all = append(all, prediction{Spec: spec, fill: fill, pages: 1500, bound: 0.1})
	}
	hold(t, all)
}

// The same for files of which the sample is less than a fiftieth.
func TestPredictionOfLargeFiles(t *testing.T) {
	if os.Getenv(largeVariable) == "" {
		t.Skipf("takes minutes and 3 GB: set %s", largeVariable)
	}
	var all []prediction
	for _, shape := range []bolttest.Shape{bolttest.ShapeRandom, bolttest.ShapeAppend, bolttest.ShapeNested, bolttest.ShapeBigValues} {
		spec := bolttest.Spec{Seed: 7, LiveBytes: 400 << 20, GarbageRatio: 0.5, Shape: shape}
		all = append(all, prediction{Spec: spec, bound: 0.1})
	}
	all = append(all, prediction{
		Spec:  bolttest.Spec{Seed: 7, LiveBytes: 400 << 20, GarbageRatio: 0.5, Shape: bolttest.ShapeRandom, NoFreelistSync: true},
		bound: 0.1,
	})
	hold(t, all)
}

// hold prints a table of what is foretold and what is given back.
func hold(t *testing.T, all []prediction) {
	t.Helper()
	t.Logf("%-14s %7s %11s %12s %8s %12s %12s %6s", "shape", "garbage", "size", "read", "in", "foretold", "given back", "off")
	for _, p := range all {
		measured, took, result := p.compact(t)
		foretold, given := measured.ReclaimableBytes, result.ReclaimedBytes
		off := math.Abs(float64(foretold-given)) / max(1, float64(foretold), float64(given))
		read, size := measured.Metrics["bytes_read"], float64(measured.TotalBytes)
		t.Logf("%-14s %7g %11d %5.1f MB %2.0f%% %8s %12d %12d %5.1f%%", p, p.GarbageRatio, measured.AllocatedBytes,
			read/1e6, 100*read/size, took.Round(time.Millisecond), foretold, given, 100*off)
		const slack = 64 << 10 // bytes: where next to nothing comes back, a page is much
		if off > p.bound && math.Abs(float64(foretold-given)) > slack {
			t.Errorf("%s with %g garbage: %d foretold, %d given back", p, p.GarbageRatio, foretold, given)
		}
		if size >= 1e9 && read > size/50 {
			t.Errorf("%s with %g garbage: %.0f of %.0f bytes were read, more than a fiftieth", p, p.GarbageRatio, read, size)
		}
	}
}

// compact measures the file by a sample and compacts it.
func (p prediction) compact(t *testing.T) (sdk.Fragmentation, time.Duration, sdk.CompactResult) {
	t.Helper()
	path := generate(t, p.Spec)
	defer os.Remove(path)
	b := newBackend()
	b.samplePages = p.pages
	options := sdk.Options{}
	if p.fill != 0 {
		options[OptionFill] = p.fill
	}
	store := sdk.Store{Path: path}
	ctx, began := context.Background(), time.Now()
	measured, err := b.Fragmentation(ctx, sdk.FragmentationRequest{Store: store, Options: options, Mode: ModeRewrite})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	exact, err := b.Fragmentation(ctx, sdk.FragmentationRequest{Store: store, Options: options, Depth: sdk.DepthExact, Mode: ModeRewrite})
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Compact(ctx, sdk.CompactRequest{Store: store, Options: options, Mode: ModeRewrite}, func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if size := exact.Metrics["packed_bytes"]; !result.NoOp && float64(result.After.TotalBytes) != size {
		t.Errorf("%s with %g garbage: the new file has %d bytes, exactly foretold were %.0f", p, p.GarbageRatio, result.After.TotalBytes, size)
	}
	if measured.Metrics["sampled_nodes"] >= exact.Metrics["sampled_nodes"] && !p.NoFreelistSync {
		t.Errorf("%s with %g garbage: the sample is of everything", p, p.GarbageRatio)
	}
	return measured, took, result
}
