package pebble

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestPrediction holds what Fragmentation says at each depth against what
// Compact then gives back.
func TestPrediction(t *testing.T) {
	newest := pebbledb.FormatNewest
	cases := []struct {
		name string
		spec pebbletest.Spec
		// quick is how far the estimate may be off, as a share of the allocated
		// bytes. Readings of the content may be off by 0.03, and by a tenth of
		// what is given back, or else by a block of the file system.
		quick float64
	}{
		{"dense", pebbletest.Spec{Shape: pebbletest.Dense}, 0.05},
		{"obsolete logs", pebbletest.Spec{Shape: pebbletest.Dense, ObsoleteLogs: true}, 0.01},
		{"deletes", pebbletest.Spec{Shape: pebbletest.Deletes, FilterBits: 10}, 0.1},
		{"deletes of little", pebbletest.Spec{Shape: pebbletest.Deletes, Garbage: 0.1}, 0.1},
		{"deletes in log", pebbletest.Spec{Shape: pebbletest.Deletes, LeaveInLog: true}, 1},
		{"overwrites", pebbletest.Spec{Shape: pebbletest.Overwrites}, 0.3},
		{"overwrites of little", pebbletest.Spec{Shape: pebbletest.Overwrites, Garbage: 0.1}, 0.3},
		{"overwrites in log", pebbletest.Spec{Shape: pebbletest.Overwrites, LeaveInLog: true}, 1},
		{"overwrites, newest format", pebbletest.Spec{Shape: pebbletest.Overwrites, Format: newest}, 0.3},
		{"range deletes", pebbletest.Spec{Shape: pebbletest.RangeDeletes, RangeKeys: 5}, 1},
		{"range deletes in log", pebbletest.Spec{Shape: pebbletest.RangeDeletes, LeaveInLog: true}, 1},
		{"churn", pebbletest.Spec{Shape: pebbletest.Churn, FilterBits: 10}, 0.3},
		{"churn, newest format", pebbletest.Spec{Shape: pebbletest.Churn, Format: newest}, 0.3},
		{"churn of large values", pebbletest.Spec{Shape: pebbletest.Churn, ValueBytes: 20 << 10}, 0.3},
		{"bottom", pebbletest.Spec{Shape: pebbletest.Bottom}, 0.2},
		{"held", pebbletest.Spec{Shape: pebbletest.Held}, 0.2},
		{"expired", pebbletest.Spec{Shape: pebbletest.Expired}, 1},
		{"empty", pebbletest.Spec{Shape: pebbletest.Empty}, 0.2},
		{"separated values, deletes", pebbletest.Spec{Shape: pebbletest.Deletes, Separate: 256}, 0.1},
		{"separated values, overwrites", pebbletest.Spec{Shape: pebbletest.Overwrites, Separate: 256}, 0.3},
		{"separated values, churn", pebbletest.Spec{Shape: pebbletest.Churn, Separate: 256}, 0.3},
		{"separated values, range deletes", pebbletest.Spec{Shape: pebbletest.RangeDeletes, Separate: 256}, 1},
		{"separated values, bottom", pebbletest.Spec{Shape: pebbletest.Bottom, Separate: 256}, 0.2},
		{"separated values, held", pebbletest.Spec{Shape: pebbletest.Held, Separate: 256}, 0.2},
		{"separated values, dense", pebbletest.Spec{Shape: pebbletest.Dense, Separate: 256}, 0.2},
		{"one table", pebbletest.Spec{Shape: pebbletest.Overwrites, LiveBytes: 20 << 10}, 0.3},
	}
	var report strings.Builder
	fmt.Fprintf(&report, "%-26s %9s %9s %9s %9s %9s\n", "in KiB", "allocated", "reclaimed", "quick", "sampled", "exact")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.spec.Seed = 1; c.spec.LiveBytes == 0 {
				c.spec.LiveBytes = 2 << 20
			}
			path := generate(t, c.spec)
			predicted := map[sdk.Depth]sdk.Fragmentation{}
			for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
				predicted[depth] = measure(t, path, depth)
			}
			digest, keys := contentOf(t, path)
			result := compact(t, path)
			afterDigest, afterKeys := contentOf(t, path)
			if afterDigest != digest || afterKeys != keys {
				t.Errorf("content changed: %d keys, before %d", afterKeys, keys)
			}
			fmt.Fprintf(&report, "%-26s %9d %9d %9d %9d %9d\n", c.name, result.Before.AllocatedBytes>>10, result.ReclaimedBytes>>10,
				predicted[sdk.DepthQuick].ReclaimableBytes>>10, predicted[sdk.DepthSampled].ReclaimableBytes>>10, predicted[sdk.DepthExact].ReclaimableBytes>>10)
			for depth, f := range predicted {
				within(t, f, result.ReclaimedBytes)
				tolerance := max(4096, min(0.03*float64(f.AllocatedBytes), 0.1*float64(result.ReclaimedBytes)+4096))
				if depth == sdk.DepthQuick {
					tolerance = c.quick * float64(f.AllocatedBytes)
				}
				if off := float64(f.ReclaimableBytes - result.ReclaimedBytes); off > tolerance || off < -tolerance {
					t.Errorf("%s predicts %d bytes of %d, and compaction gave back %d", depth, f.ReclaimableBytes, f.AllocatedBytes, result.ReclaimedBytes)
				}
			}
			if quick, exact := predicted[sdk.DepthQuick].Metrics["bytes_read"], predicted[sdk.DepthExact].Metrics["bytes_read"]; exact < quick || exact <= 0 {
				t.Errorf("quick has read %.0f bytes, exact %.0f", quick, exact)
			}
			again := measure(t, path, sdk.DepthSampled)
			if limit := int64(64 << 10); again.ReclaimableBytes > limit {
				t.Errorf("after compaction %d bytes are still reclaimable, want at most %d", again.ReclaimableBytes, limit)
			}
			second := compact(t, path)
			if !second.NoOp {
				t.Errorf("a second compaction gave back %d bytes, want a no-op", second.ReclaimedBytes)
			}
			if second.Pause <= 0 {
				t.Errorf("a compaction that found nothing to do kept writers out for %v", second.Pause)
			}
		})
	}
	t.Log("\n" + report.String())
}

func generate(t *testing.T, spec pebbletest.Spec) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	if err := pebbletest.Generate(path, spec); err != nil {
		t.Fatal(err)
	}
	return path
}

func contentOf(t *testing.T, path string) (digest string, keys int) {
	t.Helper()
	digest, keys, err := pebbletest.Digest(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return digest, keys
}

func measure(t *testing.T, path string, depth sdk.Depth) sdk.Fragmentation {
	t.Helper()
	f, err := New(Config{}).Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func compact(t *testing.T, path string) sdk.CompactResult {
	t.Helper()
	result, err := New(Config{}).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: modeRanges}, func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	return result
}
