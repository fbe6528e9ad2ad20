package history

import (
	"testing"
	"time"
)

func TestPastAfter(t *testing.T) {
	start, end := noon, noon.Add(time.Minute)
	earlier := noon.Add(-time.Hour)
	trouble := Past{LastAttemptAt: earlier, LastCompactionAt: earlier, LastSuccessAt: earlier, ConsecutiveFailures: 2, LowYields: 1, LowYieldSkips: 1, Unresolved: true}
	compaction := Result{Attempts: 1, PredictedBytes: 100, ReclaimedBytes: 90}

	// change is what a result makes of trouble.
	for _, test := range []struct {
		name   string
		result Result
		change func(p *Past)
	}{
		{"compacted", with(compaction, Compacted, "worthwhile"), func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: start, LastCompletedAt: start, LastSuccessAt: end}
		}},
		{"compacted, half of what was predicted", Result{Outcome: Compacted, Attempts: 1, PredictedBytes: 100, ReclaimedBytes: 50}, func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: start, LastCompletedAt: start, LastSuccessAt: end}
		}},
		{"compacted, less than half", Result{Outcome: Compacted, Attempts: 1, PredictedBytes: 100, ReclaimedBytes: 49}, func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: start, LastCompletedAt: start, LastSuccessAt: end, LowYields: 2}
		}},
		{"no_op where much was predicted", Result{Outcome: NoOp, Attempts: 1, PredictedBytes: 100}, func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: start, LastCompletedAt: start, LastSuccessAt: end, LowYields: 2}
		}},
		{"no_op where nothing was predicted", Result{Outcome: NoOp, Attempts: 1}, func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: start, LastCompletedAt: start, LastSuccessAt: end, LowYields: 1, LowYieldSkips: 1}
		}},
		{"below a threshold", Result{Outcome: Skipped, Code: "below_ratio"}, func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: earlier, LastSuccessAt: end, LowYields: 1, LowYieldSkips: 1}
		}},
		{"below a threshold that low yields have raised", Result{Outcome: Skipped, Code: codeLowYield}, func(p *Past) {
			*p = Past{LastAttemptAt: end, LastCompactionAt: earlier, LastSuccessAt: end, LowYields: 1, LowYieldSkips: 2}
		}},
		{"min gap after a failure", Result{Outcome: Skipped, Code: codeMinGap}, func(p *Past) {
			p.LastAttemptAt, p.Unresolved = end, false
		}},
		{"a pattern that matches nothing", Result{Outcome: Skipped, Code: CodeNoFiles}, func(p *Past) { p.LastAttemptAt = end }},
		{"another run is busy with it", Result{Outcome: Skipped, Code: CodeAlreadyRunning}, func(*Past) {}},
		{"its turn never came", Result{Outcome: Cancelled, Code: CodeNotReached}, func(*Past) {}},
		{"locked", Result{Outcome: Deferred, Code: CodeLocked, Attempts: 1}, func(p *Past) { p.LastAttemptAt = end }},
		{"owner away", Result{Outcome: Deferred, Code: CodeOwnerAway}, func(p *Past) { p.LastAttemptAt = end }},
		{"outside its window", Result{Outcome: Deferred, Code: codeWindow}, func(p *Past) {
			p.LastAttemptAt, p.Unresolved = end, false
		}},
		{"quarantined, so not looked at", Result{Outcome: Deferred, Code: "quarantined"}, func(p *Past) { p.LastAttemptAt = end }},
		{"could not be measured", with(Result{}, Failed, CodeError), func(p *Past) {
			p.LastAttemptAt, p.ConsecutiveFailures = end, 3
		}},
		{"failed to compact", with(compaction, Failed, CodeError), func(p *Past) {
			p.LastAttemptAt, p.LastCompactionAt, p.ConsecutiveFailures, p.Unresolved = end, start, 3, false
		}},
		{"cancelled while measuring", with(Result{}, Cancelled, CodeCancelled), func(p *Past) { p.LastAttemptAt = end }},
		{"cancelled while compacting", with(compaction, Cancelled, CodeCancelled), func(p *Past) {
			p.LastAttemptAt, p.LastCompactionAt, p.Unresolved = end, start, false
		}},
		{"lost", with(compaction, Unknown, CodeLost), func(p *Past) {
			p.LastAttemptAt, p.LastCompactionAt, p.ConsecutiveFailures = end, start, 3
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.result.StartedAt, test.result.FinishedAt = start, end
			want := trouble
			test.change(&want)
			if got := trouble.After(test.result); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
	t.Run("min gap after a success", func(t *testing.T) {
		got := Past{LastSuccessAt: earlier}.After(Result{Outcome: Skipped, Code: codeMinGap, StartedAt: start, FinishedAt: end})
		if !got.LastSuccessAt.Equal(end) {
			t.Errorf("the last success is %v, want %v", got.LastSuccessAt, end)
		}
	})
	t.Run("lost for the first time", func(t *testing.T) {
		if got := (Past{}).After(with(compaction, Unknown, CodeLost)); !got.Unresolved {
			t.Error("not unresolved")
		}
	})
}

func with(r Result, outcome Outcome, code string) Result {
	r.Outcome, r.Code = outcome, code
	return r
}

func TestHealth(t *testing.T) {
	due := noon
	for _, test := range []struct {
		name              string
		past              Past
		now               time.Time
		due               time.Time
		after             time.Duration
		overdue, degraded bool
	}{
		{name: "in time", past: Past{LastSuccessAt: due.Add(time.Minute)}, now: due.Add(9 * time.Hour), due: due, after: time.Hour},
		{name: "due", now: due.Add(time.Hour), due: due, after: time.Hour},
		{name: "overdue", now: due.Add(time.Hour + 1), due: due, after: time.Hour, overdue: true},
		{name: "overdue after an old success", past: Past{LastSuccessAt: due.Add(-time.Hour)}, now: due.Add(2 * time.Hour), due: due, after: time.Hour, overdue: true},
		{name: "without schedule", now: due.Add(1000 * time.Hour), after: time.Hour},
		{name: "switched off", now: due.Add(1000 * time.Hour), due: due},
		{name: "two failures", past: Past{ConsecutiveFailures: 2}, now: due, due: due, after: time.Hour},
		{name: "three failures", past: Past{ConsecutiveFailures: 3, Unresolved: true}, now: due, due: due, after: time.Hour, degraded: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.past.Health(test.now, test.due, test.after)
			if got.Overdue != test.overdue || got.Degraded != test.degraded {
				t.Errorf("got %+v", got)
			}
			if got.ConsecutiveFailures != test.past.ConsecutiveFailures || got.Unresolved != test.past.Unresolved ||
				!got.LastSuccessAt.Equal(test.past.LastSuccessAt) {
				t.Errorf("%+v does not say what the past says", got)
			}
		})
	}
}

