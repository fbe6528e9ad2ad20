package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestSchedule runs the files in testdata. "settings" replaces all settings,
// one on each line of its body; the other commands ask about them:
//
//	check                the body's cron expression alone
//	ticks after= n=      the next times of the cron expression
//	next now= [started= last= jitter=]
//	open at=             several times: is a window open, and when is one next
//	warnings now=
//	interval
//
// Times are in the zone of the settings, or have an offset.
func TestSchedule(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := Settings{Zone: time.UTC}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "settings":
				s = settingsOf(t, d)
				return ""
			case "check":
				if err := CheckCron(d.Input); err != nil {
					return err.Error()
				}
				return "fine"
			case "ticks":
				return ticks(t, d, s)
			case "next":
				in := Input{Now: at(t, d, s, "now"), Started: at(t, d, s, "started"), Last: at(t, d, s, "last")}
				if d.HasArg("jitter") {
					in.Jitter = func() float64 { return float(t, argument(d, "jitter")) }
				}
				return show(s, s.Next(in))
			case "open":
				return opens(t, d, s)
			case "warnings":
				return strings.Join(s.Warnings(at(t, d, s, "now")), "\n")
			case "interval":
				return s.Interval().String()
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

func settingsOf(t *testing.T, d *datadriven.TestData) Settings {
	s := Settings{Zone: time.UTC}
	for line := range strings.Lines(d.Input) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "every":
			s.Every = duration(t, value)
		case "cron":
			if err := CheckCron(value); err != nil {
				t.Fatalf("%s: %v", d.Pos, err)
			}
			s.Cron = value
		case "zone":
			s.Zone = zone(t, value)
		case "jitter":
			s.Jitter = float(t, value)
		case "delay":
			s.StartDelay = duration(t, value)
		case "window":
			s.Windows = append(s.Windows, windowOf(t, value))
		default:
			t.Fatalf("%s: unknown setting %s", d.Pos, key)
		}
	}
	return s
}

// windowOf reads "01:00-05:00 sat,sun Europe/Madrid", the last two optional;
// "daily" stands for all days.
func windowOf(t *testing.T, text string) (w Window) {
	fields := strings.Fields(text)
	from, to, _ := strings.Cut(fields[0], "-")
	w.From, w.To = minutes(t, from), minutes(t, to)
	if len(fields) > 1 && fields[1] != "daily" {
		for name := range strings.SplitSeq(fields[1], ",") {
			day := strings.Index("sunmontuewedthufrisat", name)
			if day < 0 {
				t.Fatalf("no day %q", name)
			}
			w.Days = append(w.Days, time.Weekday(day/3))
		}
	}
	if len(fields) > 2 {
		w.Zone = zone(t, fields[2])
	}
	return w
}

func ticks(t *testing.T, d *datadriven.TestData, s Settings) string {
	var out []string
	from := at(t, d, s, "after")
	for range int(float(t, argument(d, "n"))) {
		from = s.cron().after(from)
		out = append(out, show(s, from))
	}
	return strings.Join(out, "\n")
}

func opens(t *testing.T, d *datadriven.TestData, s Settings) string {
	var out []string
	for line := range strings.Lines(d.Input) {
		moment := parse(t, s, strings.TrimSpace(line))
		if s.Open(moment) {
			out = append(out, show(s, moment)+" open")
			continue
		}
		out = append(out, show(s, moment)+" closed until "+show(s, s.NextOpen(moment)))
	}
	return strings.Join(out, "\n")
}

func show(s Settings, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.In(s.Zone).Format("Mon 2006-01-02 15:04:05 MST")
}

func at(t *testing.T, d *datadriven.TestData, s Settings, key string) time.Time {
	if !d.HasArg(key) {
		return time.Time{}
	}
	return parse(t, s, argument(d, key))
}

func parse(t *testing.T, s Settings, text string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z07:00"} {
		if v, err := time.Parse(layout, text); err == nil {
			return v
		}
	}
	v, err := time.ParseInLocation("2006-01-02T15:04", text, s.Zone)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func argument(d *datadriven.TestData, key string) string {
	for _, arg := range d.CmdArgs {
		if arg.Key == key {
			return arg.Vals[0]
		}
	}
	return ""
}

func duration(t *testing.T, s string) time.Duration {
	v, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func float(t *testing.T, s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func minutes(t *testing.T, s string) int {
	var h, m int
	if _, err := fmt.Sscanf(s, "%d:%d", &h, &m); err != nil {
		t.Fatal(err)
	}
	return h*60 + m
}

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}
