// Package config reads the host's configuration (HCL) and says everything that
// is wrong with it at once.
package config

import (
	"time"

	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/core/schedule"
	"github.com/wringdb/wring/sdk"
)

// Config is a configuration that has been checked and completed: every default
// is filled in.
type Config struct {
	// File is the path it was read from.
	File string
	// DataDir is absolute. State, sockets and the history live in it.
	DataDir string
	// PluginDirs are searched for wring-plugin-NAME, after the directory of the
	// host's own program.
	PluginDirs []string
	// MaxParallel is how many stores are compacted at the same time.
	MaxParallel int
	// KeepHistory is how many runs, and results of each store, are kept.
	KeepHistory int
	// Listen is nil where the admin interface does not answer over TCP.
	Listen  *Listen
	Groups  []Group
	Plugins []Plugin
	Stores  []Store
	Notify  []Notify

	tlsPlace Diagnostic // of the tls block, with nothing said
}

// Group limits how many of its stores are compacted at the same time.
type Group struct {
	Name        string
	MaxParallel int
	// Settle is the time to wait between two compactions of the group.
	Settle time.Duration
}

// Plugin is a backend that runs as a process of its own.
type Plugin struct {
	Name string
	// Command is the program; empty means wring-plugin-NAME in the host's own
	// directory or in PluginDirs.
	Command string
	Args    []string
	// SHA256 of the program in hexadecimal; empty means not pinned.
	SHA256 string
	// Env are names of environment variables that the plugin may see, beyond
	// the few that every plugin gets.
	Env []string
}

// Store is one database, or with Glob a family of them.
type Store struct {
	Name string
	// Exactly one of Path, Glob (both with Plugin), Owner and OwnerDir is set.
	// All are absolute; Owner is the path of a unix socket, and OwnerDir a
	// directory of such sockets, whose owners' stores this one stands for.
	Plugin   string
	Path     string
	Glob     string
	Owner    string
	OwnerDir string
	// FoundBy is the name of the store with the OwnerDir that this one, which is
	// in no configuration, was found in; else empty. OwnerStore is what its owner
	// calls it, when that is known not to be Name.
	FoundBy    string
	OwnerStore string
	// Group is the name of a Group; empty means none.
	Group string

	Schedule schedule.Settings
	Policy   policy.Settings
	Retry    Retry
	// StallTimeout is how long a compaction may be without progress.
	StallTimeout time.Duration
	// OverdueAfter is how long after its due time a store that was not looked
	// at successfully is overdue.
	OverdueAfter time.Duration
	// DiskFullWithin is how long before its file system will be full that is told.
	DiskFullWithin time.Duration
	// Mode is one of the backend's; empty means its default.
	Mode string
	// OtherMode is set where Mode is not the configured one, but what somebody asks
	// for once; the Options are those for the configured one.
	OtherMode bool
	// LimitBytesPerSecond bounds reads plus writes; 0 means no limit.
	LimitBytesPerSecond int64
	// IOPriority is that of the plugin's process while it works on the store; it
	// means nothing for an owner.
	IOPriority sdk.IOPriority
	// Options are the plugin's own, as given (strings, bools, float64); the
	// schema's defaults are not filled in.
	Options map[string]any
}

// Retry is what follows a failure within a run.
type Retry struct {
	// Attempts is how many more times are tried.
	Attempts int
	Delay    time.Duration
}
