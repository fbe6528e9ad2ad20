package policy

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/wringdb/wring/sdk"
)

// figures begins most sentences: "reclaimable 3.0 MiB of 20.0 MiB (15 %)".
func figures(in Input) string {
	if in.ReclaimableBytes == 0 {
		return fmt.Sprintf("nothing of %s is reclaimable", sdk.FormatBytes(in.AllocatedBytes))
	}
	return fmt.Sprintf("reclaimable %s of %s (%s)", sdk.FormatBytes(in.ReclaimableBytes), sdk.FormatBytes(in.AllocatedBytes), percent(in.Ratio))
}

// nameOr returns the store's name, or what stands for it.
func (in Input) nameOr(standIn string) string {
	if in.Name == "" {
		return standIn
	}
	return in.Name
}

// asked names all that would be enough.
func (s Settings) asked() string {
	text := fmt.Sprintf("%s and %s", percent(s.MinRatio), sdk.FormatBytes(s.MinReclaim))
	if s.MaxFree > 0 {
		text += fmt.Sprintf(", or %s whatever the ratio", sdk.FormatBytes(s.MaxFree))
	}
	return text
}

// missing names the thresholds that in is below.
func (s Settings) missing(in Input) string {
	var below []string
	if !(in.Ratio >= s.MinRatio) {
		ratio, bar := percentsApart(in.Ratio, s.MinRatio)
		text := "the threshold of " + bar
		if ratio != percent(in.Ratio) {
			text += " (it is " + ratio + ")"
		}
		below = append(below, text)
	}
	if in.ReclaimableBytes < s.MinReclaim {
		text := sdk.FormatBytes(s.MinReclaim) + ", the least amount worth it"
		if sdk.FormatBytes(s.MinReclaim) == sdk.FormatBytes(in.ReclaimableBytes) {
			text += fmt.Sprintf(" (by %s)", sdk.FormatBytes(s.MinReclaim-in.ReclaimableBytes))
		}
		below = append(below, text)
	}
	return strings.Join(below, " and below ")
}

// closed says that the window is, and when it opens.
func closed(in Input) string {
	if in.WindowOpens.IsZero() {
		return "its windows never open"
	}
	return "its window is closed until " + moment(in.WindowOpens)
}

// lowYields says why the bar is higher than configured.
func lowYields(n int) string {
	if n == 1 {
		return "a compaction that gave back less than half of what was predicted"
	}
	return fmt.Sprintf("%d compactions that gave back less than half of what was predicted", n)
}

// raisedBy follows thresholds that are not the configured ones.
func raisedBy(raise int64, in Input) string {
	if raise <= 1 {
		return ""
	}
	return fmt.Sprintf(" (up to %d times what is configured, after %s)", raise, lowYields(in.LowYields))
}

// percent writes a share for people: "15 %", "7.5 %".
func percent(share float64) string {
	switch {
	case math.IsNaN(share):
		return "an unknown share"
	case share > 0 && share < 0.0005:
		return "under 0.1 %"
	}
	return percentTo(share, 1)
}

func percentTo(share float64, decimals int) string {
	text := fmt.Sprintf("%.*f", decimals, share*100)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + " %"
}

// percentsApart writes two different shares with as many decimals as it takes
// to tell them apart.
func percentsApart(a, b float64) (string, string) {
	if a, b := percent(a), percent(b); a != b {
		return a, b
	}
	for decimals := 2; decimals < 12; decimals++ {
		if x, y := percentTo(a, decimals), percentTo(b, decimals); x != y {
			return x, y
		}
	}
	return percent(a), percent(b)
}

// span writes a duration for people in its two largest units: "1 h 20 min".
func span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.size, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf(" %d %s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "less than 1 s"
}

// moment writes a time for people, in its own zone.
func moment(t time.Time) string {
	if t.Second() != 0 {
		return t.Format("Mon 2006-01-02 15:04:05 MST")
	}
	return t.Format("Mon 2006-01-02 15:04 MST")
}
