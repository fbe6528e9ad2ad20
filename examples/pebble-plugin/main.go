// Command wring-plugin-pebble-mvcc compacts the stores of an application that has a
// comparer, a merger and block property collectors of its own.
package main

import (
	"example.com/pebble-plugin/mvcc"
	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/wringdb/wring/plugins/pebble"
	"github.com/wringdb/wring/sdk"
)

func main() {
	sdk.Serve(pebble.New(pebble.Config{
		Name:                    "pebble-mvcc",
		Comparers:               []*pebbledb.Comparer{mvcc.Comparer},
		Mergers:                 []*pebbledb.Merger{mvcc.Sum},
		BlockPropertyCollectors: mvcc.Collectors,
	}))
}
