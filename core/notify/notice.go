package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// Event is what a notice tells.
type Event string

// The names are part of the interface to the outside and do not change.
const (
	// Failed: a run could not compact a store, its retries included, or what became
	// of it is not known.
	Failed Event = "failed"
	// Degraded: that has happened history.DegradedAfter times in a row.
	Degraded Event = "degraded"
	// Overdue: the last success is longer ago than the schedule allows.
	Overdue Event = "overdue"
	// DiskFullSoon: a file system that stores are on is going to be full, or has no
	// room for the next compaction of one of them.
	DiskFullSoon Event = "disk_full_soon"
	// Recovered: the next success after any of the first three.
	Recovered Event = "recovered"
	// Test: somebody wanted to see whether notices arrive.
	Test Event = "test"
)

// documentVersion of Notice. Fields may be added under it; none changes its
// meaning or goes.
const documentVersion = 1

// Notice is one thing to tell. As JSON it is the document that webhooks and
// commands get.
type Notice struct {
	Version int `json:"version"`
	// ID is the notice's own. A notice that is delivered more than once has the
	// same each time.
	ID    string `json:"id"`
	Event Event  `json:"event"`
	// Time is when it was noticed.
	Time time.Time `json:"time"`
	// Host is the name of the machine.
	Host string `json:"host"`
	// Store is the store as it is called in wring status; for a disk, the one
	// that will feel it first.
	Store string `json:"store,omitempty"`
	// Configured is the store in the configuration that stands for Store; empty
	// for a store that is configured itself.
	Configured string `json:"configured,omitempty"`
	// Message is a sentence for people, Hint what they can do.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	// ConsecutiveFailures are the failed runs in a row.
	ConsecutiveFailures int `json:"consecutive_failures,omitempty"`
	// LastSuccessAt is zero for a store that was never looked at successfully.
	LastSuccessAt time.Time `json:"last_success_at,omitzero"`
	// Recovered are the states that a recovered store was in, and since when.
	Recovered []Since `json:"recovered,omitempty"`
	// Result is the last result of the store.
	Result *history.Result `json:"result,omitempty"`
	// Disk is set on disk_full_soon.
	Disk *Disk `json:"disk,omitempty"`
}

// Since is a state, and when it was told.
type Since struct {
	Event Event     `json:"event"`
	At    time.Time `json:"at"`
}

// Disk is a file system that gets full.
type Disk struct {
	// Mount is the directory at which it is mounted.
	Mount string `json:"mount"`
	// Stores are those on it that it matters to, the first that feels it first.
	Stores    []string `json:"stores"`
	FreeBytes int64    `json:"free_bytes"`
	// FullAt is when it will be full if it goes on; not after now when there is no
	// room for the next compaction of Stores[0], and Reason is why.
	FullAt time.Time `json:"full_at"`
	Reason string    `json:"reason,omitempty"`
	Hint   string    `json:"-"`

	// Configured are the stores in the configuration that stand for Stores.
	Configured []string `json:"-"`
}

// sentence says what a notice tells, for people.
func (n Notice) sentence() string {
	switch n.Event {
	case Failed:
		return fmt.Sprintf("%s %s", n.Store, failure(n.Result))
	case Degraded:
		return fmt.Sprintf("%s has failed %d times in a row; the last time it %s", n.Store, n.ConsecutiveFailures, failure(n.Result))
	case Overdue:
		last := "it has never been looked at successfully"
		if !n.LastSuccessAt.IsZero() {
			last = "the last success was at " + n.LastSuccessAt.UTC().Format("2006-01-02 15:04 MST")
		}
		return fmt.Sprintf("%s was not looked after in time: %s%s", n.Store, last, since(n.Result))
	case Recovered:
		were := make([]string, len(n.Recovered))
		for i, r := range n.Recovered {
			were[i] = string(r.Event)
		}
		return fmt.Sprintf("%s is well again (it was %s)%s", n.Store, strings.Join(were, ", "), came(n.Result))
	case DiskFullSoon:
		return n.Disk.sentence(n.Time)
	case Test:
	}
	return "this is a test: notices of wring arrive here"
}

func failure(r *history.Result) string {
	switch {
	case r == nil:
		return "could not be compacted: see wring history"
	case r.Outcome == history.Unknown:
		return "may or may not have been compacted: " + r.Reason
	}
	return "could not be compacted: " + r.Reason
}

// since says what has kept a store from a success.
func since(r *history.Result) string {
	if r == nil || r.Outcome == history.Compacted || r.Outcome == history.NoOp {
		return ""
	}
	return fmt.Sprintf("; its last result is %s: %s", r.Outcome, r.Reason)
}

func came(r *history.Result) string {
	switch {
	case r == nil:
		return ""
	case r.Outcome == history.Compacted:
		return fmt.Sprintf(": compacted, %s given back", sdk.FormatBytes(r.ReclaimedBytes))
	}
	return fmt.Sprintf(": %s, %s", r.Outcome, r.Reason)
}

func (d Disk) sentence(now time.Time) string {
	of, grow := d.Stores[0], "goes"
	if len(d.Stores) > 1 {
		of, grow = fmt.Sprintf("%s and %d more", of, len(d.Stores)-1), "go"
	}
	free := sdk.FormatBytes(d.FreeBytes)
	if !d.FullAt.After(now) {
		text := fmt.Sprintf("the disk at %s has no room for the next compaction of %s: %s are free", d.Mount, of, free)
		if d.Reason != "" {
			text += "; " + d.Reason
		}
		return text
	}
	return fmt.Sprintf("the disk at %s is full %s if %s %s on growing: %s are free", d.Mount, within(d.FullAt.Sub(now)), of, grow, free)
}

// within says how far away something is that nobody knows exactly.
func within(d time.Duration) string {
	switch hours := int(d.Round(time.Hour) / time.Hour); {
	case hours <= 1:
		return "within the hour"
	case hours < 48:
		return fmt.Sprintf("in about %d hours", hours)
	default:
		return fmt.Sprintf("in about %d days", (hours+12)/24)
	}
}
