package daemon

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/sdk"
)

// How often a backend is asked whether it has room to compact, where less is free
// than a rewrite of the whole store needs. It may have a way that needs less.
const (
	askAgain   = time.Hour
	askLacking = 10 * time.Minute // when it had none: it may have some again
	askTimeout = time.Minute
)

// headroom is how much must be free for a rewrite, as a share of the live bytes.
const headroom = 1.1

// disks finds out which file systems get full. It belongs to one goroutine.
type disks struct {
	host *host
	// asked are the answers of backends, by name of the store.
	asked map[string]asked
}

// asked is what a backend has said of the room that it has.
type asked struct {
	at   time.Time
	free int64 // when it was asked
	// obstacle is nil when there was room.
	obstacle *compaction.Obstacle
}

// watchDisks tells of file systems that get full: at once, every minute, and
// when a run found no room.
func (h *host) watchDisks(ctx context.Context) {
	d := disks{host: h, asked: map[string]asked{}}
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	for {
		full := d.full(ctx, time.Now())
		if ctx.Err() != nil {
			return // it may not have looked at all of them
		}
		h.notifier.ObserveDisks(full)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.lookAtDisks:
		}
	}
}

// affected is a store whose file system gets full.
type affected struct {
	store  tracked
	fullAt time.Time
	// obstacle is set when there is no room for its next compaction.
	obstacle *compaction.Obstacle
}

// full returns the file systems that get full within the time that their stores
// have for it.
func (d *disks) full(ctx context.Context, now time.Time) []notify.Disk {
	mounts := mountTable{}
	byMount := map[string][]affected{}
	free := map[string]int64{}
	for _, s := range d.host.trackedNow() {
		for _, one := range d.host.onDisk(s) {
			if ctx.Err() != nil {
				return nil
			}
			mount, bytes, err := mounts.of(one.Path)
			if err != nil {
				continue // it is not there, as its backend will say
			}
			if a, ok := d.look(ctx, s, one, bytes, now); ok {
				byMount[mount] = append(byMount[mount], a)
				free[mount] = bytes
			}
		}
	}
	var full []notify.Disk
	for mount, stores := range byMount {
		full = append(full, diskOf(mount, free[mount], stores))
	}
	slices.SortFunc(full, func(a, b notify.Disk) int { return cmp.Compare(a.Mount, b.Mount) })
	return full
}

// look says whether the file system of a store gets full, with so many bytes
// free.
func (d *disks) look(ctx context.Context, s tracked, one config.Store, free int64, now time.Time) (affected, bool) {
	if obstacle := d.obstacle(ctx, one, free, now); obstacle != nil {
		return affected{store: s, fullAt: now, obstacle: obstacle}, true
	}
	if d.host.growth == nil {
		return affected{}, false
	}
	fullAt, ok := d.host.growth(s.Name, one.Name)
	return affected{store: s, fullAt: fullAt}, ok && fullAt.Before(now.Add(s.DiskFullWithin))
}

// obstacle is why there is no room for the next compaction of a store, nil where
// there is. Its backend is asked where there may be none.
func (d *disks) obstacle(ctx context.Context, s config.Store, free int64, now time.Time) *compaction.Obstacle {
	last := d.host.lastResult(s.Name)
	if last == nil {
		return nil // nobody knows how large it is
	}
	lacked := last.Code == history.CodeNoSpace
	if !lacked && float64(free) >= headroom*float64(d.host.liveBytes(*last)) {
		delete(d.asked, s.Name)
		return nil
	}
	before, known := d.asked[s.Name]
	again := askAgain
	if before.obstacle != nil {
		again = askLacking
	}
	if known && now.Sub(before.at) < again && free >= before.free*9/10 && !last.FinishedAt.After(before.at) {
		return before.obstacle
	}
	if _, active := d.host.runner.Active()[s.Name]; active {
		return before.obstacle // what it needs it has taken
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	inspection, err := d.host.runner.Inspect(ctx, s, sdk.DepthQuick)
	if err != nil {
		return before.obstacle
	}
	answer := asked{at: now, free: free}
	if o := inspection.Obstacle; o != nil && o.Code == history.CodeNoSpace {
		answer.obstacle = o
	}
	d.asked[s.Name] = answer
	return answer.obstacle
}

// liveBytes is how large a store was, at most, without what can be given back, when
// it was last measured; 0 where it never was.
func (h *host) liveBytes(last history.Result) int64 {
	if last.TotalBytesBefore > 0 {
		return liveBytes(last)
	}
	results, _ := h.history.Results(last.Store, 0) // one that cannot be read says nothing either
	for _, r := range results {
		if r.TotalBytesBefore > 0 {
			return liveBytes(r)
		}
	}
	return 0
}

func liveBytes(last history.Result) int64 {
	switch last.Outcome {
	case history.Compacted, history.NoOp:
		return last.TotalBytesAfter
	default:
		return max(last.TotalBytesBefore-last.PredictedBytes, 0)
	}
}

// onDisk are the stores of a line in the timetable, with the paths that they have
// on this machine.
func (h *host) onDisk(s tracked) []config.Store {
	switch {
	case s.away:
		return nil
	case s.Owner != "":
		last := h.lastResult(s.Name)
		if last == nil {
			return nil
		}
		one := s.Store
		one.Path = last.Path // as its owner calls it, who may see another machine
		return []config.Store{one}
	default:
		files, _ := compaction.Expand(s.Store) // what cannot be found is told by runs
		return files
	}
}

// diskOf is what is told of a file system: the stores that it matters to, those
// without room first.
func diskOf(mount string, free int64, stores []affected) notify.Disk {
	slices.SortStableFunc(stores, func(a, b affected) int { return a.fullAt.Compare(b.fullAt) })
	d := notify.Disk{Mount: mount, FreeBytes: free, FullAt: stores[0].fullAt}
	if o := stores[0].obstacle; o != nil {
		d.Reason, d.Hint = o.Error, o.Hint
	}
	for _, a := range stores {
		if !slices.Contains(d.Stores, a.store.Name) {
			d.Stores = append(d.Stores, a.store.Name)
			d.Configured = append(d.Configured, a.store.FoundBy)
		}
	}
	return d
}

// mountTable finds mounts and what is free there, looking at each file system once.
type mountTable map[uint64]mounted

type mounted struct {
	at   string
	free int64
}

// of returns where the file system of a path is mounted, and how many bytes the
// host may still allocate on it.
func (t mountTable) of(path string) (mount string, free int64, err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", 0, err
	}
	device, err := deviceOf(path)
	if err != nil {
		return "", 0, err
	}
	if m, ok := t[device]; ok {
		return m.at, m.free, nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	m := mounted{at: rootOf(path, device), free: int64(fs.Bavail) * int64(fs.Bsize)} //nolint:unconvert // the types differ between systems
	t[device] = m
	return m.at, m.free, nil
}

// rootOf is the highest directory above a path that is on the same device.
func rootOf(path string, device uint64) string {
	parent := filepath.Dir(path)
	if above, err := deviceOf(parent); err != nil || above != device || parent == path {
		return path
	}
	return rootOf(parent, device)
}

func deviceOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, &os.PathError{Op: "stat", Path: path, Err: syscall.ENOTSUP}
	}
	return uint64(stat.Dev), nil //nolint:unconvert // the types differ between systems
}
