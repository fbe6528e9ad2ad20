package sdk

import (
	"testing"
)

func TestLaunchAnswers(t *testing.T) {
	noLeaks(t)
	_, c := start(t, "plugin")
	if d := c.Description(); d.Name != "fake" || d.ProtocolVersion != ProtocolMax || !d.Capabilities.Sweeps {
		t.Errorf("description = %+v", d)
	}
	f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: newStore(t, "a")})
	if err != nil || f.ReclaimableBytes != 500 || f.Metrics["depth_sampled"] != 1 || len(f.Map) != 3 {
		t.Errorf("fragmentation = %+v, %v", f, err)
	}
	var phases []string
	result, err := c.Compact(t.Context(), CompactRequest{Store: newStore(t, "a")}, func(p Progress) { phases = append(phases, p.Phase) })
	if err != nil || result.Mode != "full" || result.ReclaimedBytes != 500 || result.Verification == nil {
		t.Errorf("result = %+v, %v", result, err)
	}
	if len(phases) != 2 || phases[0] != "copy" || phases[1] != "verify" {
		t.Errorf("phases = %v", phases)
	}
}
