// The benchmark of the Pebble backend: stores whose dead space lies in different
// places are compacted by wring and by DB.Compact over the whole key range, in
// turn, and what was foretold is held against what came back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	live   int64
	seed   uint64
	rounds int
	stores string
	quick  bool
	out    string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parse(arguments []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench-pebble", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Int64Var(&s.live, "live", 128<<20, "bytes of keys and values that remain in each store, before compression")
	flags.Uint64Var(&s.seed, "seed", 1, "of the content")
	flags.IntVar(&s.rounds, "rounds", 3, "how many times each store is compacted by each")
	flags.StringVar(&s.stores, "stores", "", "names of stores to measure, such as deletes,churn (default all)")
	flags.BoolVar(&s.quick, "quick", false, "small stores and one round: to try the benchmark, not wring")
	flags.StringVar(&s.out, "out", "../out", "directory for stores and results; the stores are kept between runs")
	if err := flags.Parse(arguments); err != nil {
		return settings{}, err
	}
	if s.quick {
		s.live, s.rounds = 8<<20, 1
	}
	switch {
	case flags.NArg() > 0:
		return s, errors.New("there are no arguments, only flags")
	case s.live < 1<<20 || s.live > 4<<30:
		return s, errors.New("want -live from a MiB to 4 GiB")
	case s.rounds < 1:
		return s, errors.New("want -rounds of at least 1")
	}
	return s, nil
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	s, err := parse(arguments, stderr)
	if err != nil {
		return err
	}
	chosen, err := choose(s.stores)
	if err != nil {
		return err
	}
	work, err := makeWork(s.out)
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	made := &report{Machine: thisMachine(), Live: s.live, Seed: s.seed, Rounds: s.rounds, Quick: s.quick}
	for _, kind := range chosen {
		original, err := kind.make(filepath.Join(s.out, "data"), s.live, s.seed, stderr)
		if err != nil {
			return err
		}
		c := &contest{ctx: ctx, original: original, work: work, progress: stderr}
		result, err := c.run(kind.name, s.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		made.Stores = append(made.Stores, result)
	}
	return made.publish(stdout, s.out)
}

// choose finds kinds by their names.
func choose(names string) ([]kind, error) {
	if names == "" {
		return kinds(), nil
	}
	var chosen []kind
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, k := range kinds() {
			if k.name == name {
				chosen, found = append(chosen, k), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no store %q", name)
		}
	}
	return chosen, nil
}

func makeWork(out string) (string, error) {
	if err := os.MkdirAll(filepath.Join(out, "data"), 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(out, "work-")
}

// settle waits until the disk has nothing left to write.
func settle() {
	syscall.Sync()
	time.Sleep(200 * time.Millisecond)
}
