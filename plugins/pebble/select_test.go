package pebble

import (
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestPassesOver compacts a store whose dead space is in a tenth of its keys: in small
// steps most of the rest is left as it is, and what comes back is the same but for a
// few hundredths.
func TestPassesOver(t *testing.T) {
	spec := pebbletest.Spec{Seed: 1, Shape: pebbletest.Clustered, Garbage: 0.4, LiveBytes: 16 << 20, Adjust: func(o *pebbledb.Options) {
		for i := range o.TargetFileSizes {
			o.TargetFileSizes[i] = 64 << 10
		}
	}}
	run := func(stepBytes int64) (result sdk.CompactResult, written int64) {
		path := generate(t, spec)
		digest, keys := contentOf(t, path)
		b := newBackend(Config{})
		b.stepBytes, b.joinedBytes = stepBytes, stepBytes
		result, err := b.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) { written = p.BytesWritten })
		if err != nil {
			t.Fatal(err)
		}
		if gotDigest, gotKeys := contentOf(t, path); gotDigest != digest || gotKeys != keys {
			t.Errorf("content changed: %d keys, before %d", gotKeys, keys)
		}
		return result, written
	}
	whole, all := run(1 << 30)
	some, few := run(1 << 20)
	t.Logf("whole: %d back, %d written; in steps: %d back, %d written: %s", whole.ReclaimedBytes, all, some.ReclaimedBytes, few, some.Note)
	if whole.ReclaimedBytes < 1<<20 || few*2 > all || float64(some.ReclaimedBytes) < 0.95*float64(whole.ReclaimedBytes) {
		t.Errorf("%d bytes written for %d given back, and %d for %d in small steps", all, whole.ReclaimedBytes, few, some.ReclaimedBytes)
	}
	if !strings.Contains(some.Note, "passed over") || strings.Contains(whole.Note, "passed over") {
		t.Errorf("notes %q in small steps and %q", some.Note, whole.Note)
	}
}
