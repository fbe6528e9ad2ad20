package sdktest

import (
	"math"
	"testing"

	"github.com/wringdb/wring/sdk"
)

var depths = []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact}

// testMeasure: figures make sense at every depth, agree with the file system,
// and tell a fragmented store from a dense one.
func testMeasure(t *testing.T, s *subject) {
	empty, dense, fragmented := s.newStore(t, Empty), s.newStore(t, Dense), s.newStore(t, Fragmented)
	for _, depth := range depths {
		s.part(t, string(depth), func(t *testing.T) {
			ratio := make(map[Shape]float64)
			for shape, st := range map[Shape]store{Empty: empty, Dense: dense, Fragmented: fragmented} {
				f := s.mustMeasure(t, st, depth)
				checkFragmentation(t, shape, f, sizeOf(t, st), s.Dir)
				ratio[shape] = f.Ratio()
			}
			// Not all dead space is in the bookkeeping, which is all that a quick
			// look sees.
			blind := depth == sdk.DepthQuick && ratio[Dense] == ratio[Fragmented]
			if ratio[Dense] >= ratio[Fragmented] && !blind {
				t.Errorf("the dense store is %.1f%% fragmented, the fragmented one %.1f%%",
					100*ratio[Dense], 100*ratio[Fragmented])
			}
		})
	}
	again := s.mustMeasure(t, fragmented, sdk.DepthSampled)
	if first := s.mustMeasure(t, fragmented, ""); first.ReclaimableBytes != again.ReclaimableBytes {
		t.Errorf("two looks at an untouched store differ: %d and %d bytes reclaimable (an empty depth means sampled)",
			first.ReclaimableBytes, again.ReclaimableBytes)
	}
}

func checkFragmentation(t *testing.T, shape Shape, f sdk.Fragmentation, size sdk.Size, dir bool) {
	t.Helper()
	if f.TotalBytes < 0 || f.AllocatedBytes < 0 || f.LiveBytes < 0 || f.ReclaimableBytes < 0 {
		t.Errorf("%s: a size is negative: %+v", shape, f)
	}
	if f.ReclaimableBytes > f.AllocatedBytes {
		t.Errorf("%s: %d bytes reclaimable of only %d allocated", shape, f.ReclaimableBytes, f.AllocatedBytes)
	}
	if most := max(f.TotalBytes, f.AllocatedBytes); f.LiveBytes > most {
		t.Errorf("%s: %d bytes live in a store of %d", shape, f.LiveBytes, most)
	}
	if exact := !dir; exact && f.TotalBytes != size.TotalBytes || !near(f.TotalBytes, size.TotalBytes, 0.05) {
		t.Errorf("%s: total is %d bytes, the file system says %d", shape, f.TotalBytes, size.TotalBytes)
	}
	if !near(f.AllocatedBytes, size.AllocatedBytes, 0.10) {
		t.Errorf("%s: allocated are %d bytes, the file system says %d", shape, f.AllocatedBytes, size.AllocatedBytes)
	}
	switch f.Method {
	case sdk.MethodExact, sdk.MethodSampled, sdk.MethodEstimated:
	default:
		t.Errorf("%s: method %q is none of exact, sampled, estimated", shape, f.Method)
	}
	if len(f.Map) > sdk.MaxMapCells {
		t.Errorf("%s: the map has %d cells; %d is the most", shape, len(f.Map), sdk.MaxMapCells)
	}
	for i, cell := range f.Map {
		if cell > 100 {
			t.Errorf("%s: cell %d of the map is %d%% full", shape, i, cell)
			break
		}
	}
	checkLayers(t, shape, f, dir)
	if len(f.Metrics) > sdk.MaxMetrics {
		t.Errorf("%s: %d metrics; %d is the most", shape, len(f.Metrics), sdk.MaxMetrics)
	}
	for name, v := range f.Metrics {
		if !isWord(name) {
			t.Errorf("%s: metric %q is not in snake_case", shape, name)
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Errorf("%s: metric %s is %v", shape, name, v)
		}
	}
}

// checkLayers holds layers against the figures beside them. A picture that makes
// no sense in itself is an error of the measurement already.
func checkLayers(t *testing.T, shape Shape, f sdk.Fragmentation, dir bool) {
	t.Helper()
	var all, live int64
	for _, l := range f.Layers {
		all += l.Bytes
		for _, c := range l.Cells {
			live += c.Bytes * int64(c.Live) / 100
		}
	}
	// A directory may have grown while it was measured.
	if most := max(f.TotalBytes, f.AllocatedBytes); all > most && !(dir && near(all, most, 0.05)) {
		t.Errorf("%s: the layers have %d bytes, and the store %d", shape, all, most)
	}
	if live > f.LiveBytes && !near(live, f.LiveBytes, 0.05) {
		t.Errorf("%s: %d bytes of the layers are live, and %d of the store", shape, live, f.LiveBytes)
	}
}

// testMeasureChangesNothing: looking changes no byte, no date, no name.
func testMeasureChangesNothing(t *testing.T, s *subject) {
	for _, shape := range []Shape{Empty, Dense, Fragmented} {
		st := s.newStore(t, shape)
		before := takeSnapshot(t, st.dir)
		for _, depth := range depths {
			s.mustMeasure(t, st, depth)
			before.wantUntouched(t, st.dir, "after a "+string(depth)+" measurement of the "+string(shape)+" store")
		}
	}
}

// testPredict: what a measurement promises, compaction keeps.
func testPredict(t *testing.T, s *subject) {
	for _, shape := range []Shape{Empty, Dense, Fragmented} {
		st := s.newStore(t, shape)
		predicted := make(map[sdk.Depth]int64)
		for _, depth := range []sdk.Depth{sdk.DepthSampled, sdk.DepthExact} {
			predicted[depth] = s.mustMeasure(t, st, depth).ReclaimableBytes
		}
		before := sizeOf(t, st)
		s.mustCompact(t, st)
		reclaimed := before.AllocatedBytes - sizeOf(t, st).AllocatedBytes
		for depth, promise := range predicted {
			if !s.nearEnough(promise, reclaimed, before) {
				t.Errorf("%s store of %d bytes: %s predicted %d, compaction gave back %d; off by more than %.0f%% of the store",
					shape, before.AllocatedBytes, depth, promise, reclaimed, 100*s.Tolerance)
			}
		}

		before = sizeOf(t, st)
		if left := s.mustMeasure(t, st, sdk.DepthSampled).ReclaimableBytes; !s.nearEnough(left, 0, before) {
			t.Errorf("%s store, just compacted to %d bytes: %d still count as reclaimable",
				shape, before.AllocatedBytes, left)
		}
	}
}

// nearEnough holds a prediction against what came of it.
func (s *subject) nearEnough(promise, reclaimed int64, before sdk.Size) bool {
	return abs(promise-reclaimed) <= max(int64(s.Tolerance*float64(before.AllocatedBytes)), slack)
}
