package compaction_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"logs/a.db", "logs/b.db", "logs/notes.txt", "logs/.a.db.wring.lock", "logs/.a.db.wring-12ab.tmp", "logs/.hidden.db",
		"logs/x/main.db", "logs/y/main.db",
		"tables/one/CURRENT", "tables/one/.wring.lock", "tables/two/CURRENT", "tables/.one.wring-34cd.tmp/CURRENT",
	} {
		write(t, filepath.Join(dir, name))
	}
	for link, to := range map[string]string{"logs/current.db": "a.db", "tables/latest": "two"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "logs/pipe.db"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		glob string
		want []string
	}{
		{"logs/*.db", []string{"s/.hidden.db", "s/a.db", "s/b.db"}},
		{"logs/*/main.db", []string{"s/x/main.db", "s/y/main.db"}},
		{"*/a.db", []string{"s/logs/a.db"}},
		{"logs/.*", []string{"s/.hidden.db"}},
		{"logs/a.db", []string{"s/a.db"}},
		{"tables/*", []string{"s/one", "s/two"}},
		{"tables/*/CURRENT", []string{"s/latest/CURRENT", "s/one/CURRENT", "s/two/CURRENT"}},
		{"tables/*/.*", nil},
		{"logs/*.sqlite", nil},
		{"logs/*/*/main.db", nil},
	} {
		stores, err := compaction.Expand(config.Store{Name: "s", Plugin: "fake", Group: "g", Glob: filepath.Join(dir, test.glob)})
		if err != nil {
			t.Errorf("%s: %v", test.glob, err)
		}
		var names []string
		for _, s := range stores {
			names = append(names, s.Name)
			if s.Glob != "" || s.Plugin != "fake" || s.Group != "g" {
				t.Errorf("%s: %+v is not configured as its pattern", test.glob, s)
			}
			if _, err := os.Stat(s.Path); err != nil {
				t.Errorf("%s: %v", test.glob, err)
			}
		}
		if !slices.Equal(names, test.want) {
			t.Errorf("%s: got %v, want %v", test.glob, names, test.want)
		}
	}
	if _, err := compaction.Expand(config.Store{Name: "s", Glob: "/["}); err == nil {
		t.Error("a broken pattern was taken")
	}
	if stores, err := compaction.Expand(config.Store{Name: "s", Path: "/a"}); err != nil || len(stores) != 1 || stores[0].Name != "s" {
		t.Errorf("a store that is no pattern: %v (%v)", stores, err)
	}
}

// A pattern is looked up anew for each run; each file has a history of its own.
func TestPattern(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		logs := newStore("logs", "")
		logs.Glob = filepath.Join(w.dir, "logs", "*.db")
		b := &backend{fragmentation: func(_ int, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
			if strings.HasSuffix(req.Store.Name, "going.db") {
				// Removed between its discovery and its turn.
				if err := os.Remove(req.Store.Path); err != nil {
					t.Error(err)
				}
				return sdk.Fragmentation{}, errNoSuchFile
			}
			return fragmented, nil
		}}
		w.clients.other = sdk.Guard(b)

		outcomes := func(run history.Run) (got []string) {
			for _, r := range run.Results {
				got = append(got, r.Store+" "+string(r.Outcome)+" "+r.Code)
				if r.Store != "logs" && r.Configured != "logs" {
					t.Errorf("%s does not say what it was configured by", r.Store)
				}
			}
			return got
		}
		for _, step := range []struct {
			change func()
			want   []string
		}{
			{func() {}, []string{"logs failed error"}},
			{func() { _ = os.Mkdir(w.dir+"/logs", 0o700) }, []string{"logs skipped no_files"}},
			{func() { write(t, w.dir+"/logs/a.db"); write(t, w.dir+"/logs/going.db") }, []string{
				"logs/a.db compacted worthwhile", "logs/going.db skipped vanished",
			}},
			{func() { write(t, w.dir+"/logs/b.db") }, []string{"logs/a.db skipped min_gap", "logs/b.db compacted worthwhile"}},
			{func() { _ = os.Remove(w.dir + "/logs/a.db") }, []string{"logs/b.db skipped min_gap"}},
		} {
			step.change()
			if got := outcomes(w.run(logs)); !slices.Equal(got, step.want) {
				t.Errorf("got %v, want %v", got, step.want)
			}
		}
		if results, err := w.history.Results("logs/a.db", 0); err != nil || len(results) != 2 {
			t.Errorf("results of a file: %v (%v)", results, err)
		}
		results, err := w.history.Results("logs", 0)
		if err != nil || len(results) != 5 || results[1].Reason != "2 files: 1 compacted, 1 skipped" {
			t.Errorf("results of the pattern: %+v (%v)", results, err)
		}
		broken := newStore("broken", "")
		broken.Glob = "/["
		if r := w.run(broken).Results[0]; r.Outcome != history.Failed || r.Error == "" {
			t.Errorf("a broken pattern: %+v", r)
		}
	})
}

