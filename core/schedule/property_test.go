package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// zones change their clocks by an hour at night, by half an hour, at midnight,
// in the south, by a whole day once, twice around Ramadan, and not at all.
func zones() []string {
	return []string{
		"Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana",
		"America/Santiago", "Pacific/Apia", "Africa/Casablanca", "America/St_Johns", "Asia/Kathmandu", "UTC",
	}
}

func anyZone(t *rapid.T) *time.Location {
	return zone(t, rapid.SampledFrom(zones()).Draw(t, "zone"))
}

// anyTime is often close to a change of clocks.
func anyTime(t *rapid.T, loc *time.Location) time.Time {
	at := time.Unix(rapid.Int64Range(1_200_000_000, 2_000_000_000).Draw(t, "at"), 0).In(loc)
	if _, end := at.ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "close to a change") {
		at = end.Add(time.Duration(rapid.Int64Range(-36*3600, 36*3600).Draw(t, "seconds from it")) * time.Second)
	}
	return at.Add(time.Duration(rapid.IntRange(0, 999_999_999).Draw(t, "ns")))
}

func anyField(t *rapid.T, name string, low, high int) string {
	part := rapid.Custom(func(t *rapid.T) string {
		a := rapid.IntRange(low, high).Draw(t, "from")
		b := rapid.IntRange(a, high).Draw(t, "to")
		step := rapid.IntRange(1, high).Draw(t, "step")
		return rapid.SampledFrom([]string{
			"*", fmt.Sprint(a), fmt.Sprintf("%d-%d", a, b), fmt.Sprintf("*/%d", step), fmt.Sprintf("%d-%d/%d", a, b, step),
		}).Draw(t, "part")
	})
	return strings.Join(rapid.SliceOfN(part, 1, 3).Draw(t, name), ",")
}

// anyCron fires on every day, at least where clocks do not change.
func anyCron(t *rapid.T) string {
	return anyField(t, "minute", 0, 59) + " " + anyField(t, "hour", 0, 23) + " * * *"
}

func anyWindow(t *rapid.T) Window {
	w := Window{
		Days: rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) time.Weekday {
			return time.Weekday(rapid.IntRange(0, 6).Draw(t, "day"))
		}), 0, 7, func(d time.Weekday) time.Weekday { return d }).Draw(t, "days"),
		From: rapid.IntRange(0, 24*60-1).Draw(t, "from"),
		To:   rapid.IntRange(0, 24*60).Draw(t, "to"),
	}
	if rapid.Bool().Draw(t, "zone of its own") {
		w.Zone = anyZone(t)
	}
	return w
}

func anySettings(t *rapid.T) Settings {
	s := Settings{
		Zone:       anyZone(t),
		Jitter:     rapid.Float64Range(0, 1).Draw(t, "jitter"),
		StartDelay: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start delay")),
		Windows:    rapid.SliceOfN(rapid.Custom(anyWindow), 0, 3).Draw(t, "windows"),
	}
	if rapid.Bool().Draw(t, "by cron") {
		s.Cron = anyCron(t)
	} else {
		s.Every = time.Duration(rapid.Int64Range(int64(time.Second), int64(60*24*time.Hour)).Draw(t, "every"))
	}
	return s
}

func TestNextIsAheadInsideAWindowAndTheSameAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySettings(t)
		now := anyTime(t, s.Zone)
		draw := rapid.Float64Range(0, 1).Draw(t, "random")
		in := Input{Now: now, Jitter: func() float64 { return draw }}
		if rapid.Bool().Draw(t, "started") {
			in.Started = now.Add(-time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "up for")))
		}
		if rapid.Bool().Draw(t, "looked at before") {
			in.Last = now.Add(time.Duration(rapid.Int64Range(-int64(90*24*time.Hour), int64(90*24*time.Hour)).Draw(t, "last")))
		}
		next := s.Next(in)
		if !next.After(now) {
			t.Fatalf("%v is not after %v", next, now)
		}
		if !s.Open(next) {
			t.Fatalf("%v is outside the windows", next)
		}
		if !in.Started.IsZero() && next.Before(in.Started.Add(s.StartDelay)) {
			t.Fatalf("%v is within the start delay", next)
		}
		if again := s.Next(in); !again.Equal(next) {
			t.Fatalf("%v, then %v", next, again)
		}
		if s.Cron == "" && len(s.Windows) == 0 {
			latest := now.Add(s.StartDelay + s.Every + time.Duration(s.Jitter*float64(s.Every)) + soon)
			if next.After(latest) {
				t.Fatalf("%v is later than %v", next, latest)
			}
		}
	})
}

