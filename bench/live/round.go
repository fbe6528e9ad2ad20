package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// observed is what was seen of the requests during a span of time.
type observed struct {
	span
	samples [kinds][]sample
	served  [kinds]int64
}

func between(a, b mark) observed {
	o := observed{span: span{a.at, b.at}}
	for kind := range o.served {
		o.served[kind] = b.served[kind] - a.served[kind]
	}
	return o
}

// choose keeps the samples of the span.
func (o *observed) choose(all [kinds][]sample) {
	for kind := range all {
		o.samples[kind] = o.of(all[kind])
	}
}

// round is one copy of the file, with requests made of it all the time.
type round struct {
	rest       observed // before the compaction
	compaction observed
	// pause is how long writers were held up, as the compaction tells.
	pause time.Duration
	// grown is how many bytes more of the old file have come into use meanwhile.
	grown int64
	// after is how many bytes the new file has.
	after int64
	note  string
	// gaveUp is why the compaction did, which is no failure of the store.
	gaveUp error
	phases []phase
}

// phase of a compaction begins.
type phase struct {
	name string
	at   time.Time
}

// setup is how the rounds are made.
type setup struct {
	original *original
	work     string // directory for the copies
	options  bbolt.Options
	compact  live.CompactOptions
	warm     time.Duration // with requests that do not count
	rest     time.Duration
	profile  string // file for that of the last live compaction; empty for none
}

// fresh copies the original and waits until the disk has nothing left to write.
func (s *setup) fresh() (path string, remove func(), err error) {
	path = filepath.Join(s.work, "store.db")
	if err := s.original.copyTo(path); err != nil {
		return "", nil, err
	}
	syncDisks()
	return path, func() { _ = os.Remove(path) }, nil // the directory is removed in the end
}

// liveRound compacts a store while it is in use.
func (s *setup) liveRound(ctx context.Context, d demand, seed uint64) (r round, err error) {
	path, remove, err := s.fresh()
	if err != nil {
		return r, err
	}
	defer remove()
	o := s.options
	db, err := live.Open(path, 0o600, &o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return s.observe(ctx, db, d, seed, func(r *round) error {
		var mu sync.Mutex
		compact := s.compact
		compact.Report = func(p sdk.Progress) {
			mu.Lock()
			defer mu.Unlock()
			if n := len(r.phases); n == 0 || r.phases[n-1].name != p.Phase {
				r.phases = append(r.phases, phase{p.Phase, time.Now()})
			}
		}
		stop, err := startProfile(s.profile)
		if err != nil {
			return err
		}
		result, err := db.Compact(ctx, compact)
		if err := stop(); err != nil {
			return err
		}
		if errors.Is(err, sdk.ErrBusy) {
			r.gaveUp, err = err, nil
		}
		if err != nil {
			return err
		}
		if r.gaveUp == nil && result.NoOp {
			return fmt.Errorf("nothing was compacted: %s", result.Note)
		}
		r.pause, r.note, r.after = result.Pause, result.Note, result.After.TotalBytes
		return nil
	})
}

// stoppedRound compacts a store with everybody waiting.
func (s *setup) stoppedRound(ctx context.Context, d demand, seed uint64) (r round, err error) {
	path, remove, err := s.fresh()
	if err != nil {
		return r, err
	}
	defer remove()
	o := s.options
	db, err := openStopped(path, &o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return s.observe(ctx, db, d, seed, func(r *round) error {
		began := time.Now()
		if err := db.Compact(); err != nil {
			return err
		}
		r.pause = time.Since(began)
		info, err := os.Stat(path)
		if err == nil {
			r.after = info.Size()
		}
		return err
	})
}

// observe makes requests of a store before and during a compaction.
func (s *setup) observe(ctx context.Context, db store, d demand, seed uint64, compact func(*round) error) (r round, err error) {
	l := startLoad(ctx, db, s.original, seed, d)
	var rested, began, ended mark
	err = func() error {
		if err := sleep(ctx, s.warm); err != nil {
			return err
		}
		rested = l.mark()
		if err := sleep(ctx, s.rest); err != nil {
			return err
		}
		if err := db.View(func(tx *bbolt.Tx) error {
			l.grows.watch(tx)
			return nil
		}); err != nil {
			return err
		}
		began = l.mark()
		if err := compact(&r); err != nil {
			return err
		}
		ended = l.mark()
		r.grown = l.grows.bytes()
		return l.catchUp(ctx, ended.at)
	}()
	samples, loadErr := l.stop()
	if err := errors.Join(err, loadErr); err != nil {
		return r, err
	}
	r.rest, r.compaction = between(rested, began), between(began, ended)
	r.rest.choose(samples)
	r.compaction.choose(samples)
	return r, l.verify(db)
}

// startProfile begins a profile of the processor's time, which stop ends.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
