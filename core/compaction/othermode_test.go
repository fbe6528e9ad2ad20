package compaction_test

import (
	"context"
	"testing"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// choosy has an option for one of its modes, and notes what it is measured with.
type choosy struct {
	moded
	given *sdk.Options
}

func (c choosy) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := c.moded.Describe(ctx)
	d.Options = sdk.Schema{
		{Name: "recompress", Type: sdk.TypeString, Modes: []string{"rewrite"}},
		{Name: "depth", Type: sdk.TypeNumber},
	}
	return d, err
}

func (c choosy) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	*c.given = req.Options
	return c.moded.Fragmentation(ctx, req)
}

func (c choosy) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	*c.given = req.Options
	return c.moded.Compact(ctx, req, report)
}

// A store that is looked at, or compacted, in another mode than its own is without the options
// that are for its own alone.
func TestOptionsOfAnotherMode(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var given sdk.Options
		b := &backend{}
		store := w.store("a", b)
		store.Mode, store.Options = "rewrite", map[string]any{"recompress": "zstd", "depth": 2.0}
		w.clients.backends["a"] = sdk.Guard(choosy{moded{b, "pebble", []string{"ranges", "rewrite"}}, &given})
		for mode, want := range map[string]string{"": "zstd", "rewrite": "zstd", "ranges": ""} {
			if _, err := w.runner.Inspect(t.Context(), compaction.InMode([]config.Store{store}, mode)[0], sdk.DepthSampled); err != nil {
				t.Fatalf("mode %q: %v", mode, err)
			}
			if given.String("recompress") != want || given.Number("depth") != 2 {
				t.Errorf("mode %q: measured with %v", mode, given)
			}
			given = nil
			w.request(t.Context(), compaction.Request{Stores: []config.Store{store}, Mode: mode, Manual: true, Force: true})
			if given.String("recompress") != want || given.Number("depth") != 2 {
				t.Errorf("mode %q: compacted with %v", mode, given)
			}
		}
		if len(store.Options) != 2 {
			t.Errorf("the store itself has %v left", store.Options)
		}
	})
}
