package supervise

import "time"

// Kind is how the host reaches a backend.
type Kind string

const (
	// KindPlugin is a process that the host starts and ends.
	KindPlugin Kind = "plugin"
	// KindOwner is an application that holds its stores open; the host attaches.
	KindOwner Kind = "owner"
)

// State is what a backend is doing.
type State string

const (
	// StateStopped: not running, because nobody needs it.
	StateStopped State = "stopped"
	// StateStarting: on its way up.
	StateStarting State = "starting"
	// StateUp: running, or for an owner: it answered when last asked.
	StateUp State = "up"
	// StateBackoff: it crashed or could not start, and is left alone until
	// NextTryAt.
	StateBackoff State = "backoff"
	// StateFailed: it crashed or could not start, and will be tried again as
	// soon as somebody needs it.
	StateFailed State = "failed"
	// StateAway: an owner that does not answer.
	StateAway State = "away"
)

// Status is a picture of one plugin or owner.
type Status struct {
	// Name of the plugin; for an owner the path of its socket.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Path of the program, or of the owner's socket; empty while it is not known.
	Path  string `json:"path"`
	State State  `json:"state"`
	// PID of a plugin's oldest process, of those that are not on their way out
	// when there are any; 0 for an owner.
	PID int `json:"pid,omitempty"`
	// Processes is how many processes of a plugin are running, warm ones and
	// those on their way out among them.
	Processes int `json:"processes,omitempty"`
	// Backend, Version and Engine are what it said of itself when it was last up.
	Backend string `json:"backend,omitempty"`
	Version string `json:"version,omitempty"`
	Engine  string `json:"engine,omitempty"`
	// SHA256 of the program in hexadecimal: of the one that the process with PID
	// runs, empty when another lies at Path by now. Pinned when the configuration
	// asks for that one.
	SHA256 string `json:"sha256,omitempty"`
	Pinned bool   `json:"pinned"`
	// Leases is how many users it has now, those of all processes together.
	Leases int `json:"leases"`
	// StartedAt is of the process with PID; for an owner since when it answers.
	StartedAt time.Time `json:"started_at,omitzero"`
	// Restarts counts starts that followed a crash or a start that went wrong.
	Restarts  int    `json:"restarts"`
	LastError string `json:"last_error,omitempty"`
	LastHint  string `json:"last_hint,omitempty"`
	// NextTryAt is set in StateBackoff.
	NextTryAt time.Time `json:"next_try_at,omitzero"`
	// LastLines are the newest lines that it wrote to stderr, oldest first.
	LastLines []string `json:"last_lines,omitempty"`
}
