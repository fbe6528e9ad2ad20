package schedule

import (
	"slices"
	"time"
)

// span is one opening of a window.
type span struct{ opens, closes time.Time }

// on returns the opening of the window that begins on a day, if it has one.
// Daylight saving can make it longer, shorter, or nothing at all.
func (w Window) on(day time.Time, zone *time.Location) (span, bool) {
	if len(w.Days) > 0 && !slices.Contains(w.Days, day.Weekday()) {
		return span{}, false
	}
	to := w.To
	if to <= w.From {
		to += 24 * 60
	}
	s := span{resolve(day, w.From, zone), resolve(day, to, zone)}
	return s, s.opens.Before(s.closes)
}

// around calls visit with the days from first to last, counted from the day of
// t in a zone.
func around(t time.Time, zone *time.Location, first, last int, visit func(day time.Time)) {
	y, m, d := t.In(zone).Date()
	for i := first; i <= last; i++ {
		visit(time.Date(y, m, d+i, 0, 0, 0, 0, time.UTC))
	}
}

// covering returns the opening of a window that at lies in: of several the one
// that closes last.
func (s Settings) covering(at time.Time) (span, bool) {
	var found span
	for _, w := range s.Windows {
		zone := zoneOr(w.Zone, s.Zone)
		// One that opened yesterday may still be open; one of tomorrow may be
		// open already where clocks went back at midnight.
		around(at, zone, -1, 1, func(day time.Time) {
			if o, ok := w.on(day, zone); ok && !at.Before(o.opens) && at.Before(o.closes) && o.closes.After(found.closes) {
				found = o
			}
		})
	}
	return found, !found.closes.IsZero()
}

// Open says whether compaction is allowed at a time.
func (s Settings) Open(at time.Time) bool {
	if len(s.Windows) == 0 {
		return true
	}
	_, open := s.covering(at)
	return open
}

// NextOpen returns the first time from after on at which Open holds; zero for
// never, which needs a window without length.
func (s Settings) NextOpen(after time.Time) time.Time {
	if s.Open(after) {
		return after
	}
	var next time.Time
	for _, w := range s.Windows {
		zone := zoneOr(w.Zone, s.Zone)
		// A week, and another because daylight saving can swallow an opening.
		around(after, zone, 0, 15, func(day time.Time) {
			if o, ok := w.on(day, zone); ok && o.opens.After(after) && (next.IsZero() || o.opens.Before(next)) {
				next = o.opens
			}
		})
	}
	return next
}

// closedFor returns the longest time in a row in the fortnight after t in which
// no window is open.
func (s Settings) closedFor(t time.Time) time.Duration {
	var longest time.Duration
	for end := t.AddDate(0, 0, 14); t.Before(end); {
		opens := s.NextOpen(t)
		if opens.IsZero() {
			return longest
		}
		longest = max(longest, opens.Sub(t))
		o, open := s.covering(opens)
		if !open {
			return longest
		}
		t = o.closes
	}
	return longest
}
