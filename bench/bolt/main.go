// The benchmark of the bolt backend: it runs `wring compact` and its peers in
// turn over the same files, checks every result, and prints how long each took,
// how much memory it needed and how large its result is.
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
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	rounds     int
	coldRounds int
	seed       uint64
	settle     time.Duration
	quick      bool
	large      bool
	out        string
	parts      string
	files      string
}

// Parts of the benchmark, in the order in which they run.
const (
	partStart  = "start"
	partFiles  = "files"
	partHeap   = "heap"
	partRegrow = "regrow"
)

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
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.rounds, "rounds", 5, "how many times each tool runs on each file, after one run that does not count")
	flags.IntVar(&s.coldRounds, "cold-rounds", 3, "how many times with nothing of the file in memory, where the system lets us (Linux, root)")
	flags.Uint64Var(&s.seed, "seed", 1, "of the files' content")
	flags.DurationVar(&s.settle, "settle", 300*time.Millisecond, "pause before each run, after the disk has nothing left to write")
	flags.BoolVar(&s.quick, "quick", false, "small files and 2 rounds: to try the benchmark, not wring")
	flags.BoolVar(&s.large, "large", false, "measure the heap on a file of 2 GB live as well, which takes minutes to make")
	flags.StringVar(&s.out, "out", "../out", "directory for tools, files and results, kept between runs")
	flags.StringVar(&s.parts, "parts", strings.Join([]string{partStart, partFiles, partHeap, partRegrow}, ","), "what to measure")
	flags.StringVar(&s.files, "files", "", "names of files to measure, such as random,etcd (default all)")
	if err := flags.Parse(arguments); err != nil {
		return settings{}, err
	}
	if s.quick {
		s.rounds, s.coldRounds, s.settle = 2, 1, 20*time.Millisecond
	}
	if s.rounds < 1 || s.coldRounds < 0 || flags.NArg() > 0 {
		return settings{}, errors.New("want -rounds of at least 1, -cold-rounds of at least 0, and no arguments")
	}
	var err error
	s.out, err = filepath.Abs(s.out)
	return s, err
}

func (s settings) wants(part string) bool { return slices.Contains(strings.Split(s.parts, ","), part) }

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	s, err := parse(arguments, stderr)
	if err != nil {
		return err
	}
	data := filepath.Join(s.out, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp(s.out, "work-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b := &bench{
		settings: s, progress: stderr, work: work,
		checked: make(map[string]string),
	}
	if b.tools, err = buildTools(ctx, stderr, filepath.Join(s.out, "bin")); err != nil {
		return err
	}
	found, large, err := b.chooseFiles()
	if err != nil {
		return err
	}
	files := make([]*file, 0, len(found))
	for _, wanted := range found {
		f, err := openFile(ctx, stderr, data, wanted)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	var largeFile *file
	if s.large {
		if largeFile, err = openFile(ctx, stderr, data, large); err != nil {
			return err
		}
	}
	made, err := b.measure(ctx, files, largeFile)
	if err != nil {
		return err
	}
	return made.publish(stdout, s.out)
}

// bench is one run of the benchmark.
type bench struct {
	settings
	progress io.Writer
	work     string // on the file system of the files, removed at the end
	tools    tools
	host     *host             // serves the stores whose options differ
	checked  map[string]string // content digest by SHA-256 of a file's bytes
}

func (b *bench) chooseFiles() (chosen []spec, large spec, err error) {
	all, large := specs(b.quick, b.seed)
	if b.files == "" {
		return all, large, nil
	}
	for name := range strings.SplitSeq(b.files, ",") {
		i := slices.IndexFunc(all, func(s spec) bool { return s.Name == name })
		if i < 0 {
			return nil, spec{}, fmt.Errorf("there is no file %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, large, nil
}

func (b *bench) measure(ctx context.Context, files []*file, large *file) (*report, error) {
	made, err := newReport(ctx, b)
	if err != nil {
		return nil, err
	}
	if b.wants(partStart) {
		if made.Start, err = b.measureStart(ctx); err != nil {
			return nil, err
		}
	}
	if b.wants(partFiles) {
		if b.host, err = startHost(ctx, b); err != nil {
			return nil, err
		}
		defer b.host.stop()
		for _, f := range files {
			results, err := b.measureFile(ctx, f)
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", f.Name, err)
			}
			made.Files = append(made.Files, results)
		}
	}
	if b.wants(partHeap) {
		if large != nil {
			files = append(slices.Clone(files), large)
		}
		for _, f := range files {
			memory, err := b.measureHeap(ctx, f)
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", f.Name, err)
			}
			made.Heap = append(made.Heap, memory)
		}
	}
	if b.wants(partRegrow) {
		if made.Regrow, err = b.measureRegrowth(ctx); err != nil {
			return nil, err
		}
	}
	made.LoadAfter = load()
	return made, nil
}
