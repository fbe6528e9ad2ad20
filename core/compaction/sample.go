package compaction

import (
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// sample notes what a run or a plan has measured.
func (r *Runner) sample(store string, f sdk.Fragmentation) {
	r.addSample(store, history.Sample{
		TotalBytes: f.TotalBytes, AllocatedBytes: f.AllocatedBytes,
		LiveBytes: f.LiveBytes, ReclaimableBytes: f.ReclaimableBytes,
	}, 0)
}

// sampleCompacted notes the sizes that a compaction leaves. It does not measure
// what is live, and nobody waits for another measurement: that is taken to be
// what it was, and reclaimable what was promised and has not come.
func (r *Runner) sampleCompacted(store string, before sdk.Fragmentation, done sdk.CompactResult) {
	allocated := done.After.AllocatedBytes
	live := min(before.LiveBytes, allocated)
	r.addSample(store, history.Sample{
		TotalBytes: done.After.TotalBytes, AllocatedBytes: allocated, LiveBytes: live,
		ReclaimableBytes: max(0, min(before.ReclaimableBytes-done.ReclaimedBytes, allocated-live)),
	}, done.ReclaimedBytes)
}

func (r *Runner) addSample(store string, s history.Sample, reclaimed int64) {
	s.At = r.clock.Now()
	r.record("a sample", func() error { return r.history.AddSample(store, s, reclaimed) })
}
