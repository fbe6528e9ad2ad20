package pebble

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// mustRefuse makes sure that the backend refuses the store by both calls with an error
// that says so, and changes nothing.
func mustRefuse(t *testing.T, b sdk.Backend, path, says, hint string) {
	t.Helper()
	before := files(t, path)
	for name, err := range refusals(b, path) {
		if !errors.Is(err, sdk.ErrUnsupported) || sdk.Retryable(err) {
			t.Fatalf("%s: error %v, want %v that lasts", name, err, sdk.ErrUnsupported)
		}
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q does not say %q in a line", name, err, says)
		}
		if got := sdk.HintOf(err); !strings.Contains(got, hint) {
			t.Errorf("%s: hint %q, want %q in it", name, got, hint)
		}
	}
	sameFiles(t, before, files(t, path))
}

// TestOwnCompression has profiles that only the application has: the file gives their
// names, and one of these is Pebble's but for its case.
func TestOwnCompression(t *testing.T) {
	for _, name := range []string{"acme", "snappy"} {
		t.Run(name, func(t *testing.T) {
			profile := *block.ZstdCompression
			profile.Name = name
			path := generate(t, pebbletest.Spec{Adjust: compressed(block.SnappyCompression, &profile)})
			mustRefuse(t, New(Config{}), path, fmt.Sprintf("the profile %q", name), "live.Serve")
		})
	}
}

// TestFormerKeySchema has tables from before the application changed its key schema,
// which the OPTIONS file does not name. Pebble panics over an unknown one.
func TestFormerKeySchema(t *testing.T) {
	path := generate(t, pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: writtenBy(4)})
	options := (pebbletest.Spec{Format: pebbledb.FormatNewest, Adjust: writtenBy(16)}).Options()
	db, err := pebbledb.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, New(Config{}), path, `"DefaultKeySchema(leveldb.BytewiseComparator,4)"`, "Config.KeySchemas")

	config := Config{KeySchemas: []*pebbledb.KeySchema{options.KeySchemas["DefaultKeySchema(leveldb.BytewiseComparator,4)"]}}
	if _, err := New(config).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if schema := traits(t, path, options).Names["KeySchemaName"]; schema != options.KeySchema {
		t.Errorf("the tables have the key schema %s, want %s", schema, options.KeySchema)
	}
}