// A pattern stands for the file of it that is being compacted.
func TestPatternAtWork(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		logs := newStore("logs", "")
		logs.Glob = filepath.Join(w.dir, "logs", "*.db")
		write(t, w.dir+"/logs/a.db")
		write(t, w.dir+"/logs/b.db")
		w.clients.other = sdk.Guard(&backend{
			compact: func(ctx context.Context, _ int, _ sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
				report(sdk.Progress{Phase: "copy", Done: 3})
				return waitForCancel(ctx)
			},
		})
		var run history.Run
		var running sync.WaitGroup
		running.Go(func() { run = w.run(logs) })
		synctest.Wait()
		if active := w.runner.Active(); len(active) != 2 || active["logs/a.db"].Done != 3 || active["logs"].Done != 3 {
			t.Errorf("active: %v", active)
		}
		if n, err := w.runner.Cancel(t.Context(), "logs"); n != 2 || err != nil {
			t.Errorf("cancelled %d (%v)", n, err)
		}
		running.Wait()
		if run.Results[0].Code != history.CodeCancelled || run.Results[1].Code != history.CodeNotReached {
			t.Errorf("got %+v", run.Results)
		}
	})
}

func TestPlan(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		limited := w.store("limited", &backend{})
		limited.LimitBytesPerSecond = mib
		owner := newStore("queue", "")
		owner.Plugin, owner.Owner = "", "/run/app.sock"
		logs := newStore("logs", "")
		logs.Glob = filepath.Join(w.dir, "logs", "*.log")
		none := logs
		none.Name, none.Glob = "none", w.dir+"/logs/*.none"
		nowhere := logs
		nowhere.Name, nowhere.Glob = "nowhere", w.dir+"/nowhere/*"
		write(t, w.dir+"/logs/1.log")
		write(t, w.dir+"/logs/2.log")
		w.clients.other = sdk.Guard(&backend{})
		w.clients.acquire = func(_ int, store string) error {
			switch store {
			case "queue":
				return errOwnerAway
			case "oops":
				panic("oops")
			}
			return nil
		}
		worth := &backend{}
		stores := []config.Store{
			w.store("worth", worth), w.store("dense", &backend{fragmentation: measures(dense)}),
			w.store("broken", &backend{fragmentation: measures(errCorrupt)}), w.store("locked", &backend{fragmentation: measures(errBusy)}),
			limited, owner, logs, none, nowhere, w.store("oops", &backend{}),
		}
		plans, err := w.runner.Plan(t.Context(), stores)
		if err != nil {
			t.Fatal(err)
		}
		want := []struct{ store, configured, action, code, reason, warning string }{
			{"worth", "worth", "compact", "worthwhile", "12.0 MiB of 20.0 MiB", ""},
			{"dense", "dense", "skip", "below_ratio", "below", ""},
			{"broken", "broken", "error", history.CodeError, "meta pages", ""},
			{"locked", "locked", "defer", history.CodeLocked, "process 12", ""},
			{"limited", "limited", "compact", "worthwhile", "", "cannot limit its rate"},
			{"queue", "queue", "defer", history.CodeOwnerAway, "/run/app.sock", ""},
			{"logs/1.log", "logs", "compact", "worthwhile", "", ""},
			{"logs/2.log", "logs", "compact", "worthwhile", "", ""},
			{"none", "none", "skip", history.CodeNoFiles, "/logs/*.none", ""},
			{"nowhere", "nowhere", "error", history.CodeError, "no such file or directory", ""},
			{"oops", "oops", "error", history.CodeError, "oops", ""},
		}
		if len(plans) != len(want) {
			t.Fatalf("%d plans, want %d", len(plans), len(want))
		}
		for i, p := range plans {
			w := want[i]
			if p.Store != w.store || p.Configured != w.configured || p.Action != w.action || p.Code != w.code || !strings.Contains(p.Reason, w.reason) {
				t.Errorf("plan is %+v, want %+v", p, w)
			}
			if got := strings.Join(p.Warnings, "; "); (w.warning == "") != (got == "") || !strings.Contains(got, w.warning) {
				t.Errorf("%s: warnings are %q, want %q", p.Store, got, w.warning)
			}
			if (p.Action == "error") != (p.Error != "" && p.Action == "error") {
				t.Errorf("%s: no error in %+v", p.Store, p)
			}
		}
		if p := plans[0]; p.Mode != "rewrite" || p.Engine != "Fake" || p.Plugin != "fake" || p.Path != stores[0].Path ||
			p.AllocatedBytes != 20*mib || p.PredictedBytes != 12*mib || p.Ratio != 0.6 {
			t.Errorf("plan is %+v", p)
		}
		if plans[2].Hint != "restore a backup" {
			t.Errorf("plan is %+v", plans[2])
		}
		if calls := worth.called(); !slices.Equal(calls, []string{"measure"}) {
			t.Errorf("planning called for %v", calls)
		}
		if len(w.events.events) != 0 || w.past("worth") != (history.Past{}) {
			t.Error("planning left a trace")
		}
		document, err := json.Marshal(plans[0])
		if err != nil || !strings.Contains(string(document), `"predicted_bytes":12582912`) {
			t.Errorf("as JSON: %s (%v)", document, err)
		}
	})
}

