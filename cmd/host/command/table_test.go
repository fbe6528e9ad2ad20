package command

import (
	"strings"
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{1234 * time.Microsecond, "1ms"},
		{999 * time.Millisecond, "999ms"},
		{1250 * time.Millisecond, "1.3s"},
		{10 * time.Second, "10s"},
		{59*time.Second + 990*time.Millisecond, "1m"},
		{time.Minute, "1m"},
		{70 * time.Second, "1m10s"},
		{20*time.Minute + 30*time.Second, "20m30s"},
		{59*time.Minute + 59*time.Second + 900*time.Millisecond, "1h0m"},
		{time.Hour + 20*time.Minute + 10*time.Second, "1h20m"},
		{10 * time.Hour, "10h0m"},
		{24*time.Hour - time.Second, "1d0h"},
		{50 * time.Hour, "2d2h"},
	} {
		if got := span(c.d); got != c.want {
			t.Errorf("span(%v): want %s, got %s", c.d, c.want, got)
		}
	}
}

// Most figures end in their unit; what is counted begins with it.
func TestMetricHasItsUnit(t *testing.T) {
	for name, want := range map[string]string{
		"bytes_read": "3.0 MiB", "free_bytes": "3.0 MiB", "bytes": "3.0 MiB", "freelist_kbytes_x": "3145728", "pages": "3145728",
	} {
		if got := metric(name, 3<<20); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := metric("fill_ratio", 0.25); got != percent(0.25) {
		t.Errorf("a ratio is %s", got)
	}
}

// Who cancels waits for the host no longer than need be: it is asked often at
// first, for the moment that most take, and less often then.
func TestPollAfter(t *testing.T) {
	for waited, most := range map[time.Duration]time.Duration{
		0: 20 * time.Millisecond, 900 * time.Millisecond: 20 * time.Millisecond, 5 * time.Second: 200 * time.Millisecond,
	} {
		if got := pollAfter(waited); got <= 0 || got > most {
			t.Errorf("after %s: %s, want at most %s", waited, got, most)
		}
	}
	if pollAfter(time.Minute) < 100*time.Millisecond {
		t.Error("a host with many stores is asked without a pause")
	}
}

func TestTableAlignsFiguresToTheRight(t *testing.T) {
	table := newTable("NAME", ">SIZE", "WHY")
	table.add("größer", "10 B", "")
	table.add("b", "2.0 MiB", "it is")
	var out strings.Builder
	table.print(&out)
	const want = `NAME       SIZE  WHY
größer     10 B
b       2.0 MiB  it is
`
	if out.String() != want {
		t.Errorf("want\n%sgot\n%s", want, out.String())
	}
}
