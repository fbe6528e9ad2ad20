// Package event carries what happens in the host to whoever listens.
package event

import (
	"fmt"
	"strings"
	"time"

	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// Name says what happened.
type Name string

// The names are part of the interface to the outside and do not change.
const (
	CompactionStarted  Name = "compaction_started"
	CompactionProgress Name = "compaction_progress"
	CompactionComplete Name = "compaction_complete"
	CompactionFailed   Name = "compaction_failed"
	CompactionSkipped  Name = "compaction_skipped"
	CompactionDeferred Name = "compaction_deferred"
	RunStarted         Name = "run_started"
	RunComplete        Name = "run_complete"
	PluginUp           Name = "plugin_up"
	PluginDown         Name = "plugin_down"
	StoreOverdue       Name = "store_overdue"
	StoreDegraded      Name = "store_degraded"
	StoreRecovered     Name = "store_recovered"
	DiskFullSoon       Name = "disk_full_soon"
)

// Event is one thing that happened. Fields that do not apply are empty. What
// its pointers lead to is shared by all listeners and not to be changed.
type Event struct {
	// ID grows by one for each event of a host. It begins above the IDs of the host
	// that ran before.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	Name Name      `json:"name"`
	// Message is a sentence for people.
	Message string `json:"message"`

	// Dropped is how many events just before this one the listener has missed,
	// because it was too slow or came too late.
	Dropped uint64 `json:"dropped,omitempty"`

	Run    string `json:"run,omitempty"`
	Store  string `json:"store,omitempty"`
	Plugin string `json:"plugin,omitempty"`

	Progress *Progress       `json:"progress,omitempty"`
	Result   *history.Result `json:"result,omitempty"`
	// Summary is set on run_complete, without the single results.
	Summary *history.Run `json:"summary,omitempty"`
}

// Progress is what a backend says of its progress, and what follows from it.
type Progress struct {
	sdk.Progress
	// ETAMS is how much longer the phase takes at the rate that it has had in the
	// last seconds, in milliseconds; 0 while that is not known. Other phases may
	// follow.
	ETAMS int64 `json:"eta_ms,omitempty"`
}

// Left is "3s left in this phase", or "" where that is not known.
func (p Progress) Left() string {
	if p.ETAMS <= 0 {
		return ""
	}
	left := time.Duration(p.ETAMS) * time.Millisecond
	return max(left.Round(time.Second), time.Second).String() + " left in this phase"
}

// String is the event as one line for people.
func (e Event) String() string {
	var line strings.Builder
	if e.Dropped > 0 {
		fmt.Fprintf(&line, "(%d missed) ", e.Dropped)
	}
	line.WriteString(e.Time.Format(time.RFC3339))
	line.WriteByte(' ')
	line.WriteString(string(e.Name))
	if subject := e.subject(); subject != "" {
		line.WriteByte(' ')
		line.WriteString(subject)
	}
	if e.Message != "" {
		line.WriteString(": ")
		line.WriteString(e.Message)
	}
	if e.Progress != nil {
		line.WriteString(": ")
		line.WriteString(describe(*e.Progress))
	}
	return oneLine(line.String())
}

// subject is what the event is about, the nearest thing first.
func (e Event) subject() string {
	switch {
	case e.Store != "":
		return e.Store
	case e.Plugin != "":
		return e.Plugin
	default:
		return e.Run
	}
}

func describe(p Progress) string {
	amount := func(n int64) string { return strings.TrimSpace(fmt.Sprintf("%d %s", n, p.Unit)) }
	if p.Unit == "bytes" {
		amount = sdk.FormatBytes
	}
	if p.Total <= 0 {
		return fmt.Sprintf("%s %s", p.Phase, amount(p.Done))
	}
	text := fmt.Sprintf("%s %s of %s (%.0f %%)", p.Phase, amount(p.Done), amount(p.Total),
		100*float64(p.Done)/float64(p.Total))
	if left := p.Left(); left != "" {
		text += ", " + left
	}
	return text
}

// oneLine keeps control characters, which names and errors of others may hold,
// away from the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
