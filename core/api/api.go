// Package api is the host's admin interface: HTTP with JSON on a unix socket,
// described by OpenAPI, with events as a server-sent stream. The client in it
// is what the command line uses.
package api

import (
	"context"
	"path/filepath"
	"time"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// Host is what the interface is made of; the daemon implements it.
type Host interface {
	// Status is a picture of everything, without measuring.
	Status() Status
	// Plan says what the next run would do to the named stores, or to all.
	Plan(ctx context.Context, stores []string) ([]compaction.Plan, error)
	// Inspect measures one store for a compaction in a mode, that of its
	// configuration when empty.
	Inspect(ctx context.Context, store string, depth sdk.Depth, mode string) (compaction.Inspection, error)
	// Compact makes a run and returns when it has ended. The end of ctx cancels it.
	// Detached, it returns when the run has begun, and ctx does not end that.
	Compact(ctx context.Context, req CompactRequest) (history.Run, error)
	// Cancel stops what runs on a store, or everything when store is empty, and
	// returns the number of compactions it has stopped.
	Cancel(ctx context.Context, store string) (int, error)
	// Runs returns the last n runs, newest first.
	Runs(n int) ([]history.Run, error)
	// Results returns the last n results of a store, newest first.
	Results(store string, n int) ([]history.Result, error)
	// Subscribe follows events from the first with an ID above since.
	Subscribe(buffer int, since uint64) *event.Subscription
	// Reload reads the configuration again; when it is wrong the old one stays.
	Reload(ctx context.Context) error
	// TestNotify tells a target, or all when name is empty, that this is a test.
	TestNotify(ctx context.Context, name string) ([]notify.Answer, error)
	// Ready says whether the host looks after its stores, which it does not while
	// it starts and stops, and whether a run is under way.
	Ready() (ready, busy bool)

	Numbers
}

// Status is a picture of the host.
type Status struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	StartedAt  time.Time `json:"started_at"`
	ConfigFile string    `json:"config_file"`
	DataDir    string    `json:"data_dir"`
	// LastEventID is where somebody who wants only what is to come begins.
	LastEventID uint64 `json:"last_event_id"`
	// Running are the runs under way, oldest first.
	Running []string `json:"running"`
	// ReclaimedBytesTotal is what all stores have given back since the history
	// began, also those that are not there any more.
	ReclaimedBytesTotal int64 `json:"reclaimed_bytes_total"`

	Stores  []StoreStatus      `json:"stores"`
	Plugins []supervise.Status `json:"plugins"`
	// Notify are those who are told of what happens.
	Notify []notify.Status `json:"notify"`
}

// State is a store's health in a word.
type State string

const (
	// Healthy: looked at in time, without failures.
	Healthy State = "healthy"
	// Away: the application that owns the store did not answer when it was last
	// asked. It is no failure, and tells nothing of the store.
	Away State = "away"
	// Overdue: the last success is longer ago than the schedule allows.
	Overdue State = "overdue"
	// Degraded: three runs or more have failed in a row.
	Degraded State = "degraded"
	// Unresolved: the last outcome is unknown, and nobody has looked since.
	Unresolved State = "unresolved"
)

// StoreStatus is one configured store, or one of an owner that was discovered.
type StoreStatus struct {
	Store string `json:"store"`
	// Configured is the store in the configuration that stands for this one;
	// empty for a store that is configured itself.
	Configured string `json:"configured,omitempty"`

	Plugin string `json:"plugin"`
	// Path is the file, directory, pattern or socket that was configured, or the
	// socket that was discovered.
	Path  string `json:"path"`
	Group string `json:"group,omitempty"`

	State State `json:"state"`
	history.Health
	Figures

	// NextAt is zero where there is no schedule, and while it is paused.
	NextAt time.Time `json:"next_at,omitzero"`
	// LastOutcome and LastReason are of the newest result.
	LastOutcome history.Outcome `json:"last_outcome,omitempty"`
	LastReason  string          `json:"last_reason,omitempty"`
	// Problem is why the store cannot be found, as far as that is known without
	// looking for it, and Hint what to do about it.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Active is set while a compaction of the store is under way.
	Active *event.Progress `json:"active,omitempty"`
}

// CompactRequest names what to compact: stores, or all of them.
type CompactRequest struct {
	Stores []string `json:"stores,omitempty" doc:"Names of stores; empty only together with all"`
	All    bool     `json:"all,omitempty" doc:"Every configured store"`
	Force  bool     `json:"force,omitempty" doc:"Pass over thresholds and windows, never over safety"`
	Mode   string   `json:"mode,omitempty" doc:"One of the backends' modes, instead of those that are configured"`
	Detach bool     `json:"detach,omitempty" doc:"Answer as soon as the run has begun, and let it go on when the caller hangs up"`
}

// SocketPath is where a host with that data directory listens.
func SocketPath(dataDir string) string { return filepath.Join(dataDir, "wring.sock") }
