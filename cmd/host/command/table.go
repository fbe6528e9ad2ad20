package command

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wringdb/wring/sdk"
)

// table is rows under a head, columns aligned. A head that starts with ">"
// is a column of figures, aligned to the right.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	widths := make([]int, len(t.head))
	right := make([]bool, len(t.head))
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i], right[i] = strings.CutPrefix(h, ">")
	}
	all := append([][]string{head}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if right[i] {
				line.WriteString(pad + cell + "  ")
			} else {
				line.WriteString(cell + pad + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// percent writes a ratio for people.
func percent(ratio float64) string { return fmt.Sprintf("%.0f %%", ratio*100) }

// size writes the size of a store, which is 0 where it could not be looked at.
func size(n int64) string {
	if n == 0 {
		return "-"
	}
	return sdk.FormatBytes(n)
}

// signed writes an amount of bytes that may have grown.
func signed(n int64) string {
	if n == 0 {
		return "0 B"
	}
	return sdk.FormatBytes(n)
}

// ago writes how long before now something was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return span(now.Sub(t)) + " ago"
}

// until writes how long after now something will be.
func until(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case !t.After(now):
		return "now"
	}
	return "in " + span(t.Sub(now))
}

// span writes a duration with the two units that matter.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute-50*time.Millisecond:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour-500*time.Millisecond:
		return withoutZero(d.Round(time.Second))
	case d < 24*time.Hour-30*time.Second:
		return withoutZero(d.Round(time.Minute))
	}
	hours := d.Round(time.Hour) / time.Hour
	return fmt.Sprintf("%dd%dh", hours/24, hours%24)
}

// withoutZero leaves out seconds that are none: "5m" for "5m0s", but "5m10s".
func withoutZero(d time.Duration) string {
	text := d.String()
	if minutes, ok := strings.CutSuffix(text, "m0s"); ok {
		return minutes + "m"
	}
	return text
}

func milliseconds(ms int64) string { return span(time.Duration(ms) * time.Millisecond) }
