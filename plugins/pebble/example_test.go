package pebble_test

import (
	"bytes"
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble"
)

// A plugin for the stores of an application with a comparer of its own passes
// this backend to sdk.Serve.
func Example() {
	comparer := *pebbledb.DefaultComparer
	comparer.Name, comparer.Compare = "app.keys", bytes.Compare

	backend := pebble.New(pebble.Config{
		Name:      "pebble-app",
		Comparers: []*pebbledb.Comparer{&comparer},
	})
	d, err := backend.Describe(context.Background())
	fmt.Println(d.Name, d.Engine, d.Capabilities.Modes, err)
	// Output: pebble-app Pebble [ranges rewrite] <nil>
}
