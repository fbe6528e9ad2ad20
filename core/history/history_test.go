package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/sdk"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerPath); path != "" {
		writeForEver(path)
	}
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// logged collects warnings.
type logged struct{ strings.Builder }

func (l *logged) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Warn, DisableTime: true})
}

func (l *logged) warnings() int { return strings.Count(l.String(), "[WARN]") }

func openAt(t *testing.T, path string, keep int) (*DB, *logged) {
	t.Helper()
	l := &logged{}
	db, err := open(path, keep, l.logger(), func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, l
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// runOf makes run number n, with one result for each store.
func runOf(n int, stores ...string) Run {
	at := noon.Add(time.Duration(n) * time.Hour)
	run := Run{ID: fmt.Sprintf("r%03d", n), Trigger: Scheduled, StartedAt: at, FinishedAt: at.Add(time.Minute)}
	for _, store := range stores {
		run.Results = append(run.Results, Result{
			Store: store, Run: run.ID, Outcome: Compacted, Attempts: 1, PredictedBytes: 10, ReclaimedBytes: 10,
			StartedAt: run.StartedAt, FinishedAt: run.FinishedAt,
		})
		run.ReclaimedBytes += 10
	}
	return run
}

// begun is the run as it is when it begins.
func begun(run Run) Run {
	run.FinishedAt, run.ReclaimedBytes = time.Time{}, 0
	results := run.Results
	run.Results = nil
	for _, r := range results {
		run.Results = append(run.Results, Result{Store: r.Store, Plugin: r.Plugin, Run: run.ID})
	}
	return run
}

func runIDs(runs []Run) (ids []string) {
	for _, run := range runs {
		ids = append(ids, run.ID)
	}
	return ids
}

func resultRuns(results []Result) (ids []string) {
	for _, r := range results {
		ids = append(ids, r.Run)
	}
	return ids
}

// eachKind runs a test on a file, on a file that is reopened before each
// question, and on memory.
func eachKind(t *testing.T, keep int, test func(t *testing.T, db func() *DB)) {
	t.Run("file", func(t *testing.T) {
		db, _ := openAt(t, filepath.Join(t.TempDir(), FileName), keep)
		test(t, func() *DB { return db })
	})
	t.Run("reopened", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), FileName)
		db, l := openAt(t, path, keep)
		test(t, func() *DB {
			check(t, db.Close())
			db, l = openAt(t, path, keep)
			if l.warnings() != 0 {
				t.Fatalf("warnings on opening a whole file:\n%s", l)
			}
			return db
		})
	})
	t.Run("memory", func(t *testing.T) {
		db := NewMemory(keep)
		test(t, func() *DB { return db })
	})
}

func TestKeepsTheLastRunsAndResults(t *testing.T) {
	eachKind(t, 3, func(t *testing.T, db func() *DB) {
		for n := range 10 {
			stores := []string{"often"}
			if n%4 == 0 {
				stores = append(stores, "seldom") // 0, 4, 8
			}
			check(t, db().AddRun(runOf(n, stores...)))
		}
		if got := runIDs(must(db().Runs(0))(t)); !slices.Equal(got, []string{"r009", "r008", "r007"}) {
			t.Errorf("runs are %v", got)
		}
		if got := runIDs(must(db().Runs(2))(t)); !slices.Equal(got, []string{"r009", "r008"}) {
			t.Errorf("the last two runs are %v", got)
		}
		if got := resultRuns(must(db().Results("often", 0))(t)); !slices.Equal(got, []string{"r009", "r008", "r007"}) {
			t.Errorf("results of often are of %v", got)
		}
		// Kept although their runs are not.
		if got := resultRuns(must(db().Results("seldom", 0))(t)); !slices.Equal(got, []string{"r008", "r004", "r000"}) {
			t.Errorf("results of seldom are of %v", got)
		}
		if got := resultRuns(must(db().Results("seldom", 1))(t)); !slices.Equal(got, []string{"r008"}) {
			t.Errorf("the last result of seldom is of %v", got)
		}
		if got := must(db().Results("never", 0))(t); len(got) != 0 {
			t.Errorf("results of a store that nobody knows: %v", got)
		}
		run := must(db().Run("r008"))(t)
		if len(run.Results) != 2 || run.ReclaimedBytes != 20 || !run.StartedAt.Equal(noon.Add(8*time.Hour)) {
			t.Errorf("r008 came back as %+v", run)
		}
		if _, err := db().Run("r000"); !errors.Is(err, sdk.ErrNotFound) || sdk.HintOf(err) == "" {
			t.Errorf("run that is no longer kept: %v", err)
		}
		pasts := must(db().Pasts())(t)
		if len(pasts) != 2 || !pasts["seldom"].LastSuccessAt.Equal(noon.Add(8*time.Hour+time.Minute)) {
			t.Errorf("pasts are %+v", pasts)
		}
		if past := must(db().Past("seldom"))(t); past != pasts["seldom"] {
			t.Errorf("Past says %+v and Pasts %+v", past, pasts["seldom"])
		}
		if past := must(db().Past("never"))(t); past != (Past{}) {
			t.Errorf("past of a store that nobody knows: %+v", past)
		}
	})
}

