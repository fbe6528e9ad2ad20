package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// row is what one way to compact a file came to.
type row struct {
	Name string  `json:"name"`
	Warm spread  `json:"warm"`
	Cold *spread `json:"cold,omitempty"`
	// ResultBytes is how long the result is, ResultAllocatedBytes what the file
	// system holds of it.
	ResultBytes          int64 `json:"result_bytes"`
	ResultAllocatedBytes int64 `json:"result_allocated_bytes"`
	// Memory of each process that took part, in a run of its own.
	Memory []memory `json:"memory,omitempty"`

	warm, cold sample
}

// fileResults are the rows of one file.
type fileResults struct {
	*file
	Rows []*row `json:"rows"`
}

func (r fileResults) row(name string) *row {
	i := slices.IndexFunc(r.Rows, func(r *row) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return r.Rows[i]
}

// round is one pass over the contestants.
type round struct {
	cold    bool
	counts  bool // else the first, which warms up and measures the memory
	shifted int  // so many contestants come later than in the first round
}

// measureFile lets all contestants run in turn, so that a drift of the machine
// hits all alike.
func (b *bench) measureFile(ctx context.Context, f *file) (fileResults, error) {
	results := fileResults{file: f}
	rounds := []round{{}}
	for i := range b.rounds {
		rounds = append(rounds, round{counts: true, shifted: i})
	}
	for i := range b.coldRounds {
		if canDropCaches() {
			rounds = append(rounds, round{counts: true, cold: true, shifted: i})
		}
	}
	all := b.contestants(f)
	for number, r := range rounds {
		fmt.Fprintf(b.progress, "%s: round %d of %d%s\n", f.Name, number, len(rounds)-1, map[bool]string{true: ", cold"}[r.cold])
		for i := range all {
			c := all[(i+r.shifted)%len(all)]
			if r.cold && !c.cold {
				continue
			}
			if err := b.runOnce(ctx, &results, c, r); err != nil {
				return fileResults{}, err
			}
		}
	}
	for _, r := range results.Rows {
		r.Warm = r.warm.spread()
		if len(r.cold) > 0 {
			cold := r.cold.spread()
			r.Cold = &cold
		}
	}
	return results, os.Remove(b.wringResult())
}

// wringResult is what wring made of the file that is being measured.
func (b *bench) wringResult() string { return filepath.Join(b.work, "result.db") }

func (b *bench) runOnce(ctx context.Context, results *fileResults, c contestant, r round) (err error) {
	dir := filepath.Join(b.work, "run")
	defer func() {
		if removeErr := os.RemoveAll(dir); err == nil {
			err = removeErr
		}
	}()
	p := place{dir: dir, store: filepath.Join(dir, "member", "snap", c.store), fresh: filepath.Join(dir, "fresh.db"), result: b.wringResult()}
	if err := b.prepare(ctx, results.file, p, r.cold); err != nil {
		return err
	}
	var passed time.Duration
	for _, s := range c.steps {
		var watch *watcher
		if !r.counts {
			watch = watchMemory()
		}
		took, err := s.run(ctx, p)
		used := watch.stop()
		if err != nil {
			return err
		}
		passed += took
		if s.row == "" {
			continue
		}
		found := results.row(s.row)
		if found == nil {
			found = &row{Name: s.row}
			results.Rows = append(results.Rows, found)
		}
		found.Memory = append(found.Memory, used...)
		switch {
		case r.cold:
			found.cold = append(found.cold, passed)
		case r.counts:
			found.warm = append(found.warm, passed)
		}
	}
	return b.keep(ctx, results, c, p)
}

// prepare lays a fresh copy of the file where the contestant finds it, waits
// until the disk is quiet, and sees to it that all of the file is in memory, or
// nothing.
func (b *bench) prepare(ctx context.Context, f *file, p place, cold bool) error {
	if err := os.MkdirAll(filepath.Dir(p.store), 0o700); err != nil {
		return err
	}
	if _, err := command(ctx, "cp", plainCopy, f.Path, p.store).output(); err != nil {
		return err
	}
	unix.Sync()
	if cold {
		if err := dropCaches(); err != nil {
			return err
		}
	} else {
		for _, path := range []string{p.store, p.result} {
			if err := readAll(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.settle):
		return nil
	}
}

func readAll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// keep checks what a contestant made, outside of the timing.
func (b *bench) keep(ctx context.Context, results *fileResults, c contestant, p place) error {
	name := c.steps[len(c.steps)-1].row
	if name == rowFloor {
		return nil // a copy of what was checked
	}
	if err := b.check(ctx, results.file, p.store); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var size unix.Stat_t
	if err := unix.Stat(p.store, &size); err != nil {
		return err
	}
	for _, s := range c.steps {
		if r := results.row(s.row); r != nil {
			r.ResultBytes, r.ResultAllocatedBytes = size.Size, size.Blocks*512
		}
	}
	if name != rowWring {
		return nil
	}
	if _, err := os.Stat(p.result); err == nil {
		return nil
	}
	return os.Rename(p.store, p.result)
}
