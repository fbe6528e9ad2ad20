package schedule

import "time"

// soon is how far ahead a time lies that is due already.
const soon = time.Second

// Input is what the next time depends on beside the settings.
type Input struct {
	Now time.Time
	// Started is when the host started: nothing is due before StartDelay has
	// passed since. Zero means long ago.
	Started time.Time
	// Last is when the store was last looked at; zero means never.
	Last time.Time
	// Jitter returns a number from 0 up to 1; nil means no jitter. It is called
	// at most once.
	Jitter func() float64
}

// Next returns when the store is next due. That is after Now, inside a window
// where there are any, and never zero for settings that are valid.
//
//   - every: so long after Last, and up to Jitter of it later; a store that was
//     never looked at is due as soon as StartDelay allows.
//   - cron: the first time after Last, without jitter; for a store that was
//     never looked at after Now.
//   - What became due while the host was down, or busy, is due at once.
//   - What would be due outside the windows is due when the next one opens.
func (s Settings) Next(in Input) time.Time {
	due := s.undelayed(in)
	if due.IsZero() {
		return due
	}
	if ready := in.Started.Add(s.StartDelay); !in.Started.IsZero() && due.Before(ready) {
		due = ready
	}
	if !due.After(in.Now) {
		due = in.Now.Add(soon)
	}
	return s.NextOpen(due)
}

// undelayed is Next without start delay and windows, and perhaps in the past.
func (s Settings) undelayed(in Input) time.Time {
	last := in.Last
	if last.After(in.Now) {
		last = in.Now // the clock was wrong, then or now, perhaps by years
	}
	switch {
	case s.Cron != "" && last.IsZero():
		return s.cron().after(in.Now)
	case s.Cron != "":
		return s.cron().after(last)
	case s.Every <= 0:
		return time.Time{}
	case last.IsZero():
		return in.Now
	}
	late := time.Duration(0)
	if in.Jitter != nil && s.Jitter > 0 {
		late = time.Duration(s.Jitter * in.Jitter() * float64(s.Every))
	}
	return last.Add(s.Every).Add(late)
}

func (s Settings) cron() cron { return cron{expr: s.Cron, loc: zoneOr(s.Zone, nil)} }

// Interval is how long it is at most from one time to the next, windows apart:
// Every, or the longest distance among the next times of a cron expression.
func (s Settings) Interval() time.Duration {
	if s.Cron == "" {
		return s.Every
	}
	var longest time.Duration
	for previous, i := s.cron().after(reference()), 0; i < 32 && !previous.IsZero(); i++ {
		next := s.cron().after(previous)
		longest = max(longest, next.Sub(previous))
		previous = next
	}
	return longest
}
