// Mklog makes a minilog store with a lot of dead space, to try the plugin on.
package main

import (
	"flag"
	"fmt"
	"os"

	"example.com/wring-plugin-minilog/minilog"
)

func main() {
	size := flag.Int64("size", 16<<20, "about how many bytes")
	dead := flag.Float64("dead", 0.6, "share of dead space, 0 to 1")
	seed := flag.Uint64("seed", 1, "seed of the content")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: mklog [flags] FILE\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if _, err := os.Stat(flag.Arg(0)); err == nil {
		fmt.Fprintf(os.Stderr, "mklog: %s exists already\n", flag.Arg(0))
		os.Exit(1)
	}
	if err := minilog.Generate(flag.Arg(0), *seed, *size, *dead); err != nil {
		fmt.Fprintln(os.Stderr, "mklog:", err)
		os.Exit(1)
	}
}
