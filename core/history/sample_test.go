package history

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// sampleAt is a sample whose sizes tell it from others.
func sampleAt(at time.Time, size int64) Sample {
	return Sample{At: at, TotalBytes: 4 * size, AllocatedBytes: 3 * size, LiveBytes: 2 * size, ReclaimableBytes: size}
}

func TestSamplesAreReadAsTheyWereAdded(t *testing.T) {
	eachKind(t, 3, func(t *testing.T, db func() *DB) {
		var want []Sample
		for n := range 10 {
			s := sampleAt(noon.Add(time.Duration(n)*time.Hour), int64(n+1))
			check(t, db().AddSample("a", s, 0))
			want = append(want, s)
		}
		check(t, db().AddSample("b", sampleAt(noon, 7), 0))
		if got := must(db().Samples("a", 0))(t); !slices.Equal(got, want) {
			t.Errorf("samples of a are\n%v, want\n%v", got, want)
		}
		if got := must(db().Samples("a", 3))(t); !slices.Equal(got, want[7:]) {
			t.Errorf("the last three are %v, want %v", got, want[7:])
		}
		if got := must(db().Samples("b", 100))(t); !slices.Equal(got, []Sample{sampleAt(noon, 7)}) {
			t.Errorf("samples of b are %v", got)
		}
		if got := must(db().Samples("c", 0))(t); len(got) != 0 {
			t.Errorf("a store that was never measured has %v", got)
		}
	})
}

func TestSamplesKnowWhatWasGivenBack(t *testing.T) {
	eachKind(t, 3, func(t *testing.T, db func() *DB) {
		hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
		check(t, db().AddSample("a", sampleAt(hour(0), 10), 0))
		check(t, db().AddSample("a", sampleAt(hour(1), 20), 0))
		check(t, db().AddSample("a", sampleAt(hour(1), 5), 45)) // in the same moment, and kept
		check(t, db().AddSample("a", sampleAt(hour(2), 9), 0))
		check(t, db().AddSample("a", sampleAt(hour(2).Add(time.Second), 2), 21))
		var got [][2]int64
		for _, s := range must(db().Samples("a", 0))(t) {
			got = append(got, [2]int64{s.AllocatedBytes, s.Reclaimed})
		}
		if want := [][2]int64{{30, 0}, {60, 0}, {15, 45}, {27, 45}, {6, 66}}; !slices.Equal(got, want) {
			t.Errorf("sizes and what was given back are %v, want %v", got, want)
		}
	})
}

// Somebody who asks for a plan every second does not crowd out what is older.
func TestOfSamplesInFastSuccessionOneStaysForEachGap(t *testing.T) {
	eachKind(t, 3, func(t *testing.T, db func() *DB) {
		store := db()
		for n := range 3600 {
			check(t, store.AddSample("a", sampleAt(noon.Add(time.Duration(n)*time.Second), int64(n)), 0))
		}
		got := must(db().Samples("a", 0))(t)
		if len(got) < 12 || len(got) > 14 {
			t.Errorf("an hour has %d samples, want one for each of its 12 gaps", len(got))
		}
		if last := got[len(got)-1]; last.ReclaimableBytes != 3599 {
			t.Errorf("the newest is %+v, want the last that was added", last)
		}
		for i := 1; i < len(got)-1; i++ {
			if gap := got[i].At.Sub(got[i-1].At); gap < sampleGap {
				t.Errorf("two samples are %v apart", gap)
			}
		}
	})
}

// Many samples stay few, the newest are all there, and there are some of all
// ages, wherever the clock goes meanwhile.
func TestSamplesAreThinnedOut(t *testing.T) {
	const added = 6000
	for name, clock := range map[string]func(n int) time.Time{
		"a good clock": func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) },
		"a wild clock": func() func(n int) time.Time {
			random := rand.New(rand.NewPCG(1, 2))
			return func(int) time.Time { return noon.Add(time.Duration(random.IntN(100*365*24)-50*365*24) * time.Hour) }
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, 3, func(t *testing.T, db func() *DB) {
				store := db()
				for n := range added {
					// What is given back changes, so that none takes another's place.
					check(t, store.AddSample("a", sampleAt(clock(n), int64(n)), 1))
				}
				got := must(db().Samples("a", 0))(t)
				if len(got) > MaxSamples || len(got) < MaxSamples*9/10 {
					t.Fatalf("%d samples are kept, want nearly %d", len(got), MaxSamples)
				}
				for i, s := range got[len(got)-denseSamples:] {
					if want := int64(added - denseSamples + i); s.ReclaimableBytes != want {
						t.Fatalf("sample %d of the newest is number %d, want %d", i, s.ReclaimableBytes, want)
					}
				}
				for i := 1; i < len(got); i++ {
					step, age := got[i].ReclaimableBytes-got[i-1].ReclaimableBytes, added-got[i].ReclaimableBytes
					if step < 1 || step > max(1, 2*age/denseSamples*2) {
						t.Errorf("between two samples that are %d old there are %d", age, step)
					}
				}
				if oldest := added - got[0].ReclaimableBytes; oldest < denseSamples<<sampleLevels*9/10 {
					t.Errorf("the oldest is only %d old", oldest)
				}
			})
		})
	}
}

func TestSamplesOfAStoreThatIsGoneAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 3)
	check(t, db.AddSample("gone", sampleAt(noon.Add(-forgetAfter-time.Hour), 1), 0))
	check(t, db.AddSample("there", sampleAt(noon.Add(-forgetAfter-time.Hour), 1), 0))
	check(t, db.AddSample("there", sampleAt(noon, 2), 0))
	if got := must(db.Samples("gone", 0))(t); len(got) != 1 {
		t.Fatalf("before: %v", got)
	}
	check(t, db.Forget(noon))
	if got := must(db.Samples("gone", 0))(t); len(got) != 0 {
		t.Errorf("a store that was measured 400 days ago for the last time has %v", got)
	}
	if got := must(db.Samples("there", 0))(t); len(got) != 2 {
		t.Errorf("a store that was measured today has %v", got)
	}
}

// A sample waits for the next transaction, whatever that is for.
func TestSamplesComeWithWhateverIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 3)
	inFile := func() (n int) {
		t.Helper()
		f, ok := db.records.(*file)
		if !ok {
			t.Fatal("the history is not in a file")
		}
		check(t, f.db.View(func(tx *bolt.Tx) error {
			if b := tx.Bucket(bucketSamples).Bucket([]byte("a")); b != nil {
				n = b.Stats().KeyN
			}
			return nil
		}))
		return n
	}
	check(t, db.AddSample("a", sampleAt(noon, 1), 0))
	if n := inFile(); n != 0 {
		t.Errorf("a sample alone was written at once: %d", n)
	}
	check(t, db.AddRun(runOf(1, "a")))
	if n := inFile(); n != 1 {
		t.Errorf("after a run there are %d samples in the file, want 1", n)
	}
	for n := range samplesWait {
		check(t, db.AddSample("a", sampleAt(noon.Add(time.Duration(n+1)*time.Hour), 1), 0))
	}
	if n := inFile(); n != samplesWait+1 {
		t.Errorf("after %d more there are %d in the file", samplesWait, n)
	}
}

func TestTotalsOutliveTheirResults(t *testing.T) {
	eachKind(t, 2, func(t *testing.T, db func() *DB) {
		for n := range 7 {
			run := runOf(n, "a", "b")
			run.Results[0].DurationMS, run.Results[0].PauseMS = 2000, 20
			run.Results[1].Outcome, run.Results[1].ReclaimedBytes, run.Results[1].DurationMS = Failed, -5, 9
			check(t, db().AddRun(run))
		}
		busy := runOf(8, "a")
		busy.Results[0].Outcome, busy.Results[0].Code = Skipped, CodeAlreadyRunning
		check(t, db().AddRun(busy))

		totals, reclaimed := must(db().Totals())(t), must(db().ReclaimedBytes())(t)
		a := totals["a"]
		if !reflect.DeepEqual(a.Outcomes, map[Outcome]int64{Compacted: 7}) || a.ReclaimedBytes != 70 {
			t.Errorf("the totals of a are %+v, want 7 compactions and 70 bytes", a)
		}
		if bucket := slices.Index(DurationBounds(), 3*time.Second); a.Duration.Counts[bucket] != 7 || a.Duration.Sum != 14*time.Second {
			t.Errorf("the durations of a are %+v", a.Duration)
		}
		if bucket := slices.Index(PauseBounds(), 30*time.Millisecond); a.Pause.Counts[bucket] != 7 {
			t.Errorf("the pauses of a are %+v", a.Pause)
		}
		if b := totals["b"]; !reflect.DeepEqual(b, Totals{Outcomes: map[Outcome]int64{Failed: 7}}) {
			t.Errorf("the totals of b are %+v, want failures alone", b)
		}
		if reclaimed != 70 {
			t.Errorf("all stores have given back %d bytes, want 70", reclaimed)
		}
	})
}

