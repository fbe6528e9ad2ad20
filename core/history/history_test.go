package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"
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

func TestDamagedFileIsSetAside(t *testing.T) {
	valid := func(t *testing.T, path string) []byte {
		t.Helper()
		db, _ := openAt(t, path, 20)
		for n := range 30 {
			check(t, db.AddRun(runOf(n, "a", "b", "c", "d", "e", "f", "g", "h")))
		}
		check(t, db.Close())
		return must(os.ReadFile(path))(t)
	}
	for name, spoil := range map[string]func(t *testing.T, path string, content []byte) []byte{
		"text":           func(*testing.T, string, []byte) []byte { return []byte("hello") },
		"zeros":          func(*testing.T, string, []byte) []byte { return make([]byte, 100_000) },
		"one page":       func(_ *testing.T, _ string, b []byte) []byte { return b[:os.Getpagesize()] },
		"three pages":    func(_ *testing.T, _ string, b []byte) []byte { return b[:3*os.Getpagesize()] },
		"half":           func(_ *testing.T, _ string, b []byte) []byte { return b[:len(b)/2] },
		"odd length":     func(*testing.T, string, []byte) []byte { return make([]byte, 81) },
		"both metas":     func(_ *testing.T, _ string, b []byte) []byte { b[70]++; b[os.Getpagesize()+70]++; return b },
		"pages of zeros": func(_ *testing.T, _ string, b []byte) []byte { clear(b[2*os.Getpagesize():]); return b },
		"pages of 0xff": func(_ *testing.T, _ string, b []byte) []byte {
			for i := range b[2*os.Getpagesize():] {
				b[2*os.Getpagesize()+i] = 0xff
			}
			return b
		},
		"records of garbage": func(_ *testing.T, _ string, b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), `"store":"`, `"store":,`))
		},
		"another version": func(t *testing.T, path string, _ []byte) []byte {
			t.Helper()
			db := must(bolt.Open(path, 0o600, nil))(t)
			check(t, db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte("0")) }))
			check(t, db.Close())
			return must(os.ReadFile(path))(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			spoilt := spoil(t, path, valid(t, path))
			check(t, os.WriteFile(path, spoilt, 0o600))

			if _, err := OpenReadOnly(path); !errors.Is(err, sdk.ErrCorrupt) || sdk.HintOf(err) == "" {
				t.Errorf("read only: %v, want a hint and ErrCorrupt", err)
			}
			if got := must(os.ReadFile(path))(t); string(got) != string(spoilt) {
				t.Error("read only: changed the file")
			}
			db, l := openAt(t, path, 20)
			if l.warnings() != 1 || !strings.Contains(l.String(), "set aside") {
				t.Errorf("want one warning:\n%s", l)
			}
			check(t, db.AddRun(runOf(1, "a")))
			if got := must(db.Runs(0))(t); len(got) != 1 {
				t.Errorf("the new history has %d runs, want 1", len(got))
			}
			aside := must(filepath.Glob(path + ".damaged-*"))(t)
			if len(aside) != 1 || filepath.Base(aside[0]) != "history.db.damaged-20260301T120000Z" {
				t.Fatalf("set aside as %v", aside)
			}
			if got := must(os.ReadFile(aside[0]))(t); string(got) != string(spoilt) {
				t.Error("what was set aside is not what was found")
			}

			// A second one in the same second does not replace the first.
			check(t, db.Close())
			check(t, os.WriteFile(path, []byte("again"), 0o600))
			openAt(t, path, 20)
			if aside := must(filepath.Glob(path + ".damaged-*"))(t); len(aside) != 2 {
				t.Errorf("set aside as %v, want two files", aside)
			}
		})
	}
}

// A database of somebody else's at the place is neither moved nor changed.
func TestDatabaseOfOthersIsRefused(t *testing.T) {
	for name, fill := range map[string]func(tx *bolt.Tx) error{
		"other buckets": func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err },
		"a bucket of the same name": func(tx *bolt.Tx) error { // as etcd has
			b, err := tx.CreateBucket(bucketMeta)
			if err != nil {
				return err
			}
			return b.Put([]byte("consistent_index"), []byte("7"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			theirs := must(bolt.Open(path, 0o640, nil))(t)
			check(t, theirs.Update(fill))
			check(t, theirs.Close())
			check(t, os.Chmod(path, 0o640))
			before := must(os.ReadFile(path))(t)

			_, opened := Open(path, 20, nil)
			_, read := OpenReadOnly(path)
			for what, err := range map[string]error{"open": opened, "read only": read} {
				if !errors.Is(err, sdk.ErrCorrupt) || !strings.Contains(err.Error(), "somebody else's history.db") || sdk.HintOf(err) == "" {
					t.Errorf("%s: %v, hint %q", what, err, sdk.HintOf(err))
				}
			}
			if got := must(os.ReadFile(path))(t); string(got) != string(before) {
				t.Error("the file was changed")
			}
			if mode := must(os.Stat(path))(t).Mode(); mode != 0o640 {
				t.Errorf("its mode became %v", mode)
			}
			if all := must(filepath.Glob(path + "*"))(t); len(all) != 1 {
				t.Errorf("there are %v", all)
			}
			// Its owner can open it: no lock is left behind.
			again := must(bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second}))(t)
			check(t, again.Close())
		})
	}
}

