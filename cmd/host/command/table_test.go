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
