package compaction_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// ends remembers which stores of a request have ended, and when.
type ends struct {
	began time.Time

	mu    sync.Mutex
	names []string
	after map[string]time.Duration
}

func newEnds() *ends { return &ends{began: time.Now(), after: map[string]time.Duration{}} }

func (e *ends) add(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.names = append(e.names, name)
	e.after[name] = time.Since(e.began)
}

// A store is said to have ended when its own turn has, and can run again then.
func TestEnded(t *testing.T) {
	inBubble(t, compaction.Config{MaxParallel: 4}, func(t *testing.T, w *world) {
		takes := func(d time.Duration) *backend {
			return &backend{compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
				time.Sleep(d)
				return success, nil
			}}
		}
		logs := newStore("logs", "")
		logs.Glob = filepath.Join(w.dir, "logs", "*.db")
		write(t, w.dir+"/logs/a.db")
		write(t, w.dir+"/logs/b.db")
		w.clients.backends["logs/a.db"] = sdk.Guard(takes(3 * time.Minute))
		w.clients.backends["logs/b.db"] = sdk.Guard(takes(time.Minute))
		file, ok := compaction.Resolve([]config.Store{logs}, "logs/a.db")
		if !ok {
			t.Fatal("a file of the pattern is not known by its name")
		}
		broken := newStore("broken", "")
		broken.Glob = "/["
		quick := w.store("quick", takes(2*time.Minute))
		got := newEnds()
		again := make(chan history.Run, 1)
		run := w.request(t.Context(), compaction.Request{
			Stores: []config.Store{quick, file, logs, broken, quick, w.store("slow", takes(4*time.Minute))},
			Ended: func(name string) {
				got.add(name)
				if name == "quick" {
					again <- w.request(t.Context(), compaction.Request{Stores: []config.Store{quick}})
				}
				if name == "broken" {
					panic("the listener is broken")
				}
			},
		})
		if want := []string{"broken", "quick", "logs/a.db", "logs", "slow"}; !slices.Equal(got.names, want) {
			t.Errorf("ended: %v, want %v", got.names, want)
		}
		for name, want := range map[string]time.Duration{"broken": 0, "quick": 2 * time.Minute, "logs": 3 * time.Minute, "slow": 4 * time.Minute} {
			if got.after[name] != want {
				t.Errorf("%s ended after %s, want %s", name, got.after[name], want)
			}
		}
		if len(run.Results) != 5 {
			t.Errorf("%d results: %+v", len(run.Results), run.Results)
		}
		if r := (<-again).Results[0]; r.Code == history.CodeAlreadyRunning {
			t.Errorf("run again when it had ended: %s", r.Reason)
		}
	})
}

// Stores that are never reached end too.
func TestEndedWhenCancelled(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := newEnds()
		w.request(ctx, compaction.Request{
			Stores: []config.Store{w.store("a", &backend{}), w.store("b", &backend{})}, Ended: got.add,
		})
		if slices.Sort(got.names); !slices.Equal(got.names, []string{"a", "b"}) {
			t.Errorf("ended: %v", got.names)
		}
	})
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/logs/a.db")
	write(t, dir+"/logs/notes.txt")
	stores := []config.Store{
		{Name: "log", Plugin: "fake", Path: dir + "/log.db"},
		{Name: "logs", Plugin: "fake", Group: "g", Glob: dir + "/logs/*.db"},
		{Name: "broken", Glob: "/["},
	}
	for name, want := range map[string]config.Store{
		"log":       stores[0],
		"logs":      stores[1],
		"logs/a.db": {Name: "logs/a.db", Plugin: "fake", Group: "g", Path: dir + "/logs/a.db"},
	} {
		got, ok := compaction.Resolve(stores, name)
		if !ok || got.Name != want.Name || got.Path != want.Path || got.Glob != want.Glob || got.Group != want.Group || got.Plugin != want.Plugin {
			t.Errorf("%s is %+v (%t), want %+v", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "lo", "logs/", "logs/b.db", "logs/notes.txt", "log/a.db", "broken/x", dir + "/logs/a.db"} {
		if got, ok := compaction.Resolve(stores, name); ok {
			t.Errorf("%q is %+v", name, got)
		}
	}
}

// One file of a pattern, run by itself, adds to the file's own history.
func TestResolvedFileHasItsHistory(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		logs := newStore("logs", "")
		logs.Glob = w.dir + "/logs/*.db"
		write(t, w.dir+"/logs/a.db")
		w.clients.other = sdk.Guard(&backend{})
		w.run(logs)
		file, _ := compaction.Resolve([]config.Store{logs}, "logs/a.db")
		if r := w.run(file).Results[0]; r.Store != "logs/a.db" || r.Code != "min_gap" {
			t.Errorf("got %+v", r)
		}
		if results, err := w.history.Results("logs/a.db", 0); err != nil || len(results) != 2 {
			t.Errorf("the file has the results %+v (%v)", results, err)
		}
		if i, err := w.runner.Inspect(t.Context(), file, ""); err != nil || i.Store != "logs/a.db" {
			t.Errorf("inspected %+v (%v)", i, err)
		}
	})
}