// One broken meta page is what a power failure leaves, and no damage.
func TestOneBrokenMetaIsFine(t *testing.T) {
	for page := range 2 {
		path := filepath.Join(t.TempDir(), FileName)
		db, _ := openAt(t, path, 5)
		for n := range 4 {
			check(t, db.AddRun(runOf(n, "a")))
		}
		check(t, db.Close())
		content := must(os.ReadFile(path))(t)
		content[page*os.Getpagesize()+70]++
		check(t, os.WriteFile(path, content, 0o600))
		db, l := openAt(t, path, 5)
		if l.warnings() != 0 || len(must(db.Runs(0))(t)) < 3 {
			t.Errorf("meta page %d broken: %d runs\n%s", page, len(must(db.Runs(0))(t)), l)
		}
	}
}

// A file that becomes shorter under a running host gives errors, where touching
// its pages would end the process.
func TestTruncatedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 20)
	for n := range 20 {
		check(t, db.AddRun(runOf(n, "a", "b", "c")))
	}
	check(t, os.Truncate(path, 0))
	if _, err := db.Runs(0); !errors.Is(err, errDamaged) {
		t.Errorf("reading: %v", err)
	}
	if err := db.AddRun(runOf(21, "a")); !errors.Is(err, errDamaged) {
		t.Errorf("writing: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if db, l := openAt(t, path, 20); db.Path() == "" {
		t.Errorf("the lock was not given up:\n%s", l)
	}
}

func TestNotAFile(t *testing.T) {
	if _, err := Open(t.TempDir(), 1, nil); err == nil {
		t.Error("opened a directory")
	}
	if _, err := OpenReadOnly(filepath.Join(t.TempDir(), FileName)); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("read only, no file: %v", err)
	}
	empty := filepath.Join(t.TempDir(), FileName)
	check(t, os.WriteFile(empty, nil, 0o600))
	if got := must(must(OpenReadOnly(empty))(t).Runs(0))(t); len(got) != 0 {
		t.Errorf("read only, empty file: %v", got)
	}
}

// Whoever waited for a file that was set aside meanwhile must not take the old
// one for the history.
func TestLockOfAFileThatWasReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	check(t, os.WriteFile(path, []byte("old"), 0o600))
	old := must(os.OpenFile(path, os.O_RDWR, 0))(t)
	defer old.Close()
	check(t, os.Rename(path, path+".damaged"))
	if err := lockAt(old, path, syscall.LOCK_EX); !errors.Is(err, errLocked) {
		t.Errorf("path is gone: %v", err)
	}
	check(t, os.WriteFile(path, []byte("new"), 0o600))
	if err := lockAt(old, path, syscall.LOCK_EX); !errors.Is(err, errLocked) {
		t.Errorf("path is another file: %v", err)
	}
}

// The newest meta page decides how long the file must be, whichever of the two
// it is; the other may be content with less.
func TestIntactGoesByTheNewestMeta(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	page := int64(os.Getpagesize())
	seen := [2]bool{}
	for n := 0; n < 200 && seen != [2]bool{true, true}; n++ {
		db, _ := openAt(t, path, 1000)
		for i := range n%3 + 1 { // so that either page may be the newest
			check(t, db.AddRun(runOf(3*n+i, "a", "b", "c", "d", "e", "f")))
		}
		check(t, db.Close())
		cut := path + ".cut"
		check(t, os.WriteFile(cut, must(os.ReadFile(path))(t), 0o600))
		f := must(os.OpenFile(cut, os.O_RDWR, 0))(t)
		metas := [2]meta{must(readMeta(f, 0))(t), must(readMeta(f, page))(t)}
		newest := 0
		if metas[1].txid > metas[0].txid {
			newest = 1
		}
		if metas[newest].highWater > metas[1-newest].highWater {
			seen[newest] = true
			check(t, f.Truncate(int64(metas[1-newest].highWater)*page))
			if err := checkIntact(f); !errors.Is(err, errDamaged) {
				t.Errorf("newest meta is number %d, and the file is as long as the other wants it: %v", newest, err)
			}
		}
		check(t, f.Close())
	}
	if seen != [2]bool{true, true} {
		t.Fatalf("no file was found in which the metas differ both ways: %v", seen)
	}
}
