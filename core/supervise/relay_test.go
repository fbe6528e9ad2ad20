package supervise

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// relayTo returns a relay that logs at a level into a buffer, with a clock that
// stands still until told.
func relayTo(level hclog.Level) (*Relay, *bytes.Buffer, *time.Time) {
	var out bytes.Buffer
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	logger := hclog.New(&hclog.LoggerOptions{Name: "bolt", Level: level, Output: &out, DisableTime: true})
	return NewRelay(logger, func() time.Time { return now }), &out, &now
}

func TestRelayReadsAnyLine(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"hclog", `{"@level":"warn","@message":"slow disk","@module":"wring-plugin-bolt","@timestamp":"2026-11-01T00:00:00.000000Z","ms":12,"path":"/a"}`,
			`[WARN]  bolt: slow disk: ms=12 path=/a`},
		{"slog", `{"time":"2026-11-01T00:00:00Z","level":"ERROR","msg":"no","n":{"a": 1}}`, `[ERROR] bolt: no: n="{\"a\":1}"`},
		{"slog between levels", `{"time":"x","level":"DEBUG+2","msg":"fine"}`, `[DEBUG] bolt: fine`},
		{"level that is no string", `{"@level":3}`, `[INFO]  bolt: {"@level":3}`},
		{"message that is no string", `{"@level":"info","@message":{"a":1}}`, `[INFO]  bolt: {"@level":"info","@message":{"a":1}}`},
		{"message that is null", `{"@level":"info","@message":null}`, `[INFO]  bolt: {"@level":"info","@message":null}`},
		{"unknown level", `{"@level":"loud","@message":"x"}`, `[INFO]  bolt: x`},
		{"level off", `{"@level":"off","@message":"x"}`, `[INFO]  bolt: x`},
		{"timestamp that is no time", `{"@level":"info","@message":"x","@timestamp":[1]}`, `[INFO]  bolt: x`},
		{"no object", `[1,2]`, `[INFO]  bolt: [1,2]`},
		{"half an object", `{"@level":"info","@mess`, `[INFO]  bolt: {"@level":"info","@mess`},
		{"plain", "opening /a", `[INFO]  bolt: opening /a`},
		{"prefix", "[ERROR] it broke", `[ERROR] bolt: it broke`},
		{"short prefix", "[ERR] it broke", `[ERROR] bolt: it broke`},
		{"other bracket", "[pid 3] x", `[INFO]  bolt: [pid 3] x`},
		{"carriage return", "x\r", `[INFO]  bolt: x`},
		{"terminal escapes", "\x1b[2Jx\x07\u009b", `[INFO]  bolt:  [2Jx  `},
		{"not UTF-8", "a\xff\xfeb", `[INFO]  bolt: a` + "�" + `b`},
		{"escapes in fields", `{"@level":"info","@message":"m","k\u001b":"v\u001b"}`, `[INFO]  bolt: m: k =v `},
		{"depth", strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), `[INFO]  bolt: {"a":`},
	} {
		t.Run(test.name, func(t *testing.T) {
			relay, out, _ := relayTo(hclog.Trace)
			if n, err := relay.Write([]byte(test.line + "\n")); n != len(test.line)+1 || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			got := strings.TrimSuffix(out.String(), "\n")
			if test.name == "depth" {
				got = got[:len(test.want)]
			}
			// hclog quotes values with spaces; only what is inside matters here.
			if strings.ReplaceAll(got, `"v "`, "v ") != test.want {
				t.Errorf("logged %q\nwant   %q", got, test.want)
			}
		})
	}
}