// The plan of a store is what the run then does.
func TestPlanIsKept(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		closed := w.store("closed", &backend{})
		closed.Schedule = weekend
		w.failures("quarantined", 5)
		stores := []config.Store{w.store("worth", &backend{}), w.store("dense", &backend{fragmentation: measures(dense)}), closed, w.store("quarantined", &backend{})}
		plans, err := w.runner.Plan(t.Context(), stores)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range w.run(stores...).Results {
			if r.Code != plans[i].Code || r.Reason != plans[i].Reason {
				t.Errorf("planned %s: %s\ndone %s: %s", plans[i].Code, plans[i].Reason, r.Code, r.Reason)
			}
		}
	})
}

// chooses is a backend that says what it would do.
func chooses() *backend {
	f := fragmented
	f.Mode, f.Note = "rewrite", "there is room"
	return &backend{fragmentation: measures(f)}
}

// The plan, the measurement before it and the run are for the mode that is
// configured.
func TestPlanSaysTheMode(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var measured, compacted []string
		b := &backend{
			fragmentation: func(_ int, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
				measured = append(measured, req.Mode)
				f := fragmented
				if req.Mode == "auto" {
					f.Mode, f.Note = "punch", "there is no room"
				}
				return f, nil
			},
			compact: func(_ context.Context, _ int, req sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
				compacted = append(compacted, req.Mode)
				result := success
				result.Mode = "punch"
				return result, nil
			},
		}
		auto, plain := w.store("auto", &backend{}), w.store("plain", &backend{})
		w.clients.backends["auto"], w.clients.backends["plain"] = b, b // not guarded, which would know no such modes
		auto.Mode = "auto"
		plans, err := w.runner.Plan(t.Context(), []config.Store{auto, plain})
		if err != nil {
			t.Fatal(err)
		}
		if p := plans[0]; p.Mode != "punch" || p.ModeReason != "there is no room" {
			t.Errorf("auto: mode %q: %s", p.Mode, p.ModeReason)
		}
		if p := plans[1]; p.Mode != "rewrite" || p.ModeReason != "" {
			t.Errorf("plain: mode %q: %s", p.Mode, p.ModeReason)
		}
		if r := w.run(auto).Results[0]; r.Mode != "punch" {
			t.Errorf("result: %+v", r)
		}
		if !slices.Equal(measured, []string{"auto", "", "auto"}) || !slices.Equal(compacted, []string{"auto"}) {
			t.Errorf("measured for %q, compacted with %q", measured, compacted)
		}
	})
}