func TestSummaryOfAPattern(t *testing.T) {
	at := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
	file := func(name string, outcome Outcome, code string, m int) Result {
		return Result{
			Store: "logs/" + name, Configured: "logs", Plugin: "bolt", Run: "r", Outcome: outcome, Code: code,
			Reason: "because", ReclaimedBytes: 5, Attempts: 1, StartedAt: at(m), FinishedAt: at(m + 1),
		}
	}
	for _, test := range []struct {
		name   string
		files  []Result
		want   Outcome
		code   string
		reason string
		past   Past
	}{
		{
			name:   "one of them failed",
			files:  []Result{file("a", Compacted, "", 1), file("b", Failed, CodeError, 2), file("c", Compacted, "", 3)},
			want:   Failed,
			code:   CodeError,
			reason: "3 files: 1 failed, 2 compacted; logs/b: because",
			past:   Past{LastAttemptAt: at(4), LastCompactionAt: at(1), TriedSince: at(4), ConsecutiveFailures: 1},
		},
		{
			name:   "one unknown and one failed",
			files:  []Result{file("a", Unknown, CodeLost, 1), file("b", Failed, CodeError, 2)},
			want:   Unknown,
			code:   CodeLost,
			reason: "2 files: 1 unknown, 1 failed; logs/a: because",
			past:   Past{LastAttemptAt: at(3), LastCompactionAt: at(1), TriedSince: at(3), ConsecutiveFailures: 1, Unresolved: true},
		},
		{
			name:   "all skipped",
			files:  []Result{file("a", Skipped, "below_ratio", 1)},
			want:   Skipped,
			code:   "below_ratio",
			reason: "1 file: 1 skipped",
			past:   Past{LastAttemptAt: at(2), LastCompactionAt: at(1), LastSuccessAt: at(2)},
		},
		{
			name:   "one within its min gap",
			files:  []Result{file("a", Skipped, "below_ratio", 1), file("b", Skipped, codeMinGap, 2)},
			want:   Skipped,
			code:   codeMinGap,
			reason: "2 files: 2 skipped",
			past:   Past{LastAttemptAt: at(3), LastCompactionAt: at(1), LastSuccessAt: at(3)},
		},
		{
			name:   "some not looked at",
			files:  []Result{file("a", Skipped, CodeAlreadyRunning, 1), file("b", NoOp, CodeNoOp, 2), file("c", Cancelled, CodeNotReached, 3)},
			want:   NoOp,
			code:   CodeNoOp,
			reason: "1 file: 1 no_op",
			past:   Past{LastAttemptAt: at(3), LastCompactionAt: at(2), LastCompletedAt: at(2), LastSuccessAt: at(3)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachKind(t, 5, func(t *testing.T, db func() *DB) {
				check(t, db().AddRun(Run{ID: "r", Results: test.files}))
				got := must(db().Results("logs", 0))(t)
				if len(got) != 1 || got[0].Outcome != test.want || got[0].Code != test.code || got[0].Reason != test.reason {
					t.Fatalf("the pattern's results are %+v", got)
				}
				past := must(db().Past("logs"))(t)
				for _, at := range []*time.Time{&past.LastAttemptAt, &past.LastCompactionAt, &past.LastSuccessAt, &past.TriedSince} {
					*at = at.UTC()
				}
				if past != test.past {
					t.Errorf("the pattern's past is %+v, want %+v", past, test.past)
				}
				if runs := must(db().Runs(0))(t); len(runs[0].Results) != len(test.files) {
					t.Errorf("the run has %d results, want those of the files alone", len(runs[0].Results))
				}
			})
		})
	}
	t.Run("one is still unknown when another is compacted", func(t *testing.T) {
		eachKind(t, 5, func(t *testing.T, db func() *DB) {
			check(t, db().AddRun(Run{ID: "r", Results: []Result{file("a", Unknown, CodeLost, 1), file("b", Skipped, "below_ratio", 2)}}))
			unreached := file("a", Failed, CodeError, 3)
			unreached.Attempts = 0
			check(t, db().AddRun(Run{ID: "r", Results: []Result{unreached, file("b", Compacted, "", 4)}}))
			if past := must(db().Past("logs"))(t); !past.Unresolved {
				t.Errorf("the pattern's past is %+v, want unresolved", past)
			}
			check(t, db().AddRun(Run{ID: "r", Results: []Result{file("a", NoOp, CodeNoOp, 5), file("b", Failed, CodeError, 6)}}))
			if past := must(db().Past("logs"))(t); past.Unresolved {
				t.Errorf("the pattern's past is %+v, want resolved", past)
			}
		})
	})
	// What a pattern has come to is known with its last file, whatever else the
	// run goes on with.
	t.Run("while the run goes on", func(t *testing.T) {
		eachKind(t, 5, func(t *testing.T, db func() *DB) {
			h := db()
			run := Run{ID: "r", Results: []Result{file("a", Failed, CodeError, 1), file("b", Skipped, "below_ratio", 2), {Store: "other", Run: "r"}}}
			begin := Run{ID: "r", Results: []Result{
				{Store: "logs/a", Configured: "logs", Run: "r"}, {Store: "logs/b", Configured: "logs", Run: "r"}, run.Results[2],
			}}
			check(t, h.BeginRun(begin))
			check(t, h.AddResult(run.Results[1]))
			if got := must(h.Results("logs", 0))(t); len(got) != 0 {
				t.Errorf("a file is open, and the pattern's results are %+v", got)
			}
			check(t, h.AddResult(run.Results[0]))
			if got := must(h.Results("logs", 0))(t); len(got) != 1 || got[0].Reason != "2 files: 1 failed, 1 skipped; logs/a: because" {
				t.Errorf("the pattern's results are %+v", got)
			}
			later := file("a", Compacted, "", 5)
			later.Run = "s"
			check(t, h.AddRun(Run{ID: "s", Results: []Result{later}}))
			run.Results[2] = Result{Store: "other", Run: "r", Outcome: NoOp}
			check(t, h.AddRun(run))
			if got := must(h.Results("logs", 0))(t); len(got) != 2 || got[0].Run != "s" {
				t.Errorf("the pattern's results are %+v, want that of s behind that of r", got)
			}
			if past := must(h.Past("logs"))(t); past.ConsecutiveFailures != 0 {
				t.Errorf("the pattern's past is %+v", past)
			}
		})
	})
	t.Run("nobody looked", func(t *testing.T) {
		if got := summaries(Run{Results: []Result{file("a", Cancelled, CodeNotReached, 1)}}); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})
}

