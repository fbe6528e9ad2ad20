// The benchmark of compaction without downtime: a bbolt file, half garbage, is
// read and written to at a steady rate and at full speed, at rest, while it is
// compacted live, and while everybody waits for bbolt's own compaction; then each
// demand on the first is held against what was found.
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
	"runtime"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// settings are the flags.
type settings struct {
	live      int64
	seed      uint64
	rounds    int
	full      int
	stopped   int
	warm      time.Duration
	rest      time.Duration
	steady    demand
	speed     demand
	freelist  bool
	pace      int64
	maxPause  time.Duration
	profile   string
	quick     bool
	syncModes string
	out       string
}

// Names of modes.
const (
	modeSynced = "synced"
	modeNoSync = "nosync"
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
	flags := flag.NewFlagSet("bench-live", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Int64Var(&s.live, "live", 350_000_000, "bytes of keys and values in the file, which is about three times as large")
	flags.Uint64Var(&s.seed, "seed", 1, "of the content, and of the requests")
	flags.IntVar(&s.rounds, "rounds", 3, "how many live compactions at a steady rate")
	flags.IntVar(&s.full, "full-rounds", 2, "how many live compactions at full speed")
	flags.IntVar(&s.stopped, "stopped-rounds", 1, "how many compactions with the world stopped")
	flags.DurationVar(&s.warm, "warm", time.Second, "how long requests are made before they count")
	flags.DurationVar(&s.rest, "rest", 5*time.Second, "how long is measured at rest in each round")
	flags.IntVar(&s.steady.reads, "reads", 2000, "steady reads per second")
	flags.IntVar(&s.steady.writes, "writes", 200, "steady writes per second")
	flags.IntVar(&s.steady.readers, "readers", 8, "how many goroutines make the steady reads")
	flags.IntVar(&s.steady.writers, "writers", 4, "how many goroutines make the steady writes")
	flags.IntVar(&s.speed.readers, "full-readers", max(1, runtime.GOMAXPROCS(0)/2), "how many goroutines read at full speed")
	flags.IntVar(&s.speed.writers, "full-writers", max(1, runtime.GOMAXPROCS(0)/2), "how many goroutines write at full speed")
	flags.BoolVar(&s.freelist, "freelist", false, "the application writes the list of free pages with each commit, as bbolt does by default: a live compaction does not, and would look the better for it")
	flags.Int64Var(&s.pace, "pace", 0, "bytes per second that a live compaction keeps to; 0 for no limit")
	flags.DurationVar(&s.maxPause, "max-pause", live.DefaultMaxPause, "how long a live compaction may hold writers up")
	flags.StringVar(&s.syncModes, "mode", "", modeSynced+" or "+modeNoSync+" (default both)")
	flags.StringVar(&s.profile, "profile", "", "file for a profile of the processor's time during the last live compaction")
	flags.BoolVar(&s.quick, "quick", false, "a small file and short rounds: to try the benchmark, not wring")
	flags.StringVar(&s.out, "out", "../out", "directory for files and results; the file is kept between runs")
	if err := flags.Parse(arguments); err != nil {
		return settings{}, err
	}
	if s.quick {
		s.live, s.rounds, s.full, s.warm, s.rest = 10_000_000, 2, 1, 200*time.Millisecond, time.Second
	}
	return s, s.check(flags.NArg())
}

func (s *settings) check(arguments int) error {
	switch {
	case arguments > 0:
		return errors.New("there are no arguments, only flags")
	case s.live < 1<<20 || s.live > 4<<30:
		return errors.New("want -live from a MiB to 4 GiB")
	case s.rounds < 1 || s.full < 1 || s.stopped < 1:
		return errors.New("want -rounds, -full-rounds and -stopped-rounds of at least 1")
	case min(s.steady.reads, s.steady.writes, s.steady.readers, s.steady.writers, s.speed.readers, s.speed.writers) < 1:
		return errors.New("want -reads, -writes, -readers, -writers, -full-readers and -full-writers of at least 1")
	case s.warm < 0 || s.rest <= 0 || s.pace < 0 || s.maxPause <= 0:
		return errors.New("want -rest and -max-pause above 0, and -warm and -pace not below")
	case s.syncModes != "" && s.syncModes != modeSynced && s.syncModes != modeNoSync:
		return fmt.Errorf("want -mode %s or %s", modeSynced, modeNoSync)
	}
	return nil
}

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
	o, err := openOriginal(stderr, data, s.live, s.seed)
	if err != nil {
		return err
	}
	made := &report{
		Machine: thisMachine(s.out), FileBytes: o.bytes, Keys: o.keys.count(), Seed: s.seed, Quick: s.quick,
		ReadRate: s.steady.reads, WriteRate: s.steady.writes, Freelist: s.freelist, PaceBytes: s.pace, LoadBefore: loadAverage(),
	}
	for _, name := range []string{modeSynced, modeNoSync} {
		if s.syncModes != "" && s.syncModes != name {
			continue
		}
		prepared := &setup{
			original: o, work: work, warm: s.warm, rest: s.rest, profile: s.profile,
			options: bbolt.Options{NoSync: name == modeNoSync, NoFreelistSync: !s.freelist, FreelistType: bbolt.FreelistMapType},
			compact: live.CompactOptions{MaxPause: s.maxPause},
		}
		if s.pace > 0 {
			prepared.compact.Pace = sdk.NewPace(s.pace)
		}
		m, err := s.measure(ctx, stderr, name, prepared)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		made.Modes = append(made.Modes, m)
	}
	made.LoadAfter = loadAverage()
	return made.publish(stdout, s.out)
}

// measure makes all rounds of a mode.
func (s *settings) measure(ctx context.Context, progress io.Writer, name string, prepared *setup) (mode, error) {
	type maker func(ctx context.Context, d demand, seed uint64) (round, error)
	seed := s.seed
	several := func(n int, what string, d demand, one maker) (made []round, err error) {
		for i := range n {
			fmt.Fprintf(progress, "%s: %s, round %d of %d\n", name, what, i+1, n)
			seed++
			r, err := one(ctx, d, seed)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", what, i+1, err)
			}
			made = append(made, r)
		}
		return made, nil
	}
	steady, err := several(s.rounds, "steady, compacted live", s.steady, prepared.liveRound)
	if err != nil {
		return mode{}, err
	}
	stopped, err := several(s.stopped, "steady, world stopped", s.steady, prepared.stoppedRound)
	if err != nil {
		return mode{}, err
	}
	fast, err := several(s.full, "full speed, compacted live", s.speed, prepared.liveRound)
	if err != nil {
		return mode{}, err
	}
	m := mode{Name: name, Steady: steadyOf(steady, stopped), Full: fullOf(fast)}
	m.Criteria = m.judge()
	return m, nil
}
