package pebble

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestRoomHint has a full disk: the other mode is advised where it needs less, and
// nothing is said to be done already.
func TestRoomHint(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  pebbletest.Spec
		other string // the mode that needs less
	}{
		{"one step is the whole store", pebbletest.Spec{Shape: pebbletest.Overwrites, LiveBytes: 2 << 20}, modeRewrite},
		{"a step is a small part", pebbletest.Spec{Shape: pebbletest.Patches, LiveBytes: 2 << 20, Adjust: tablesOf(16 << 10)}, modeRanges},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := generate(t, c.spec)
			before := files(t, path)
			for _, mode := range []string{modeRanges, modeRewrite} {
				b := newBackend(Config{})
				b.fs, b.stepBytes = fullFS{vfs.Default}, 32<<10
				_, err := b.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: mode}, func(sdk.Progress) {})
				hint := sdk.HintOf(err)
				if !errors.Is(err, sdk.ErrNoSpace) || !strings.HasPrefix(hint, "free space") || strings.Contains(hint, "stays so") {
					t.Errorf("mode %s: error %v with hint %q, want %v", mode, err, hint, sdk.ErrNoSpace)
				}
				if advised := strings.Contains(hint, "use mode "+c.other); advised != (mode != c.other) {
					t.Errorf("mode %s: hint %q, where mode %s needs less", mode, hint, c.other)
				}
			}
			sameFiles(t, before, files(t, path))
		})
	}
}

// TestRewriteNote has dead space that mode ranges leaves alone: people hear of the mode
// that does not, and about how much that gives back.
func TestRewriteNote(t *testing.T) {
	thin := pebbletest.Spec{Shape: pebbletest.Bottom, Garbage: 0.07, LiveBytes: 8 << 20}
	path := generate(t, thin)
	result := rewrite(t, generate(t, thin))
	for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
		f := measure(t, path, depth)
		foretold := f.Metrics[engine.MetricWhole]
		if f.ReclaimableBytes != 0 || !strings.Contains(f.Note, "mode rewrite would give back about") {
			t.Errorf("%s: %d bytes reclaimable, note %q", depth, f.ReclaimableBytes, f.Note)
		}
		if off := math.Abs(foretold - float64(result.ReclaimedBytes)); off > 0.15*float64(result.ReclaimedBytes) {
			t.Errorf("%s: mode rewrite is said to give back %.0f bytes, and gave back %d", depth, foretold, result.ReclaimedBytes)
		}
	}
	if result := compact(t, path); !result.NoOp || !strings.Contains(result.Note, "mode rewrite would give back about") {
		t.Errorf("a compaction ends with %+v", result)
	}
	for _, spec := range []pebbletest.Spec{{Shape: pebbletest.Dense}, {Shape: pebbletest.Deletes}} {
		if f := measure(t, generate(t, spec), sdk.DepthSampled); f.Note != "" {
			t.Errorf("%s: note %q, where mode rewrite gives back no more", spec.Shape, f.Note)
		}
	}
}
