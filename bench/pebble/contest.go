package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// contest lets both compact copies of one store.
type contest struct {
	ctx      context.Context
	original string
	work     string
	progress io.Writer
}

// side is one of the two.
type side interface {
	name() string
	// compact works on the store until it is done and closed. It calls busy once
	// it has begun to write tables.
	compact(ctx context.Context, path string, busy func()) (done, error)
}

// done is what a side has done.
type done struct {
	written int64
	// verifying is how long it did nothing but compare content in the end.
	verifying time.Duration
}

// storeResult is what was found of a store.
type storeResult struct {
	Name      string       `json:"name"`
	Allocated int64        `json:"allocated_bytes"`
	Quick     foretold     `json:"quick"`
	Sampled   foretold     `json:"sampled"`
	Sides     []sideResult `json:"sides"`
}

// foretold is a measurement beforehand.
type foretold struct {
	Reclaimable int64   `json:"reclaimable_bytes"`
	Read        int64   `json:"read_bytes"`
	TookMS      float64 `json:"took_ms"`
}

// sideResult has medians.
type sideResult struct {
	Name      string  `json:"name"`
	TookMS    float64 `json:"took_ms"`
	VerifyMS  float64 `json:"verify_ms"` // of the time; at the end, when nothing else goes on
	LeastMS   float64 `json:"least_ms"`
	MostMS    float64 `json:"most_ms"`
	Written   int64   `json:"written_bytes"`
	Reclaimed int64   `json:"reclaimed_bytes"`
	Extra     int64   `json:"extra_disk_bytes"`
	CancelMS  float64 `json:"cancel_ms"` // negative where it had ended before
}

func (c *contest) run(name string, rounds int) (storeResult, error) {
	before, err := allocated(c.original)
	if err != nil {
		return storeResult{}, err
	}
	digest, _, err := c.digest(c.original)
	if err != nil {
		return storeResult{}, err
	}
	result := storeResult{Name: name, Allocated: before}
	for depth, into := range map[sdk.Depth]*foretold{sdk.DepthQuick: &result.Quick, sdk.DepthSampled: &result.Sampled} {
		if *into, err = measure(c.ctx, c.original, depth); err != nil {
			return result, err
		}
	}
	sides := []side{wring{}, whole{}}
	took := make([]sample, len(sides))
	result.Sides = make([]sideResult, len(sides))
	for round := range rounds + 1 {
		for i, s := range sides {
			fmt.Fprintf(c.progress, "%s: round %d of %d, %s\n", name, round, rounds, s.name())
			one, err := c.one(s, before, digest)
			if err != nil {
				return result, fmt.Errorf("%s: %w", s.name(), err)
			}
			if round == 0 {
				continue // does not count
			}
			took[i] = append(took[i], one.TookMS)
			result.Sides[i] = one
		}
	}
	for i, s := range sides {
		r := &result.Sides[i]
		r.TookMS, r.LeastMS, r.MostMS = took[i].median(), took[i].least(), took[i].most()
		if r.CancelMS, err = c.cancelled(s, digest); err != nil {
			return result, fmt.Errorf("%s, cancelled: %w", s.name(), err)
		}
	}
	return result, nil
}

// one compacts a fresh copy.
func (c *contest) one(s side, before int64, digest string) (sideResult, error) {
	path, err := c.copy()
	if err != nil {
		return sideResult{}, err
	}
	defer os.RemoveAll(path)
	settle()
	peak := watchDisk(path)
	began := time.Now()
	work, err := s.compact(c.ctx, path, func() {})
	took := time.Since(began)
	extra := max(0, peak()-before)
	if err != nil {
		return sideResult{}, err
	}
	after, err := allocated(path)
	if err != nil {
		return sideResult{}, err
	}
	if got, _, err := c.digest(path); err != nil || got != digest {
		return sideResult{}, fmt.Errorf("the content is another one (error %w)", err)
	}
	return sideResult{Name: s.name(), TookMS: ms(took), VerifyMS: ms(work.verifying), Written: work.written, Reclaimed: before - after, Extra: extra}, nil
}

// cancelled says how long the end takes of a compaction that is cancelled while it
// writes.
func (c *contest) cancelled(s side, digest string) (float64, error) {
	path, err := c.copy()
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(path)
	settle()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	var at time.Time
	_, err = s.compact(ctx, path, func() {
		if at.IsZero() {
			at = time.Now()
			cancel()
		}
	})
	took := -1.0
	switch {
	case err == nil: // it had nothing to do, or was done already
	case errors.Is(err, context.Canceled), errors.Is(err, sdk.ErrCancelled):
		took = ms(time.Since(at))
	default:
		return 0, err
	}
	if got, _, err := c.digest(path); err != nil || got != digest {
		return 0, fmt.Errorf("the content is another one (error %w)", err)
	}
	return took, nil
}

func (c *contest) copy() (string, error) {
	path, err := os.MkdirTemp(c.work, "store-")
	if err != nil {
		return "", err
	}
	return path, os.CopyFS(path, os.DirFS(c.original))
}

// digest reads a store as it is by now; what it leaves in the directory would be
// counted, so it is a copy where that matters.
func (c *contest) digest(path string) (string, int, error) {
	return pebbletest.Digest(path, nil)
}

// watchDisk returns a function that ends it and says how much the directory has
// held at the most.
func watchDisk(path string) func() int64 {
	quit, most := make(chan struct{}), make(chan int64, 1)
	go func() {
		var peak int64
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				most <- peak
				return
			case <-ticker.C:
				if now, err := allocated(path); err == nil {
					peak = max(peak, now)
				}
			}
		}
	}()
	return func() int64 {
		close(quit)
		return <-most
	}
}

// allocated is what the files of a directory have on the disk, in bytes.
func allocated(path string) (sum int64, err error) {
	entries, err := os.ReadDir(path)
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(path, entry.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			return 0, err
		default:
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += stat.Blocks * 512
			}
		}
	}
	return sum, err
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
