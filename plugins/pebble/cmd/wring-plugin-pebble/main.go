// Command wring-plugin-pebble serves the backend for Pebble stores to a wring host.
package main

import (
	"github.com/wringdb/wring/plugins/pebble"
	"github.com/wringdb/wring/sdk"
)

// version is set by the build; the module's is used when it is empty.
var version string

func main() { sdk.Serve(pebble.New(pebble.Config{Version: version})) }