func TestInspect(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var depth sdk.Depth
		b := &backend{fragmentation: func(_ int, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
			depth = req.Depth
			if req.Mode != "rewrite" {
				t.Errorf("measured for mode %q", req.Mode)
			}
			f := fragmented
			f.Map = []uint8{0, 100, 50}
			f.Layers = []sdk.MapLayer{{Name: "L0", Bytes: 9, Cells: []sdk.MapCell{{Bytes: 2, Tombstones: 90, Live: 10}, {Bytes: 7, Live: 60, Garbage: 30}}}}
			return f, nil
		}}
		store := w.store("a", b)
		got, err := w.runner.Inspect(t.Context(), store, sdk.DepthExact)
		if err != nil || depth != sdk.DepthExact {
			t.Fatalf("depth %s, error %v", depth, err)
		}
		document, err := json.Marshal(got)
		want := `{"store":"a","plugin":"fake","engine":"Fake","path":"` + store.Path + `","total_bytes":25165824,"allocated_bytes":20971520,` +
			`"live_bytes":8388608,"reclaimable_bytes":12582912,"ratio":0.6,"method":"sampled","metrics":{},"map":[0,100,50],` +
			`"layers":[{"name":"L0","bytes":9,"cell_bytes":[2,7],"live_percent":[10,60],"garbage_percent":[0,30],"tombstone_percent":[90,0]}]}`
		if err != nil || string(document) != want {
			t.Errorf("got  %s (%v)\nwant %s", document, err, want)
		}
		got, err = w.runner.Inspect(t.Context(), w.store("chosen", chooses()), "")
		if err != nil || got.Mode != "rewrite" || got.Note != "there is room" {
			t.Errorf("mode %q: %s (%v)", got.Mode, got.Note, err)
		}
		if got.Layers == nil || len(got.Layers) > 0 {
			t.Errorf("layers of a store without any: %v, want an empty list", got.Layers)
		}

		if _, err := w.runner.Inspect(t.Context(), w.store("b", &backend{fragmentation: measures(errCorrupt)}), ""); !errors.Is(err, sdk.ErrCorrupt) || sdk.HintOf(err) == "" {
			t.Errorf("damaged: %v", err)
		}
		logs := newStore("logs", "")
		logs.Glob = w.dir + "/*.db"
		if _, err := w.runner.Inspect(t.Context(), logs, ""); !errors.Is(err, sdk.ErrInvalidOption) || !strings.Contains(sdk.HintOf(err), w.dir) {
			t.Errorf("pattern: %v, hint %q", err, sdk.HintOf(err))
		}
	})
}

// sweeper has something to sweep.
type sweeper struct {
	*backend
	removed []string
	err     error
}

func (s sweeper) Sweep(context.Context, sdk.Store) ([]string, error) { return s.removed, s.err }

func TestSweepAll(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		clean := w.store("clean", &backend{})
		dirty := w.store("dirty", &backend{})
		w.clients.backends["dirty"] = sdk.Guard(sweeper{backend: &backend{}, removed: []string{"/x/.dirty.wring-1.tmp"}})
		broken := w.store("broken", &backend{})
		w.clients.backends["broken"] = sdk.Guard(sweeper{backend: &backend{}, err: sdk.Errorf(sdk.ErrPermission, "no")})
		owner := newStore("queue", "")
		owner.Plugin, owner.Owner = "", "/run/app.sock"
		missing, again := newStore("missing", "/m"), newStore("again", "/n")
		missing.Plugin, again.Plugin = "none", "none"
		w.clients.acquire = func(_ int, store string) error {
			switch store {
			case "queue":
				return errOwnerAway
			case "missing", "again":
				return errUntyped
			}
			return nil
		}
		swept := w.runner.SweepAll(t.Context(), []config.Store{clean, dirty, broken, owner, missing, again})
		var got []string
		for _, s := range swept {
			got = append(got, s.Store)
		}
		if !slices.Equal(got, []string{"dirty", "broken", "missing"}) {
			t.Fatalf("swept %+v", swept)
		}
		if !slices.Equal(swept[0].Removed, []string{"/x/.dirty.wring-1.tmp"}) || !errors.Is(swept[1].Err, sdk.ErrPermission) || !errors.Is(swept[2].Err, errUntyped) {
			t.Errorf("swept %+v", swept)
		}
		if n := w.clients.byStore["again"]; n != 0 {
			t.Errorf("a plugin that cannot be reached was asked for %d times more", n)
		}
	})
}
