// Package event carries what happens in the host to whoever listens.
package event

import (
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
)

// Event is one thing that happened. Fields that do not apply are empty.
type Event struct {
	// ID grows by one for each event since the host started, from 1.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	Name Name      `json:"name"`
	// Message is a sentence for people.
	Message string `json:"message"`

	Run    string `json:"run,omitempty"`
	Store  string `json:"store,omitempty"`
	Plugin string `json:"plugin,omitempty"`

	Progress *sdk.Progress   `json:"progress,omitempty"`
	Result   *history.Result `json:"result,omitempty"`
	// Summary is set on run_complete, without the single results.
	Summary *history.Run `json:"summary,omitempty"`
}
