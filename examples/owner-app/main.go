// Owner-app is a small key-value service over HTTP. It keeps its data in a bbolt
// file that it has open all the time, and that a wring host compacts all the
// same: serve.go is how, and the rest of the program is there to watch it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `owner-app is a key-value service that is compacted while it is in use.

  owner-app fill    make a store with a lot of dead space
  owner-app serve   serve a store over HTTP, and to the wring host
  owner-app load    read and write through HTTP, and show how long it takes

owner-app COMMAND -help has the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	commands := map[string]func(context.Context, []string) error{"fill": fillMain, "serve": serveMain, "load": loadMain}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := commands[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "owner-app %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// parse reads a command's flags. One without a value, its default included, is
// missing. It ends the program where they are wrong.
func parse(flags *flag.FlagSet, args []string) {
	_ = flags.Parse(args) // flag.ExitOnError
	flags.VisitAll(func(f *flag.Flag) {
		if f.Value.String() == "" {
			fmt.Fprintf(os.Stderr, "owner-app %s: -%s is missing\n", flags.Name(), f.Name)
			flags.Usage()
			os.Exit(2)
		}
	})
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "owner-app %s: what is %q?\n", flags.Name(), flags.Arg(0))
		os.Exit(2)
	}
}
