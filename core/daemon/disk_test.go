package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
)

// growing is a host whose stores' disks will be full at known times.
func growing(t *testing.T, times map[string]time.Time) *host {
	db := history.NewMemory(0)
	dir := t.TempDir()
	h := &host{history: db, growth: func(_, file string) (time.Time, bool) {
		at, ok := times[file]
		return at, ok
	}}
	for _, name := range []string{"a", "b", "c"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		h.tracked = append(h.tracked, tracked{Store: config.Store{Name: name, Path: path, DiskFullWithin: 3 * 24 * time.Hour}})
	}
	return h
}

func TestDisksThatGetFull(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		times map[string]time.Time
		want  []string // stores
	}{
		"nobody knows": {nil, nil},
		"not soon":     {map[string]time.Time{"a": now.Add(4 * day)}, nil},
		"soon":         {map[string]time.Time{"a": now.Add(4 * day), "b": now.Add(2 * day)}, []string{"b"}},
		"the soonest":  {map[string]time.Time{"a": now.Add(2 * day), "b": now.Add(day), "c": now.Add(3*day - time.Hour)}, []string{"b", "a", "c"}},
	} {
		d := disks{host: growing(t, c.times), asked: map[string]asked{}}
		full := d.full(t.Context(), now)
		switch {
		case len(c.want) == 0 && len(full) == 0:
		case len(full) != 1 || !slices.Equal(full[0].Stores, c.want) || !full[0].FullAt.Equal(c.times[c.want[0]]):
			t.Errorf("%s: %+v, want those of one disk: %q", name, full, c.want)
		}
	}
}

// The files of a pattern may be on several disks, of which one gets full.
func TestDiskOfOneFileOfAPattern(t *testing.T) {
	now := time.Now()
	f := newFigures(history.NewMemory(0), nil)
	f.places["logs"] = place{files: map[string]place{
		"logs/a": {onDisk: true, device: 1}, "logs/b": {onDisk: true, device: 2}, "logs/gone": {},
	}}
	f.places["one"] = place{onDisk: true, device: 1}
	f.fullAt = map[uint64]time.Time{1: now.Add(time.Hour)}
	for _, c := range []struct {
		store, file string
		want        bool
	}{{"logs", "logs/a", true}, {"logs", "logs/b", false}, {"logs", "logs/gone", false}, {"logs", "logs/new", false}, {"one", "one", true}, {"other", "other", false}} {
		if at, known := f.full(c.store, c.file); known != c.want || known && !at.Equal(now.Add(time.Hour)) {
			t.Errorf("the disk of %s is full at %v, %v", c.file, at, known)
		}
	}

	dir := t.TempDir()
	for _, name := range []string{"a.db", "b.db"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := growing(t, nil)
	logs := config.Store{Name: "logs", Glob: filepath.Join(dir, "*.db"), DiskFullWithin: 3 * 24 * time.Hour}
	h.tracked = []tracked{{Store: logs}}
	var asked []string
	h.growth = func(store, file string) (time.Time, bool) {
		asked = append(asked, store+" "+file)
		return time.Time{}, false
	}
	d := disks{host: h}
	if full := d.full(t.Context(), now); len(full) != 0 {
		t.Errorf("full are %+v", full)
	}
	if want := []string{"logs logs/a.db", "logs logs/b.db"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestMountOfAPath(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/proc/self", link); err != nil {
		t.Fatal(err)
	}
	mounts := mountTable{}
	at, free, err := mounts.of(dir)
	var fs unix.Statfs_t
	if err == nil {
		err = unix.Statfs(at, &fs)
	}
	here, hereErr := deviceOf(dir)
	there, thereErr := deviceOf(at)
	if err != nil || hereErr != nil || thereErr != nil || here != there || free <= 0 {
		t.Errorf("%s is on %s with %d free: %v", dir, at, free, err)
	}
	if above, err := deviceOf(filepath.Dir(at)); at != "/" && (err != nil || above == here) {
		t.Errorf("%s is not where its file system begins", at)
	}
	if _, err := os.Stat("/proc/self"); err == nil { // macOS has none
		if at, _, err := mounts.of(link); at != "/proc" || err != nil {
			t.Errorf("what a link leads to is on %q, %v; want /proc", at, err)
		}
	}
	if _, _, err := mounts.of(filepath.Join(dir, "nothing")); err == nil {
		t.Error("nothing is on a file system")
	}
}

func TestLiveBytes(t *testing.T) {
	for want, r := range map[int64]history.Result{
		60: {Outcome: history.Skipped, TotalBytesBefore: 100, TotalBytesAfter: 100, PredictedBytes: 40},
		40: {Outcome: history.Compacted, TotalBytesBefore: 100, TotalBytesAfter: 40, PredictedBytes: 50},
		0:  {Outcome: history.Failed, TotalBytesBefore: 10, PredictedBytes: 20},
	} {
		if got := liveBytes(r); got != want {
			t.Errorf("of %+v %d are live, want %d", r, got, want)
		}
	}
}

// A store that was locked the last times is as large as it was before.
func TestLiveBytesOfAStoreThatCouldNotBeMeasured(t *testing.T) {
	h := &host{history: history.NewMemory(0)}
	locked := history.Result{Store: "a", Outcome: history.Deferred, Code: history.CodeLocked}
	if got := h.liveBytes(locked); got != 0 {
		t.Errorf("of a store that nobody has measured %d bytes are live", got)
	}
	for i, r := range []history.Result{{Store: "a", Outcome: history.Skipped, TotalBytesBefore: 100, PredictedBytes: 40}, locked, locked} {
		r.Run = string(rune('a' + i))
		if err := h.history.AddRun(history.Run{ID: r.Run, Results: []history.Result{r}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.liveBytes(locked); got != 60 {
		t.Errorf("%d bytes are live, want the 60 that were measured last", got)
	}
}

// The store that has no room comes first, whatever else is on its disk.
func TestDiskOf(t *testing.T) {
	now := time.Now()
	store := func(name, by string) tracked { return tracked{Store: config.Store{Name: name, FoundBy: by}} }
	d := diskOf("/srv", 5, []affected{
		{store: store("a", ""), fullAt: now.Add(time.Hour)},
		{store: store("logs", ""), fullAt: now, obstacle: &compaction.Obstacle{Error: "no room", Hint: "make some"}},
		{store: store("logs", ""), fullAt: now, obstacle: &compaction.Obstacle{Error: "none either"}},
		{store: store("apps/x", "apps"), fullAt: now.Add(2 * time.Hour)},
	})
	if !slices.Equal(d.Stores, []string{"logs", "a", "apps/x"}) || !slices.Equal(d.Configured, []string{"", "", "apps"}) ||
		d.Reason != "no room" || d.Hint != "make some" || !d.FullAt.Equal(now) || d.FreeBytes != 5 {
		t.Errorf("the disk is %+v", d)
	}
}
