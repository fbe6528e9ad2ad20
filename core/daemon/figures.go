package daemon

import (
	"context"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/growth"
	"github.com/wringdb/wring/core/history"
)

// How often the figures are renewed, how long after a measurement at the latest,
// and how often stores that are gone are forgotten.
const (
	figuresInterval = time.Minute
	figuresPause    = 500 * time.Millisecond
	forgetInterval  = 24 * time.Hour
)

// figures are the sizes of stores and what follows from them, kept in memory:
// whoever asks for a status waits for no disk.
type figures struct {
	history *history.DB
	logger  hclog.Logger
	// added is poked after a measurement.
	added chan struct{}

	mu sync.Mutex
	// sizes are of stores and of files of patterns, by name.
	sizes map[string]*sizes
	// places is what was found out about stores last.
	places map[string]place
	// fullAt is by device.
	fullAt map[uint64]time.Time
}

// sizes are what is known of one store, or of one file of a pattern.
type sizes struct {
	latest history.Sample
	// growth is in bytes per day, nil while it is not known.
	growth *float64
	// stale is set when growth does not count the latest sample.
	stale bool
}

// place is where a store is.
type place struct {
	// files are those of a pattern, by name.
	files map[string]place
	// onDisk says that device and free are known.
	onDisk bool
	device uint64
	free   int64
}

// figure is what is known of one store, a pattern being all its files.
type figure struct {
	latest history.Sample
	known  bool // latest is
	growth *float64
	free   *int64
	fullAt time.Time
}

func newFigures(db *history.DB, logger hclog.Logger) *figures {
	return &figures{
		history: db, logger: logger, added: make(chan struct{}, 1),
		sizes: map[string]*sizes{}, places: map[string]place{}, fullAt: map[uint64]time.Time{},
	}
}

// note takes a measurement up.
func (f *figures) note(store string, s history.Sample) {
	f.mu.Lock()
	known := f.sizes[store]
	if known == nil {
		known = &sizes{}
		f.sizes[store] = known
	}
	known.latest, known.stale = s, true
	f.mu.Unlock()
	select {
	case f.added <- struct{}{}:
	default: // one is enough
	}
}

// of returns what is known of a store.
func (f *figures) of(name string) figure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locked(name, f.places[name])
}

// full is when the disk of a store will be full, where that is known; of a
// pattern that of one of its files, since they may be on several disks.
func (f *figures) full(store, file string) (at time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.places[store]
	if p.files != nil {
		p = p.files[file]
	}
	if p.onDisk {
		at = f.fullAt[p.device]
	}
	return at, !at.IsZero()
}

// files returns what is known of each file of a pattern, by name.
func (f *figures) files(pattern string) map[string]figure {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]figure{}
	for name, p := range f.places[pattern].files {
		all[name] = f.locked(name, p)
	}
	return all
}

// locked is of, for who holds f.mu.
func (f *figures) locked(name string, p place) figure {
	var found figure
	if p.files == nil {
		if known := f.sizes[name]; known != nil {
			found.latest, found.known, found.growth = known.latest, true, known.growth
		}
		if p.onDisk {
			found.free, found.fullAt = &p.free, f.fullAt[p.device]
		}
		return found
	}
	for name, p := range p.files {
		found = found.plus(f.locked(name, p))
	}
	return found
}

// plus is two files of a pattern together. They may be on several disks: the one
// counts that is full first, or else has least room.
func (f figure) plus(other figure) figure {
	if other.known {
		f.known = true
		f.latest.TotalBytes += other.latest.TotalBytes
		f.latest.AllocatedBytes += other.latest.AllocatedBytes
		f.latest.LiveBytes += other.latest.LiveBytes
		f.latest.ReclaimableBytes += other.latest.ReclaimableBytes
		f.latest.At = later(f.latest.At, other.latest.At)
	}
	if other.growth != nil {
		sum := *other.growth
		if f.growth != nil {
			sum += *f.growth
		}
		f.growth = &sum
	}
	sooner := !other.fullAt.IsZero() && (f.fullAt.IsZero() || other.fullAt.Before(f.fullAt))
	less := f.fullAt.IsZero() && other.free != nil && (f.free == nil || *other.free < *f.free)
	if sooner || less {
		f.free, f.fullAt = other.free, other.fullAt
	}
	return f
}

