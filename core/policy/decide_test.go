package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/wringdb/wring/sdk"
)

var noon = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

// TestDecide runs testdata/decide, where "settings" replaces all settings and
// "decide" prints a decision under them. The ratio is worked out from
// allocated and reclaimable unless it is given.
func TestDecide(t *testing.T) {
	var s Settings
	datadriven.RunTest(t, "testdata/decide", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "settings":
			s = settingsOf(t, d)
			return ""
		case "decide":
			decision := Decide(s, inputOf(t, d))
			return fmt.Sprintf("%s %s\n%s", decision.Action, decision.Code, decision.Reason)
		}
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		return ""
	})
}

func settingsOf(t *testing.T, d *datadriven.TestData) (s Settings) {
	for _, arg := range d.CmdArgs {
		v := arg.Vals[0]
		switch arg.Key {
		case "ratio":
			s.MinRatio = share(t, v)
		case "reclaim":
			s.MinReclaim = size(t, v)
		case "max-free":
			s.MaxFree = size(t, v)
		case "gap":
			s.MinGap = ago(t, v)
		case "quarantine":
			s.QuarantineAfter = count(t, v)
		default:
			t.Fatalf("%s: unknown setting %s", d.Pos, arg.Key)
		}
	}
	return s
}

func inputOf(t *testing.T, d *datadriven.TestData) Input {
	in := Input{Name: "sessions", Now: noon, WindowOpen: true}
	ratio := math.Inf(1)
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "allocated":
			in.AllocatedBytes = size(t, arg.Vals[0])
		case "reclaimable":
			in.ReclaimableBytes = size(t, strings.TrimPrefix(arg.Vals[0], "-"))
			if strings.HasPrefix(arg.Vals[0], "-") {
				in.ReclaimableBytes *= -1
			}
		case "ratio":
			ratio = share(t, arg.Vals[0])
		case "compacted":
			in.LastCompletedAt = noon.Add(-ago(t, arg.Vals[0]))
		case "failures":
			in.ConsecutiveFailures = count(t, arg.Vals[0])
		case "low-yields":
			in.LowYields = count(t, arg.Vals[0])
		case "skips":
			in.LowYieldSkips = count(t, arg.Vals[0])
		case "closed":
			in.WindowOpen = false
			if len(arg.Vals) > 0 { // otherwise it never opens
				in.WindowOpens = noon.Add(ago(t, arg.Vals[0]))
			}
		case "manual":
			in.Manual = true
		case "force":
			in.Force = true
		case "anonymous":
			in.Name = ""
		default:
			t.Fatalf("%s: unknown input %s", d.Pos, arg.Key)
		}
	}
	if in.Ratio = ratio; math.IsInf(ratio, 1) {
		in.Ratio = sdk.Fragmentation{AllocatedBytes: in.AllocatedBytes, ReclaimableBytes: in.ReclaimableBytes}.Ratio()
	}
	return in
}

