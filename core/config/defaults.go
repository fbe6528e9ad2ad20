package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/wringdb/wring/sdk"
)

// fileName is what a configuration is called where it is looked for.
const fileName = "wring.hcl"

// What holds where nothing is configured.
const (
	defaultMaxParallel = 1
	defaultKeep        = 20
	defaultSettle      = 60 * time.Second
	// overdueIntervals is how many intervals late a store is overdue.
	overdueIntervals = 3
)

// builtin are the settings of a store where nothing is configured.
func builtin() settings {
	return settings{
		every:         value[time.Duration]{v: 6 * time.Hour},
		jitter:        value[float64]{v: 0.1},
		startDelay:    value[time.Duration]{v: time.Minute},
		fragmentation: value[float64]{v: 0.1},
		minReclaim:    value[int64]{v: 1 << 20},
		// An hour keeps a store that churns, or one that is asked for by
		// several schedules, from being rewritten all day long.
		minGap: value[time.Duration]{v: time.Hour},
		// With two attempts in a run these are ten failures over more than a
		// day at the default interval: no passing trouble, and each one costs a
		// whole read of the store.
		quarantineAfter: value[int]{v: 5},
		attempts:        value[int]{v: 1},
		retryDelay:      value[time.Duration]{v: 30 * time.Second},
		stallTimeout:    value[time.Duration]{v: 5 * time.Minute},
		// A weekend, and the day on which somebody has time for it.
		diskFull: value[time.Duration]{v: 3 * 24 * time.Hour},
		// Nobody waits for what a schedule starts.
		ioPriority: value[sdk.IOPriority]{v: sdk.IOIdle},
	}
}

// Default is the configuration where there is no file: no stores, and the
// user's state directory.
func Default() *Config {
	return &Config{DataDir: stateDir(), MaxParallel: defaultMaxParallel, KeepHistory: defaultKeep}
}

// Adhoc makes a store with the default settings from a path. It has the path
// as its name, and a person waits for it.
func Adhoc(plugin, path string) Store {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	s := Store{Name: path, Plugin: plugin, Path: path}
	builtin().apply(&s)
	s.IOPriority = sdk.IONormal
	return s
}

// DefaultPath is where the configuration is when nobody names it: $WRING_CONFIG,
// else the first that exists of $XDG_CONFIG_HOME/wring/wring.hcl (which is
// ~/.config/wring/wring.hcl where the variable is not set) and
// /etc/wring/wring.hcl. It is empty where there is none. The working directory
// is not searched: a configuration names programs to run.
func DefaultPath() string {
	if path := os.Getenv("WRING_CONFIG"); path != "" {
		return path
	}
	for _, path := range DefaultPlaces() {
		// One that is there but cannot be looked at is an error worth seeing.
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return ""
}

// DefaultPlaces are where a configuration that nobody names is looked for, in
// this order.
func DefaultPlaces() []string {
	places := []string{filepath.Join("/etc/wring", fileName)}
	if dir := xdg("XDG_CONFIG_HOME", ".config"); dir != "" {
		places = append([]string{filepath.Join(dir, "wring", fileName)}, places...)
	}
	return places
}

// stateDir is $XDG_STATE_HOME/wring, which is ~/.local/state/wring where the
// variable is not set, and /var/lib/wring for a user without home.
func stateDir() string {
	if dir := xdg("XDG_STATE_HOME", ".local/state"); dir != "" {
		return filepath.Join(dir, "wring")
	}
	return "/var/lib/wring"
}

// xdg returns one of the base directories of the XDG specification, which says
// to ignore relative ones; "" where the user has no home.
func xdg(variable, underHome string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, underHome)
	}
	return ""
}