// run renews the figures until ctx ends.
func (f *figures) run(ctx context.Context, stores func() []tracked) {
	renew := time.NewTimer(0)
	defer renew.Stop()
	forget := time.NewTicker(forgetInterval)
	defer forget.Stop()
	// A file system that does not answer holds up only who looks at it: nothing is
	// looked for until it does, and nobody waits for it.
	looking := false
	looked := make(chan map[string]place, 1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.added:
			renew.Reset(figuresPause)
			continue
		case <-forget.C:
			if err := f.history.Forget(time.Now()); err != nil {
				f.logger.Warn("forgetting stores that are gone", "error", err)
			}
			continue
		case <-renew.C:
			if !looking {
				looking = true
				go func() { looked <- look(f.history, stores()) }()
			}
		case places := <-looked:
			looking = false
			f.mu.Lock()
			f.places = places
			f.mu.Unlock()
			renew.Reset(figuresInterval)
		}
		f.renew(time.Now())
	}
}

// look finds out where stores are, and how much room is there.
func look(db *history.DB, stores []tracked) map[string]place {
	places := map[string]place{}
	for _, s := range stores {
		switch {
		case s.Glob != "":
			p := place{files: map[string]place{}}
			files, err := compaction.Expand(s.Store)
			if err != nil {
				files = nil // status and history say so
			}
			for _, file := range files {
				p.files[file.Name] = placeOf(file.Path)
			}
			places[s.Name] = p
		case s.Path != "":
			places[s.Name] = placeOf(s.Path)
		default: // an owner has said, if it was asked
			places[s.Name] = place{}
			if last, err := db.Results(s.Name, 1); err == nil && len(last) == 1 && last[0].Path != s.Owner && filepath.IsAbs(last[0].Path) {
				places[s.Name] = placeOf(last[0].Path)
			}
		}
	}
	return places
}

func placeOf(path string) place {
	device, free, err := room(path)
	if err != nil {
		return place{} // not there now
	}
	return place{onDisk: true, device: device, free: free}
}

// renew works out how fast stores grow, and when their disks will be full, and
// drops what is known of stores that are gone.
func (f *figures) renew(now time.Time) {
	f.mu.Lock()
	here := map[string]place{}
	for name, p := range f.places {
		if p.files == nil {
			here[name] = p
		}
		maps.Copy(here, p.files)
	}
	var stale []string
	for name := range here {
		if known := f.sizes[name]; known == nil || known.stale {
			stale = append(stale, name)
		}
	}
	f.mu.Unlock()
	renewed := map[string]sizes{}
	for _, name := range stale {
		samples, err := f.history.Samples(name, 0)
		if err != nil {
			f.logger.Warn("reading how large a store was", "store", name, "error", err)
		}
		if len(samples) == 0 {
			continue
		}
		s := sizes{latest: samples[len(samples)-1]}
		if rate, known := growth.Rate(samples, now); known {
			s.growth = &rate
		}
		renewed[name] = s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, s := range renewed {
		known := f.sizes[name]
		if known == nil {
			f.sizes[name] = &s
			continue
		}
		known.growth = s.growth
		known.stale = s.latest.At.Before(known.latest.At) // one has come meanwhile
	}
	maps.DeleteFunc(f.sizes, func(name string, s *sizes) bool {
		_, there := here[name]
		return !there && now.Sub(s.latest.At).Abs() > 2*figuresInterval // else it may be yet to be found
	})
	f.fullAt = fullAt(now, here, f.sizes)
}

// fullAt is when each disk will be full, by all stores on it together.
func fullAt(now time.Time, here map[string]place, known map[string]*sizes) map[uint64]time.Time {
	rates, free := map[uint64]float64{}, map[uint64]int64{}
	for name, p := range here {
		if s := known[name]; p.onDisk && s != nil && s.growth != nil {
			rates[p.device] += *s.growth
			free[p.device] = p.free
		}
	}
	full := map[uint64]time.Time{}
	for device, rate := range rates {
		full[device] = growth.FullAt(now, free[device], rate)
	}
	return full
}
