package pebble_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
	"github.com/wringdb/wring/sdk/sdktest"
)

// nodeOptions are what an Ethereum node opens its store with.
func nodeOptions() *pebbledb.Options {
	o := &pebbledb.Options{
		MaxOpenFiles:                500,
		MemTableSize:                1 << 20,
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, runtime.NumCPU() },
		Logger:                      quiet{},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.TargetFileSizes[i] = 2 << 20
	}
	o.Experimental.ReadSamplingMultiplier = -1
	return o
}

// quiet drops what Pebble says.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, _ ...any) { panic(format) }

// chainStore lets a chain be written to a store.
type chainStore struct{ *pebbledb.DB }

func (s chainStore) Set(key, value []byte) error { return s.DB.Set(key, value, pebbledb.NoSync) }
func (s chainStore) Delete(key []byte) error     { return s.DB.Delete(key, pebbledb.NoSync) }
func (s chainStore) DeleteRange(start, end []byte) error {
	return s.DB.DeleteRange(start, end, pebbledb.NoSync)
}

func (s chainStore) Settle(start, end []byte) error {
	return s.Compact(context.Background(), start, end, false)
}

// TestChain has the plugin that serves all stores compact the store of an Ethereum
// node, which has keys in the order of their bytes, but settings of its own.
func TestChain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chaindata")
	making := nodeOptions()
	making.DisableAutomaticCompactions, making.L0StopWritesThreshold = true, 1000 // so that there is something to do
	db, err := pebbledb.Open(path, making)
	if err != nil {
		t.Fatal(err)
	}
	if err := pebbletest.WriteChain(1, 300, chainStore{db}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil { // with its last writes in the log, as a node leaves it
		t.Fatal(err)
	}
	digest, keys, err := pebbletest.Digest(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := traits(t, path)
	spoilt := compactedByDefaults(t, path)

	ctx := context.Background()
	plugin, err := sdk.Launch(ctx, sdk.LaunchConfig{Path: sdktest.Build("./cmd/wring-plugin-pebble")(t), Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer plugin.Stop(ctx)
	store := sdk.Store{Name: "chain", Path: path}
	foretold, err := plugin.Client().Fragmentation(ctx, sdk.FragmentationRequest{Store: store, Depth: sdk.DepthExact})
	if err != nil {
		t.Fatal(err)
	}
	result, err := plugin.Client().Compact(ctx, sdk.CompactRequest{Store: store}, func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if v := result.Verification; v == nil || v.DigestBefore != v.DigestAfter || v.ItemsAfter != int64(keys) {
		t.Errorf("verification %+v of %d keys", v, keys)
	}
	if off := result.ReclaimedBytes - foretold.ReclaimableBytes; max(off, -off) > result.ReclaimedBytes/10 || result.ReclaimedBytes < result.Before.AllocatedBytes/5 {
		t.Errorf("gave back %d of %d bytes, %d were foretold", result.ReclaimedBytes, result.Before.AllocatedBytes, foretold.ReclaimableBytes)
	}
	if !strings.Contains(result.Note, "10 bits per key, as in the tables") {
		t.Errorf("note %q", result.Note)
	}
	if got, _, err := pebbletest.Digest(path, nil); err != nil || got != digest {
		t.Errorf("the content is another, %v", err)
	}
	after := traits(t, path)
	for _, name := range before.Differences(after) {
		t.Errorf("%s: %s %v, before %s %v", name, after.Names[name], after.Sizes[name], before.Names[name], before.Sizes[name])
	}
	if !strings.Contains(after.Names["OPTIONS"], "read_sampling_multiplier=-1\n") || after.Names["filter bits"] != "[10]" {
		t.Errorf("filters of %s bits, OPTIONS\n%s", after.Names["filter bits"], after.Names["OPTIONS"])
	}
	for _, name := range []string{"FilterPolicyName", "OPTIONS", "filter bits"} {
		if !slices.Contains(before.Differences(spoilt), name) {
			t.Errorf("under default options, %s is not found to be lost", name)
		}
	}
	// The node goes on with it.
	db, err = pebbledb.Open(path, nodeOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.CheckLevels(nil); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func traits(t *testing.T, path string) pebbletest.Traits {
	t.Helper()
	found, err := pebbletest.ReadTraits(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// compactedByDefaults is a copy that Pebble has compacted under its own options.
func compactedByDefaults(t *testing.T, path string) pebbletest.Traits {
	t.Helper()
	spoilt := filepath.Join(t.TempDir(), "spoilt")
	if err := os.CopyFS(spoilt, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	db, err := pebbledb.Open(spoilt, &pebbledb.Options{Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return traits(t, spoilt)
}
