// Command wring compacts embedded databases: as a host that looks after
// configured stores, or at once for a path.
package main

import (
	"os"

	"github.com/wringdb/wring/cmd/host/command"
)

// version is set when the program is built.
var version = "devel"

func main() {
	os.Exit(command.Main(version, os.Args[1:], command.Stdio()))
}