// Results that are added at the same time are all there when the calls return,
// and one that cannot be written takes no other with it.
func TestResultsTogether(t *testing.T) {
	eachKind(t, 5, func(t *testing.T, db func() *DB) {
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("s%02d", i))
		}
		run := runOf(1, names...)
		h := db()
		check(t, h.BeginRun(begun(run)))
		var adding sync.WaitGroup
		for _, r := range run.Results {
			adding.Go(func() {
				if err := h.AddResult(r); err != nil {
					t.Error(err)
				}
				if past, err := h.Past(r.Store); err != nil || past.LastSuccessAt.IsZero() {
					t.Errorf("%s has the past %+v (%v)", r.Store, past, err)
				}
			})
		}
		if h.Path() != "" {
			adding.Go(func() {
				if err := h.AddResult(Result{Store: "x", Run: "nobody's", Outcome: Failed}); err == nil {
					t.Error("added a result of a run that was not begun")
				}
			})
		}
		adding.Wait()
		check(t, h.AddRun(run))
		for _, name := range names {
			if got := must(h.Results(name, 0))(t); len(got) != 1 {
				t.Errorf("%s has the results %v", name, got)
			}
		}
	})
}

// A result that is added while the run goes on counts once.
func TestResultsCountOnce(t *testing.T) {
	eachKind(t, 5, func(t *testing.T, db func() *DB) {
		run := runOf(1, "a", "b")
		run.Results[0].Outcome = Failed
		run.Results[1].Outcome = Failed
		h := db()
		check(t, h.BeginRun(begun(run)))
		check(t, h.BeginCompaction(run.Results[0]))
		check(t, h.AddResult(run.Results[0]))
		if got := must(h.Past("a"))(t).ConsecutiveFailures; got != 1 {
			t.Errorf("a has %d failures while the run goes on, want 1", got)
		}
		check(t, h.AddRun(run))
		for _, store := range []string{"a", "b"} {
			if got := must(h.Past(store))(t).ConsecutiveFailures; got != 1 {
				t.Errorf("%s has %d failures, want 1", store, got)
			}
			if got := must(h.Results(store, 0))(t); len(got) != 1 {
				t.Errorf("%s has the results %v, want one", store, got)
			}
		}
		if got := must(db().Runs(0))(t); len(got) != 1 || len(got[0].Results) != 2 {
			t.Errorf("runs are %+v", got)
		}
	})
}

func TestAlreadyRunningBelongsToTheRunAlone(t *testing.T) {
	eachKind(t, 5, func(t *testing.T, db func() *DB) {
		run := runOf(1, "a")
		run.Results[0].Outcome, run.Results[0].Code = Skipped, CodeAlreadyRunning
		check(t, db().AddRun(run))
		if got := must(db().Results("a", 0))(t); len(got) != 0 {
			t.Errorf("results are %v", got)
		}
		if got := must(db().Past("a"))(t); got != (Past{}) {
			t.Errorf("past is %+v", got)
		}
		if got := must(db().Runs(0))(t); len(got) != 1 || got[0].Results[0].Code != CodeAlreadyRunning {
			t.Errorf("runs are %+v", got)
		}
	})
}

func TestRefusesWhatItCannotFindAgain(t *testing.T) {
	eachKind(t, 5, func(t *testing.T, db func() *DB) {
		for name, run := range map[string]Run{
			"run without ID":       {},
			"result without store": {ID: "r", Results: []Result{{Run: "r"}}},
			"result of another":    {ID: "r", Results: []Result{{Store: "a", Run: "q"}}},
			"name too long":        {ID: "r", Results: []Result{{Store: strings.Repeat("x", 40_000), Run: "r"}}},
		} {
			if err := db().AddRun(run); err == nil {
				t.Errorf("%s was recorded", name)
			}
		}
		if got := must(db().Runs(0))(t); len(got) != 0 {
			t.Errorf("runs are %v", got)
		}
	})
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	path := filepath.Join(dir, FileName)
	db, _ := openAt(t, path, 1)
	check(t, db.Close())
	check(t, os.Chmod(path, 0o644)) // somebody was careless
	db, _ = openAt(t, path, 1)
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, path: 0o600} {
		info, err := os.Stat(path)
		check(t, err)
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	if db.Path() != path {
		t.Errorf("Path is %q", db.Path())
	}
}

