package history

import "time"

// After is the past once r has happened.
func (p Past) After(r Result) Past {
	if r.Code == CodeAlreadyRunning || r.Code == CodeNotReached {
		return p // nobody looked at the store
	}
	if p.LastSuccessAt.IsZero() && p.TriedSince.IsZero() {
		p.TriedSince = r.FinishedAt
		if !p.LastAttemptAt.IsZero() { // by a host that did not note it
			p.TriedSince = p.LastAttemptAt
		}
	}
	p.LastAttemptAt = r.FinishedAt
	// A deferred attempt was refused before it began.
	if r.Attempts > 0 && r.Outcome != Deferred {
		p.LastCompactionAt = r.StartedAt
	}
	switch r.Outcome {
	case Compacted, NoOp:
		p = p.succeeded(r)
		p.Unresolved = false
		p.LastCompletedAt = r.StartedAt
		p = p.yielded(r)
	case Skipped:
		if r.Code == CodeNoFiles {
			break // nothing was looked at
		}
		p.Unresolved = false
		if r.Code == codeLowYield {
			p.LowYieldSkips++
		}
		if r.Code != codeMinGap || p.ConsecutiveFailures == 0 {
			p = p.succeeded(r)
		}
	case Deferred:
		// Whoever holds the store may be the compaction that was lost.
		if r.Code == codeWindow {
			p.Unresolved = false
		}
	case Failed:
		p.ConsecutiveFailures++
		p.Unresolved = p.Unresolved && r.Attempts == 0
	case Cancelled:
		p.Unresolved = p.Unresolved && r.Attempts == 0
	case Unknown:
		p.ConsecutiveFailures++
		p.Unresolved = true
	}
	return p
}

func (p Past) succeeded(r Result) Past {
	p.LastSuccessAt, p.TriedSince = r.FinishedAt, time.Time{}
	p.ConsecutiveFailures = 0
	return p
}

// yielded holds what a compaction gave back against what was predicted.
func (p Past) yielded(r Result) Past {
	if r.PredictedBytes <= 0 {
		return p // nothing was promised
	}
	p.LowYieldSkips = 0
	if r.ReclaimedBytes < r.PredictedBytes/2 {
		p.LowYields++
	} else {
		p.LowYields = 0
	}
	return p
}

// DegradedAfter is how many failed runs in a row make a store degraded.
const DegradedAfter = 3

// Health is how well a store is looked after.
type Health struct {
	LastCompactionAt    time.Time `json:"last_compaction_at,omitzero"`
	LastSuccessAt       time.Time `json:"last_success_at,omitzero"`
	ConsecutiveFailures int       `json:"consecutive_failures"`
	// Degraded after DegradedAfter failures in a row.
	Degraded bool `json:"degraded"`
	// Overdue when the last success is longer ago than the schedule allows.
	Overdue bool `json:"overdue"`
	// Unresolved while the last outcome is unknown.
	Unresolved bool `json:"unresolved"`
}

// Health judges the past at a time. Due is when the store was first due after
// its last success; zero means that it has no schedule and is never overdue.
// After is how long it may stay due; 0 switches overdue off.
func (p Past) Health(now, due time.Time, after time.Duration) Health {
	return Health{
		LastCompactionAt:    p.LastCompactionAt,
		LastSuccessAt:       p.LastSuccessAt,
		ConsecutiveFailures: p.ConsecutiveFailures,
		Degraded:            p.ConsecutiveFailures >= DegradedAfter,
		Overdue:             after > 0 && !due.IsZero() && p.LastSuccessAt.Before(due) && now.After(due.Add(after)),
		Unresolved:          p.Unresolved,
	}
}