// TestCronAgreesWithWalkingMinuteByMinute holds the search against one that
// looks at what clocks show in each minute.
func TestCronAgreesWithWalkingMinuteByMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cron{expr: anyCron(t), loc: anyZone(t)}
		if err := CheckCron(c.expr); err != nil {
			t.Fatal(err)
		}
		from := anyTime(t, c.loc)
		want := time.Time{}
		first := from.Unix() - from.Unix()%60 + 60
		if from.Unix()%60 == 0 && from.Nanosecond() == 0 {
			first = from.Unix() + 60
		}
		for unix := first; want.IsZero() && unix < from.Unix()+3*24*3600; unix += 60 {
			at := time.Unix(unix, 0).In(c.loc)
			y, m, d := at.Date()
			if due(c.expr, time.Date(y, m, d, at.Hour(), at.Minute(), 0, 0, time.UTC)) && (c.everyHour() || !shownBefore(at)) {
				want = at
			}
		}
		got := c.after(from)
		if want.IsZero() {
			t.Fatalf("%s: nothing in three days, but %v", c.expr, got)
		}
		if !got.Equal(want) {
			t.Fatalf("%s after %v: %v, want %v", c.expr, from, got, want)
		}
	})
}

// shownBefore says whether clocks have shown the same within the last day.
func shownBefore(at time.Time) bool {
	const layout = "2006-01-02 15:04"
	for _, back := range []time.Duration{30 * time.Minute, time.Hour, 24 * time.Hour} {
		if at.Add(-back).Format(layout) == at.Format(layout) {
			return true
		}
	}
	return false
}

func TestNextOpenIsTheFirstOpenMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Settings{Zone: anyZone(t), Windows: rapid.SliceOfN(rapid.Custom(anyWindow), 1, 3).Draw(t, "windows")}
		from := anyTime(t, s.Zone).Truncate(time.Minute)
		next := s.NextOpen(from)
		if next.Before(from) || !s.Open(next) {
			t.Fatalf("%v after %v", next, from)
		}
		for at, steps := next.Add(-time.Minute), 0; !at.Before(from) && steps < 2000; at, steps = at.Add(-time.Minute), steps+1 {
			if s.Open(at) {
				t.Fatalf("open at %v already, before %v", at, next)
			}
		}
	})
}

func TestOpenIsWhatClocksShowWhereTheyNeverChange(t *testing.T) {
	loc := zone(t, "Asia/Kathmandu")
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindow(t)
		w.Zone = loc
		at := anyTime(t, loc)
		minute := at.Hour()*60 + at.Minute()
		on := func(day time.Weekday) bool {
			for _, d := range w.Days {
				if d == day {
					return true
				}
			}
			return len(w.Days) == 0
		}
		want := w.From <= minute && minute < w.To && on(at.Weekday())
		if w.To <= w.From {
			want = minute >= w.From && on(at.Weekday()) || minute < w.To && on((at.Weekday()+6)%7)
		}
		if got := (Settings{Windows: []Window{w}}).Open(at); got != want {
			t.Fatalf("%+v at %v: %v", w, at, got)
		}
	})
}

func TestResolveShowsWhatWasAskedOrTheChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc := anyZone(t)
		y, m, d := anyTime(t, loc).Date()
		day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		minute := rapid.IntRange(0, 48*60).Draw(t, "minute")
		got := resolve(day, minute, loc)
		wall := day.Add(time.Duration(minute) * time.Minute).Format(time.DateTime)
		if got.Format(time.DateTime) == wall {
			if shownBefore(got) {
				t.Fatalf("%v is the second of two", got)
			}
			return
		}
		if start, _ := got.ZoneBounds(); !start.Equal(got) {
			t.Fatalf("%s became %v, which is no change of clocks", wall, got)
		}
		if before := got.Add(-time.Second).Format(time.DateTime); before >= wall {
			t.Fatalf("%s became %v, but was shown before that", wall, got)
		}
	})
}

func FuzzCheckCron(f *testing.F) {
	for _, expr := range []string{"0 3 * * *", "*/15 1-5 L 2 MON#2", "0 3 31 2 *", "TZ= * * * *", "@daily", "1-/2 , # W L"} {
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		if CheckCron(expr) != nil {
			return
		}
		now := reference()
		if next := (Settings{Cron: expr, Zone: time.UTC}).Next(Input{Now: now}); !next.After(now) {
			t.Fatalf("%q: next is %v", expr, next)
		}
	})
}
