// Command wring-plugin-bolt serves the backend for bbolt files to a wring host.
package main

import (
	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/sdk"
)

func main() { sdk.Serve(bolt.New()) }