func TestRelayJoinsAndSplitsWrites(t *testing.T) {
	relay, out, _ := relayTo(hclog.Trace)
	for _, part := range []string{"one", " and", " two\n\n  \nthree\nfo", "ur"} {
		if _, err := relay.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(relay.tail.list(), "|"); got != "one and two|three" {
		t.Errorf("lines %q", got)
	}
	relay.Flush()
	relay.Flush()
	if got := strings.Join(relay.tail.list(), "|"); got != "one and two|three|four" {
		t.Errorf("lines after Flush %q", got)
	}
	if want := "[INFO]  bolt: one and two\n[INFO]  bolt: three\n[INFO]  bolt: four\n"; out.String() != want {
		t.Errorf("logged %q, want %q", out.String(), want)
	}
}

func TestRelayBoundsALine(t *testing.T) {
	relay, out, _ := relayTo(hclog.Trace)
	chunk := bytes.Repeat([]byte("é"), 1<<10)
	for range 1 << 10 { // 2 MiB without an end
		if _, err := relay.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if held := len(relay.partial); held > maxLine {
		t.Errorf("%d bytes of the line are held, want at most %d", held, maxLine)
	}
	if _, err := relay.Write([]byte("\nnext\n")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("… (%d bytes more)", 2<<20-maxLine)) || !strings.Contains(out.String(), "bolt: next") {
		t.Errorf("logged %d bytes, end %q", out.Len(), out.String()[max(0, out.Len()-80):])
	}
	if kept := len(relay.tail.list()[0]); kept > maxKeptLine+len("…") {
		t.Errorf("a kept line has %d bytes", kept)
	}
}

func TestRelayBoundsFields(t *testing.T) {
	relay, out, _ := relayTo(hclog.Trace)
	var b strings.Builder
	b.WriteString(`{"@level":"info","@message":"m"`)
	for i := range 200 {
		fmt.Fprintf(&b, `,"f%03d":1`, i)
	}
	if _, err := relay.Write([]byte(b.String() + "}\n")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "=1"); got != maxFields+1 { // fields_left_out=136 too
		t.Errorf("%d fields logged, want %d", got, maxFields)
	}
	if !strings.Contains(out.String(), "fields_left_out=136") {
		t.Errorf("nothing is said of the fields left out: %s", out)
	}
}

func TestRelayKeepsTheNewestLines(t *testing.T) {
	relay, _, _ := relayTo(hclog.Off)
	for i := range 100 {
		fmt.Fprintf(relay, "line %d\n", i)
	}
	lines := relay.tail.list()
	if len(lines) != keptLines || lines[0] != "line 80" || lines[keptLines-1] != "line 99" {
		t.Errorf("kept %q", lines)
	}
	fmt.Fprintln(relay, `{"@level":"warn","@message":"m","k":"v"}`)
	if last := relay.tail.list()[keptLines-1]; last != `warn: m: k="v"` {
		t.Errorf("a structured line is kept as %q", last)
	}
}

func TestRelayBoundsTheRate(t *testing.T) {
	relay, out, now := relayTo(hclog.Trace)
	for i := range lineBurst + 500 {
		fmt.Fprintf(relay, "line %d\n", i)
	}
	if got := strings.Count(out.String(), "\n"); got != lineBurst {
		t.Errorf("%d lines logged at once, want %d", got, lineBurst)
	}
	out.Reset()
	*now = now.Add(time.Second)
	for i := range lineRate + 7 {
		fmt.Fprintf(relay, "later %d\n", i)
	}
	if got := strings.Count(out.String(), "bolt: later"); got != lineRate {
		t.Errorf("%d lines logged a second later, want %d", got, lineRate)
	}
	if !strings.Contains(out.String(), "writes more than is logged: lines_left_out=500") {
		t.Errorf("nothing is said of the lines left out: %.200s", out)
	}
	out.Reset()
	relay.Flush()
	if !strings.Contains(out.String(), "lines_left_out=7") {
		t.Errorf("Flush says nothing of the lines left out: %s", out)
	}
	// A clock that is set back gives nothing for free, and takes nothing.
	*now = now.Add(-time.Hour)
	out.Reset()
	fmt.Fprintln(relay, "past")
	if out.Len() != 0 {
		t.Errorf("logged %q", out)
	}
}

func TestRelayIsQuietAtTheLevelOfACommand(t *testing.T) {
	relay, out, _ := relayTo(hclog.Warn)
	fmt.Fprint(relay, "starting\n", `{"@level":"info","@message":"open"}`+"\n", `{"@level":"debug","@message":"page"}`+"\n")
	relay.Flush()
	if out.Len() != 0 {
		t.Errorf("a healthy plugin makes a command print %q", out)
	}
	fmt.Fprint(relay, "panic: boom\n\ngoroutine 1 [running]:\n")
	if want := "[ERROR] bolt: panic: boom\n[ERROR] bolt: goroutine 1 [running]:\n"; out.String() != want {
		t.Errorf("a panic is logged as %q, want %q", out, want)
	}
	if relay.Panic() != "panic: boom" {
		t.Errorf("Panic = %q", relay.Panic())
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add(`{"@level":3}`)
	f.Add(`{"@level":"info","@message":"x","k":[1,{"a":null}]}`)
	f.Add("[WARN] x\x1b")
	f.Fuzz(func(t *testing.T, line string) {
		e, _ := parseLine(line)
		if strings.ContainsAny(e.text(), "\x1b\n\r\x00") {
			t.Errorf("parseLine(%q) lets %q through", line, e.text())
		}
		if len(e.fields)%2 != 0 {
			t.Errorf("parseLine(%q) has a name without value", line)
		}
	})
}