func share(t *testing.T, s string) float64 {
	if s == "NaN" {
		return math.NaN()
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v / 100
}

func size(t *testing.T, s string) int64 {
	n, err := sdk.ParseBytes(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ago(t *testing.T, s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func count(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func anySettings(t *rapid.T) Settings {
	return Settings{
		MinRatio:        rapid.Float64Range(0, 1).Draw(t, "min ratio"),
		MinReclaim:      rapid.Int64Range(0, math.MaxInt64).Draw(t, "min reclaim"),
		MaxFree:         rapid.Int64Range(0, math.MaxInt64).Draw(t, "max free"),
		MinGap:          time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "min gap")),
		QuarantineAfter: rapid.IntRange(0, 10).Draw(t, "quarantine after"),
	}
}

func anyInput(t *rapid.T) Input {
	in := Input{
		Now:                 noon,
		AllocatedBytes:      rapid.Int64Range(0, math.MaxInt64).Draw(t, "allocated"),
		ReclaimableBytes:    rapid.Int64().Draw(t, "reclaimable"),
		ConsecutiveFailures: rapid.IntRange(0, 20).Draw(t, "failures"),
		LowYields:           rapid.IntRange(0, 1000).Draw(t, "low yields"),
		LowYieldSkips:       rapid.IntRange(0, 5).Draw(t, "low yield skips"),
		WindowOpen:          rapid.Bool().Draw(t, "open"),
		Manual:              rapid.Bool().Draw(t, "manual"),
		Force:               rapid.Bool().Draw(t, "force"),
	}
	if rapid.Bool().Draw(t, "compacted before") {
		in.LastCompletedAt = noon.Add(time.Duration(rapid.Int64().Draw(t, "compacted")))
	}
	in.Ratio = sdk.Fragmentation{AllocatedBytes: in.AllocatedBytes, ReclaimableBytes: in.ReclaimableBytes}.Ratio()
	return in
}

func TestEveryDecisionHasActionCodeAndReason(t *testing.T) {
	codes := map[Action]string{
		Compact: "worthwhile max_free forced",
		Skip:    "below_ratio below_bytes low_yield min_gap",
		Defer:   "window quarantined",
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Decide(anySettings(t), anyInput(t))
		if !strings.Contains(" "+codes[d.Action]+" ", " "+d.Code+" ") {
			t.Fatalf("action %q has the code %q", d.Action, d.Code)
		}
		if d.Reason == "" || strings.Contains(d.Reason, "%!") {
			t.Fatalf("reason %q", d.Reason)
		}
	})
}

func TestForcedByAPersonAlwaysCompacts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		in.Manual, in.Force = true, true
		if d := Decide(anySettings(t), in); d.Action != Compact {
			t.Fatalf("%+v", d)
		}
	})
}

func TestNeverCompactsByItselfWhatGivesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		in.Force = false
		in.ReclaimableBytes = min(in.ReclaimableBytes, 0)
		in.Ratio = 0
		if d := Decide(anySettings(t), in); d.Action == Compact {
			t.Fatalf("%+v", d)
		}
	})
}

func TestMoreToGiveBackIsNeverWorse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, in := anySettings(t), anyInput(t)
		if Decide(s, in).Action != Compact {
			return
		}
		more := in
		more.ReclaimableBytes = rapid.Int64Range(max(in.ReclaimableBytes, 0), math.MaxInt64).Draw(t, "more")
		more.Ratio = rapid.Float64Range(in.Ratio, 1).Draw(t, "higher ratio")
		if d := Decide(s, more); d.Action != Compact {
			t.Fatalf("compacted with less, now %+v", d)
		}
	})
}

func TestLowYieldsNeverLowerTheBar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, in := anySettings(t), anyInput(t)
		if Decide(s, in).Action != Compact {
			return
		}
		in.LowYields = rapid.IntRange(0, in.LowYields).Draw(t, "fewer low yields")
		if d := Decide(s, in); d.Action != Compact {
			t.Fatalf("compacted after more low yields, now %+v", d)
		}
	})
}

func TestSkipsForLowYieldsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, in := anySettings(t), anyInput(t)
		in.LowYieldSkips = 0
		for Decide(s, in).Code == lowYield {
			if in.LowYieldSkips++; in.LowYieldSkips > 3 {
				t.Fatalf("skipped %d times", in.LowYieldSkips)
			}
		}
	})
}

func TestMaxFreeForcesWhateverTheYield(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, in := anySettings(t), anyInput(t)
		in.LastCompletedAt, in.ConsecutiveFailures, in.WindowOpen = time.Time{}, 0, true
		s.MaxFree = rapid.Int64Range(1, math.MaxInt64).Draw(t, "max free")
		in.ReclaimableBytes = rapid.Int64Range(s.MaxFree, math.MaxInt64).Draw(t, "reclaimable")
		if d := Decide(s, in); d.Action != Compact {
			t.Fatalf("%+v", d)
		}
	})
}