// What a host that was killed has left open is completed by the next.
func TestInterruptedRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 5)
	run := runOf(1, "finished", "during", "waiting")
	run.Results[2].Plugin = "bolt"
	check(t, db.BeginRun(begun(run)))
	check(t, db.BeginCompaction(run.Results[0]))
	check(t, db.AddResult(run.Results[0]))
	run.Results[1].TotalBytesBefore, run.Results[1].TotalBytesAfter = 7, 7
	check(t, db.BeginCompaction(run.Results[1]))
	check(t, db.Close())

	verify := func(t *testing.T, db *DB) {
		t.Helper()
		runs := must(db.Runs(0))(t)
		if len(runs) != 1 || len(runs[0].Results) != 3 || runs[0].FinishedAt.IsZero() || runs[0].ReclaimedBytes != 10 {
			t.Fatalf("runs are %+v", runs)
		}
		for i, want := range []struct {
			store    string
			outcome  Outcome
			code     string
			past     Past
			attempts int
		}{
			{store: "finished", outcome: Compacted, attempts: 1},
			{store: "during", outcome: Unknown, code: CodeLost, attempts: 1},
			{store: "waiting", outcome: Cancelled, code: CodeNotReached},
		} {
			r := runs[0].Results[i]
			if r.Store != want.store || r.Outcome != want.outcome || r.Code != want.code || r.Attempts != want.attempts {
				t.Errorf("result %d is %+v, want %+v", i, r, want)
			}
			if r.Outcome == Unknown && (r.TotalBytesBefore != 7 || r.TotalBytesAfter != 0) {
				t.Errorf("the size of %s is said to be known: %+v", r.Store, r)
			}
			if r.Outcome != Compacted && (r.Reason == "" || r.FinishedAt.IsZero()) {
				t.Errorf("%s does not say what happened when: %+v", r.Store, r)
			}
			if got := must(db.Results(want.store, 0))(t); len(got) != 1 || got[0].Outcome != want.outcome {
				t.Errorf("results of %s are %+v", want.store, got)
			}
		}
		pasts := must(db.Pasts())(t)
		if p := pasts["during"]; !p.Unresolved || !p.LastCompactionAt.Equal(run.StartedAt) {
			t.Errorf("past of the store that was being compacted: %+v", p)
		}
		if p := pasts["finished"]; p.Unresolved || p.LastSuccessAt.IsZero() {
			t.Errorf("past of the store that was finished: %+v", p)
		}
		if p := pasts["waiting"]; p != (Past{}) {
			t.Errorf("past of the store that waited: %+v", p)
		}
	}
	t.Run("read only", func(t *testing.T) {
		for range 2 { // the second sees that the first has changed nothing
			verify(t, must(OpenReadOnly(path))(t))
		}
	})
	t.Run("next host", func(t *testing.T) {
		db, l := openAt(t, path, 5)
		verify(t, db)
		if l.warnings() != 1 || !strings.Contains(l.String(), "during") {
			t.Errorf("want one warning that names the store:\n%s", l)
		}
		check(t, db.Close())
		db, l = openAt(t, path, 5)
		verify(t, db)
		if l.warnings() != 0 {
			t.Errorf("warned again:\n%s", l)
		}
	})
}

func TestForgetsStoresThatAreLongGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 5)
	check(t, db.AddRun(runOf(-24*401, "gone")))
	check(t, db.AddRun(runOf(-24*366, "yearly")))
	check(t, db.Close())
	db, _ = openAt(t, path, 5)
	if pasts := must(db.Pasts())(t); len(pasts) != 1 || pasts["yearly"] == (Past{}) {
		t.Errorf("pasts are %+v, want yearly alone", pasts)
	}
	if got := must(db.Results("gone", 0))(t); len(got) != 0 {
		t.Errorf("results of the store that is gone: %v", got)
	}
	if got := must(db.Runs(0))(t); len(got) != 2 {
		t.Errorf("%d runs, want both: they are kept by number", len(got))
	}
}
