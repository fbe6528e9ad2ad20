package schedule

import (
	"fmt"
	"strings"
	"time"
)

// ahead is how many times of a cron expression are held against the windows.
const ahead = 28

// Warnings says what in a schedule may surprise its author within a year from
// now on, as sentences for people.
func (s Settings) Warnings(now time.Time) []string {
	var found []string
	found = append(found, s.skippedTimes(now)...)
	found = append(found, s.skippedWindows(now)...)
	found = append(found, s.outsideWindows(now)...)
	return found
}

// skippedTimes finds times of a cron expression that clocks skip.
func (s Settings) skippedTimes(now time.Time) []string {
	if s.Cron == "" || strings.HasPrefix(s.cron().hour(), "*") {
		return nil // a rhythm goes on in the next hour
	}
	var found []string
	zone := zoneOr(s.Zone, nil)
	for _, change := range forwards(now, zone) {
		for wall := change.From; wall.Before(change.To); wall = wall.Add(time.Minute) {
			if due(s.Cron, wall) {
				found = append(found, fmt.Sprintf(
					"cron = %q is left out on %s: clocks in %s go from %s to %s on that day, and %s does not exist; a time before or after that hour runs every day",
					s.Cron, wall.Format("Mon 2006-01-02"), zone, change.From.Format("15:04"), change.To.Format("15:04"), wall.Format("15:04")))
				break
			}
		}
	}
	return found
}

// skippedWindows finds openings that lie wholly in what clocks skip.
func (s Settings) skippedWindows(now time.Time) []string {
	var found []string
	for _, w := range s.Windows {
		zone := zoneOr(w.Zone, s.Zone)
		for _, change := range forwards(now, zone) {
			around(change.From, time.UTC, -1, 0, func(day time.Time) {
				if _, opens := w.on(day, zone); opens {
					return
				}
				if _, ever := w.on(day, time.UTC); !ever {
					return // not one of its days
				}
				found = append(found, fmt.Sprintf(
					"the window from %s does not open on %s: clocks in %s go from %s to %s on that day",
					w, day.Format("Mon 2006-01-02"), zone, change.From.Format("15:04"), change.To.Format("15:04")))
			})
		}
	}
	return found
}

// outsideWindows finds a schedule that the windows hold up.
func (s Settings) outsideWindows(now time.Time) []string {
	if len(s.Windows) == 0 {
		return nil
	}
	if s.Cron == "" {
		if closed := s.closedFor(now); closed > 24*time.Hour && closed > s.Every {
			return []string{fmt.Sprintf("every = %q is shorter than the windows allow: they are closed for up to %s in a row, and the store waits until one opens",
				short(s.Every), short(closed.Round(time.Minute)))}
		}
		return nil
	}
	outside, total := 0, 0
	for at := s.cron().after(now); total < ahead && !at.IsZero(); at = s.cron().after(at) {
		total++
		if !s.Open(at) {
			outside++
		}
	}
	if outside == 0 {
		return nil
	}
	return []string{fmt.Sprintf("of the next %d times of cron = %q %d lie outside the windows: then the store waits until the next one opens",
		total, s.Cron, outside)}
}

// short writes a duration as people write it in a configuration: "6h".
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// String shows the times of day.
func (w Window) String() string {
	return fmt.Sprintf("%02d:%02d to %02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
}