// What the files of a pattern have come to is not counted once more as the
// pattern's.
func TestTotalsCountFilesOnce(t *testing.T) {
	eachKind(t, 5, func(t *testing.T, db func() *DB) {
		run := runOf(1, "logs/a.db", "logs/b.db")
		for i := range run.Results {
			run.Results[i].Configured = "logs"
		}
		store := db()
		check(t, store.BeginRun(begun(run)))
		check(t, store.AddResult(run.Results[0]))
		check(t, store.AddRun(run))
		totals, reclaimed := must(db().Totals())(t), must(db().ReclaimedBytes())(t)
		if len(totals) != 2 || totals["logs/a.db"].Outcomes[Compacted] != 1 || totals["logs/b.db"].Outcomes[Compacted] != 1 || reclaimed != 20 {
			t.Errorf("totals are %+v and %d bytes, want one compaction for each file and 20 bytes", totals, reclaimed)
		}
	})
}

func TestADistributionOfOtherBoundsBeginsAnew(t *testing.T) {
	old := Distribution{Counts: []int64{5, 5}, Sum: time.Hour}
	bounds := []time.Duration{time.Second, time.Minute}
	got := old.with(2*time.Minute, bounds)
	if want := (Distribution{Counts: []int64{0, 0, 1}, Sum: 2 * time.Minute}); !reflect.DeepEqual(got, want) {
		t.Errorf("with another = %+v, want %+v", got, want)
	}
	if got = got.with(time.Minute, bounds); got.Counts[1] != 1 {
		t.Errorf("what takes just as long as a bound is counted as %v", got.Counts)
	}
}

func TestPausesAreKept(t *testing.T) {
	eachKind(t, 3, func(t *testing.T, db func() *DB) {
		if got := must(db().Pauses())(t); len(got) != 0 {
			t.Errorf("a new history has the pauses %v", got)
		}
		check(t, db().SetPauses(map[string]Pause{"a": {PausedAt: noon}, "*": {PausedAt: noon}}))
		check(t, db().SetPauses(map[string]Pause{"a": {ResumedAt: noon}}))
		want := map[string]Pause{"a": {ResumedAt: noon}, "*": {PausedAt: noon}}
		if got := must(db().Pauses())(t); !reflect.DeepEqual(got, want) {
			t.Errorf("pauses are %v, want %v", got, want)
		}
		if err := db().SetPauses(map[string]Pause{"": {}}); err == nil {
			t.Error("a pause of nobody was noted")
		}
	})
}

// A file that a host has written which knew of no samples, totals and pauses is
// opened as it is: nothing of it is lost or set aside. The file has three runs of
// a, that gave back 10 bytes each, and b, that was skipped, and one of two files
// of logs, 10 bytes each.
func TestFileFromBeforeSamples(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	packed := must(os.Open("testdata/before_samples.db.gz"))(t)
	defer packed.Close()
	content := must(io.ReadAll(must(gzip.NewReader(packed))(t)))(t)
	check(t, os.WriteFile(path, content, 0o600))

	readOnly := must(OpenReadOnly(path))(t)
	if got := must(readOnly.Runs(0))(t); len(got) != 4 {
		t.Errorf("read only: %d runs, want 4", len(got))
	}
	if got := must(readOnly.Samples("a", 0))(t); len(got) != 0 {
		t.Errorf("read only: samples %v", got)
	}

	for _, when := range []string{"at first", "again"} {
		db, l := openAt(t, path, 20)
		if l.warnings() != 0 {
			t.Fatalf("%s: warnings:\n%s", when, l)
		}
		if got := must(db.Runs(0))(t); len(got) != 4 || got[0].ID != "r003" {
			t.Errorf("%s: runs are %v", when, runIDs(got))
		}
		if got := must(db.Results("a", 0))(t); len(got) != 3 {
			t.Errorf("%s: a has %d results, want 3", when, len(got))
		}
		totals, reclaimed := must(db.Totals())(t), must(db.ReclaimedBytes())(t)
		counted := fmt.Sprint(totals["a"].Outcomes, totals["b"].Outcomes, totals["logs/x.db"].Outcomes, len(totals), reclaimed)
		if want := "map[compacted:3] map[skipped:3] map[compacted:1] 4 50"; counted != want {
			t.Errorf("%s: the totals are %s, want %s", when, counted, want)
		}
		check(t, db.AddSample("a", sampleAt(noon, 1), 0))
		check(t, db.Close())
	}
	db, _ := openAt(t, path, 20)
	if got := must(db.Samples("a", 0))(t); len(got) != 2 {
		t.Errorf("samples that were added are %v, want 2", got)
	}
}
