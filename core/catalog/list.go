package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// State says whether a plugin can be used.
type State string

const (
	// Ready to be started.
	Ready State = "ready"
	// Missing: configured, but there is no program.
	Missing State = "missing"
	// NotExecutable: there is something that cannot be executed.
	NotExecutable State = "not_executable"
	// Unsafe: somebody else could change the program.
	Unsafe State = "unsafe"
	// ChecksumMismatch: the program is not the pinned one.
	ChecksumMismatch State = "checksum_mismatch"
	// Shadowed: another program of the same name comes first.
	Shadowed State = "shadowed"
)

// Found is one plugin that is configured or lies where plugins are looked for.
type Found struct {
	Program
	State State `json:"state"`
	// Configured is set for a plugin with a block in the configuration.
	Configured bool `json:"configured"`
	// Error and Hint say why it is not ready.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// List returns every plugin that is configured or found, by name; of several
// programs with one name, the one that would be used comes first.
func (c *Catalog) List() []Found {
	list := c.list()
	for i, f := range list {
		if f.State == Missing || f.SHA256 != "" {
			continue
		}
		program, err := c.summed(f.Program)
		if list[i].Program = program; err != nil && f.State == Ready {
			list[i].State, list[i].Error, list[i].Hint = NotExecutable, err.Error(), sdk.HintOf(err)
		}
	}
	return list
}

// list is List without checksums.
func (c *Catalog) list() []Found {
	var list []Found
	used := make(map[string]string) // name → path
	for _, p := range c.cfg.Plugins {
		f := c.found(p)
		f.Configured = true
		used[f.Name] = f.Path
		list = append(list, f)
	}
	for _, place := range c.places() {
		entries, err := os.ReadDir(place.dir)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				c.cfg.Logger.Warn("cannot look for plugins", "dir", place.dir, "error", err)
			}
			continue
		}
		for _, entry := range entries {
			name, ok := strings.CutPrefix(entry.Name(), ProgramPrefix)
			if !ok || name == "" {
				continue
			}
			path := filepath.Join(place.dir, entry.Name())
			if used[name] == path {
				continue
			}
			if first, taken := used[name]; taken {
				if f := c.found(config.Plugin{Name: name, Command: path}); f.State == Ready && first != "" {
					f.State, f.Error = Shadowed, first+" comes first"
					list = append(list, f)
				}
				continue
			}
			f := c.found(config.Plugin{Name: name})
			// Checksum files, notes and source directories have such names too.
			if f.State == NotExecutable && (entry.IsDir() || strings.Contains(name, ".")) {
				continue
			}
			used[name] = f.Path
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b Found) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (c *Catalog) found(p config.Plugin) Found {
	program, err := c.Resolve(p)
	f := Found{Program: program, State: Ready}
	if err == nil {
		return f
	}
	f.Error, f.Hint = err.Error(), sdk.HintOf(err)
	switch {
	case errors.Is(err, ErrNotExecutable):
		f.State = NotExecutable
	case errors.Is(err, ErrUnsafe):
		f.State = Unsafe
	case errors.Is(err, ErrChecksum):
		f.State = ChecksumMismatch
	default:
		f.State = Missing
	}
	return f
}
