// Command wring-plugin-pebble serves the backend for Pebble stores to a wring host.
package main

import (
	"github.com/wringdb/wring/plugins/pebble"
	"github.com/wringdb/wring/sdk"
)

func main() { sdk.Serve(pebble.New(pebble.Config{})) }