func TestSetKeep(t *testing.T) {
	eachKind(t, 5, func(t *testing.T, db func() *DB) {
		for n := range 5 {
			check(t, db().AddRun(runOf(n, "a")))
		}
		h := db()
		h.SetKeep(2)
		check(t, h.AddRun(runOf(5, "a")))
		if got := runIDs(must(h.Runs(0))(t)); len(got) != 2 || got[0] != "r005" {
			t.Errorf("runs are %v", got)
		}
	})
}

// Since when nobody has got to look at a store is known until somebody has.
func TestPastOfAStoreThatWasNeverLookedAt(t *testing.T) {
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	locked := func(n int) Result { return Result{Outcome: Deferred, Code: CodeLocked, FinishedAt: at(n)} }
	var p Past
	for n := range 3 {
		if p = p.After(locked(n)); !p.TriedSince.Equal(at(0)) {
			t.Errorf("after %d attempts it was tried since %v", n+1, p.TriedSince)
		}
	}
	if p = p.After(Result{Outcome: Skipped, FinishedAt: at(3)}); !p.TriedSince.IsZero() {
		t.Errorf("once it was looked at it was tried since %v", p.TriedSince)
	}
	if p = p.After(locked(4)); !p.TriedSince.IsZero() {
		t.Errorf("after a success it was tried since %v", p.TriedSince)
	}
	// Of a host that did not note it.
	if p = (Past{LastAttemptAt: at(5)}).After(locked(6)); !p.TriedSince.Equal(at(5)) {
		t.Errorf("with an older past it was tried since %v", p.TriedSince)
	}
}
