package schedule

import "time"

// resolve returns the instant at which clocks in loc show minute minutes after
// the midnight that begins a day. A time that clocks skip when they go forward
// becomes the moment of the change; of a time that they show twice when they
// go back it is the first.
func resolve(day time.Time, minute int, loc *time.Location) time.Time {
	y, m, d := day.Date()
	wall := time.Date(y, m, d, 0, minute, 0, 0, time.UTC).Unix()
	// Offsets that hold well before and well after: a zone changes at most
	// once within two days, and by less than 26 hours.
	const around = 26 * 3600
	before, after := offset(wall-around, loc), offset(wall+around, loc)
	for _, off := range []int64{max(before, after), min(before, after)} { // the larger offset is the earlier instant
		if offset(wall-off, loc) == off {
			return time.Unix(wall-off, 0).In(loc)
		}
	}
	start, _ := time.Unix(wall-before, 0).In(loc).ZoneBounds()
	return start
}

// offset returns how many seconds loc is ahead of UTC at an instant.
func offset(unix int64, loc *time.Location) int64 {
	_, off := time.Unix(unix, 0).In(loc).Zone()
	return int64(off)
}

// repeated says whether clocks show the wall-clock time of t for the second
// time, because they went back a little earlier.
func repeated(t time.Time) bool {
	start, _ := t.ZoneBounds()
	if start.IsZero() {
		return false
	}
	back := offset(start.Unix()-1, t.Location()) - offset(start.Unix(), t.Location())
	return t.Unix()-start.Unix() < back
}

// forward is a change at which clocks skip the wall-clock times from From to
// To. Both are written as if they were UTC.
type forward struct{ From, To time.Time }

// forwards returns the changes within a year from t on.
func forwards(t time.Time, loc *time.Location) []forward {
	var found []forward
	at, last := t.In(loc), t.AddDate(1, 0, 0)
	for {
		_, end := at.ZoneBounds()
		if end.IsZero() || end.After(last) {
			return found
		}
		before, after := offset(end.Unix()-1, loc), offset(end.Unix(), loc)
		if after > before {
			found = append(found, forward{
				From: time.Unix(end.Unix()+before, 0).UTC(),
				To:   time.Unix(end.Unix()+after, 0).UTC(),
			})
		}
		at = end
	}
}

func zoneOr(zone, otherwise *time.Location) *time.Location {
	if zone != nil {
		return zone
	}
	if otherwise != nil {
		return otherwise
	}
	return time.Local
}
