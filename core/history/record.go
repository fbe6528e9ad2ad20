// Package history remembers what happened to each store: the last runs, the
// last results of each store, and what the policy must know of its past.
package history

import "time"

// Outcome is how the attempt to compact a store ended.
type Outcome string

const (
	// Compacted: space was given back.
	Compacted Outcome = "compacted"
	// Skipped: the policy found it not worth doing.
	Skipped Outcome = "skipped"
	// NoOp: the backend found nothing to do.
	NoOp Outcome = "no_op"
	// Deferred: not possible now (locked, outside its window, no space, owner
	// away); no failure.
	Deferred Outcome = "deferred"
	// Failed: every attempt failed.
	Failed Outcome = "failed"
	// Cancelled: a person or the end of the host stopped it.
	Cancelled Outcome = "cancelled"
	// Unknown: the connection was lost in the middle, and nobody has looked
	// at the store since.
	Unknown Outcome = "unknown"
)

// Result is what one run did to one store.
type Result struct {
	Store  string `json:"store"`
	Plugin string `json:"plugin"`
	Engine string `json:"engine"`
	Path   string `json:"path"`
	// Configured is the store in the configuration whose pattern, or directory of
	// owners, found this one; empty for a store that is configured itself.
	Configured string `json:"configured,omitempty"`
	// Owner is the socket of the application that owns the store; empty for a
	// plugin's.
	Owner string `json:"owner,omitempty"`

	Outcome Outcome `json:"outcome" enum:"compacted,skipped,no_op,deferred,failed,cancelled,unknown"`
	// Code is the reason for programs: the policy's, or one of the constants.
	Code string `json:"code,omitempty"`
	// Reason is a sentence for people: why it was skipped, deferred or failed,
	// or why it was compacted.
	Reason string `json:"reason"`
	// Attempts is how many times Compact was called. An attempt that failed
	// before that, as it reached the backend or measured the store, is followed
	// by another as far as Retry allows, but is not in it.
	Attempts int `json:"attempts"`

	TotalBytesBefore int64 `json:"total_bytes_before"`
	TotalBytesAfter  int64 `json:"total_bytes_after"`
	// ReclaimedBytes and PredictedBytes are in allocated bytes, so that one can
	// be held against the other.
	ReclaimedBytes int64 `json:"reclaimed_bytes"`
	PredictedBytes int64 `json:"predicted_bytes"`

	DurationMS int64 `json:"duration_ms"`
	// PauseMS is how long writers of the store were held up, rounded up.
	PauseMS int64  `json:"pause_ms"`
	Mode    string `json:"mode"`

	// Verified is set when the content was compared and found equal; Digest
	// and Items are then what both sides have.
	Verified bool   `json:"verified"`
	Items    int64  `json:"items"`
	Digest   string `json:"digest"`

	// Error and Hint are set when the outcome is failed, deferred, cancelled or
	// unknown because of an error.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`

	// Run is the ID of the run. StartedAt is when the store's turn came, which
	// may be never; FinishedAt is when the outcome was known.
	Run        string    `json:"run"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// Codes of results that no policy decided. Locked, NoSpace and OwnerAway come
// with Deferred; AlreadyRunning, Vanished and NoFiles with Skipped.
const (
	// CodeLocked: somebody else holds the store.
	CodeLocked = "locked"
	// CodeNoSpace: the disk is too full to compact.
	CodeNoSpace = "no_space"
	// CodeOwnerAway: the application that owns the store does not answer.
	CodeOwnerAway = "owner_away"
	// CodeAlreadyRunning: another run is busy with the store, or this one is with
	// the same database under another name, and that result is the one that
	// counts.
	CodeAlreadyRunning = "already_running"
	// CodeVanished: a file that a pattern matched is gone again, or a store that
	// an owner had.
	CodeVanished = "vanished"
	// CodeNoFiles: a pattern matches nothing, or no owner is there. It is no success: a pattern that
	// stays so becomes overdue.
	CodeNoFiles = "no_files"
	// CodeNotReached: the run ended before the store's turn.
	CodeNotReached = "not_reached"
	// CodeCancelled: stopped in the middle; nothing in the store is lost.
	CodeCancelled = "cancelled"
	// CodeStalled: no progress for too long.
	CodeStalled = "stalled"
	// CodeLost: the connection was lost, or the host ended, in the middle.
	CodeLost = "lost"
	// CodeError: an attempt failed.
	CodeError = "error"
	// CodeNoOp: the backend found nothing to do.
	CodeNoOp = "no_op"
)

// Codes of the policy that matter for the past.
const (
	// codeMinGap: compacted too recently to do it again.
	codeMinGap = "min_gap"
	// codeLowYield: worth it, but for the low yields of earlier compactions.
	codeLowYield = "low_yield"
	// codeWindow: worth it, but outside the store's windows.
	codeWindow = "window"
)

// Trigger is why a run was made.
type Trigger string

const (
	// Scheduled: a store was due.
	Scheduled Trigger = "schedule"
	// Manual: somebody asked for it.
	Manual Trigger = "manual"
)

// Run is one pass over the stores that were due or asked for.
type Run struct {
	ID         string    `json:"id"`
	Trigger    Trigger   `json:"trigger"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// ReclaimedBytes is the sum over all results.
	ReclaimedBytes int64    `json:"reclaimed_bytes"`
	Results        []Result `json:"results"`
}

// Past is what the policy and health need to know of one store.
type Past struct {
	// LastAttemptAt is the last time the store was looked at by a run.
	LastAttemptAt time.Time `json:"last_attempt_at,omitzero"`
	// LastCompactionAt is the last time that Compact was started on it.
	LastCompactionAt time.Time `json:"last_compaction_at,omitzero"`
	// LastCompletedAt is the last time that a compaction was started which ended
	// as compacted or no_op.
	LastCompletedAt time.Time `json:"last_completed_at,omitzero"`
	// LastSuccessAt is the last time a run ended as compacted, no_op or skipped:
	// the store was looked at, and all is as it should be. A pattern that
	// matches nothing has not been looked at.
	LastSuccessAt time.Time `json:"last_success_at,omitzero"`
	// TriedSince is when a run first came to a store which has never been looked at
	// successfully; zero once it has.
	TriedSince time.Time `json:"tried_since,omitzero"`
	// ConsecutiveFailures counts runs since the last success that ended as
	// failed or unknown. A store that is left alone for the min gap after a
	// failure has not succeeded.
	ConsecutiveFailures int `json:"consecutive_failures"`
	// LowYields counts consecutive compactions that gave back less than half of
	// what was predicted, those that found nothing to do included.
	LowYields int `json:"low_yields"`
	// LowYieldSkips counts runs since the last of those that skipped the store
	// only because more was asked for on account of LowYields.
	LowYieldSkips int `json:"low_yield_skips"`
	// Unresolved is set while the last outcome is unknown and nobody has looked
	// at the store since.
	Unresolved bool `json:"unresolved"`
}
