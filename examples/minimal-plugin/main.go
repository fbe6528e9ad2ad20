// Wring-plugin-minilog teaches the wring host to compact minilog stores.
package main

import "github.com/wringdb/wring/sdk"

func main() { sdk.Serve(backend{}) }
