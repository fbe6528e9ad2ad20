package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wringdb/wring/sdk"
)

// checkPaths reports stores that are one database. An owner may have several
// stores behind its socket, told apart by name.
func (d *decoder) checkPaths(stores []*storeBlock) {
	first := make(map[string]*storeBlock)
	var patterns, dirs []*storeBlock
	for _, s := range stores {
		key := s.store.Path
		if s.store.Glob != "" {
			key = s.store.Glob
			patterns = append(patterns, s)
		}
		if s.store.OwnerDir != "" {
			key = s.store.OwnerDir
			dirs = append(dirs, s)
		}
		if key == "" {
			continue
		}
		if other, taken := first[key]; taken {
			what := "are the same database"
			if s.store.OwnerDir != "" {
				what = "stand for the same owners"
			}
			d.report(s.where.at, fmt.Sprintf("stores %q and %q %s", other.store.Name, s.store.Name, what),
				fmt.Sprintf("the other is in line %d: remove one of the two", other.where.at.Start.Line))
			continue
		}
		first[key] = s
	}
	for _, s := range stores {
		for _, dir := range dirs {
			if s.store.Owner != "" && filepath.Dir(s.store.Owner) == dir.store.OwnerDir {
				d.report(s.where.at, fmt.Sprintf("the owner_dir of store %q has the owner of store %q too", dir.store.Name, s.store.Name),
					fmt.Sprintf("the owner_dir is in line %d: remove this store, or move its socket", dir.where.at.Start.Line))
				break
			}
		}
		if s.store.Path == "" {
			continue
		}
		for _, p := range patterns {
			if within, err := filepath.Match(p.store.Glob, s.store.Path); err == nil && within {
				d.report(s.where.at, fmt.Sprintf("the glob of store %q matches the path of store %q too", p.store.Name, s.store.Name),
					fmt.Sprintf("the glob is in line %d: make it narrower, or remove this store", p.where.at.Start.Line))
				break
			}
		}
	}
}

// checkDataDir reports stores among the host's own files, which are no databases
// to compact, and beside which a store's files could be taken for the host's.
func (d *decoder) checkDataDir(dir string, stores []*storeBlock) {
	if dir == "" {
		return // it has a mistake of its own
	}
	for _, s := range stores {
		place := s.store.Path
		if s.store.Glob != "" {
			place = fixedPart(s.store.Glob)
		}
		if place == "" {
			continue
		}
		if under, err := filepath.Rel(dir, place); err == nil && filepath.IsLocal(under) {
			d.report(s.where.at, fmt.Sprintf("store %q is in data_dir, where wring keeps its own files", s.store.Name),
				fmt.Sprintf("set data_dir to a directory of its own: now it is %s", dir))
		}
	}
}

// fixedPart is the directory of a pattern, up to its first special character.
func fixedPart(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return filepath.Dir(pattern[:i] + "x")
	}
	return pattern
}

// checkPlugins asks each plugin for its description, once, and holds the modes,
// limits and options of its stores against it.
func (d *decoder) checkPlugins(ctx context.Context, asked Describer, c *Config, configured map[string]pluginBlock, stores []*storeBlock) {
	uses := make(map[string][]*storeBlock)
	for _, s := range stores {
		if s.plugin.set {
			uses[s.plugin.v] = append(uses[s.plugin.v], s)
		}
	}
	plugins := make(map[string]Plugin)
	for name := range uses {
		plugins[name] = Plugin{Name: name}
	}
	for _, p := range c.Plugins {
		plugins[p.Name] = p
	}
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		if place, ok := configured[name]; ok && place.wrong {
			continue // what is wrong with its block has been said
		}
		description, err := asked.Describe(ctx, plugins[name])
		if errors.Is(err, ErrUnchecked) {
			continue
		}
		if err != nil {
			d.reportPlugin(name, err, configured, uses[name])
			continue
		}
		for _, s := range uses[name] {
			d.checkStore(s, description)
		}
	}
}

// reportPlugin reports a plugin that cannot be asked, once: where it is
// configured, or else where it is first used.
func (d *decoder) reportPlugin(name string, err error, configured map[string]pluginBlock, uses []*storeBlock) {
	detail := sdk.HintOf(err)
	block, ok := configured[name]
	place := block.place
	if !ok {
		place = uses[0].plugin.at
		if near := Nearest(name, slices.Sorted(maps.Keys(configured))); near != "" {
			detail = strings.TrimSpace(fmt.Sprintf("did you mean %q?\n%s", near, detail))
		}
	}
	what := strings.TrimPrefix(err.Error(), fmt.Sprintf("plugin %q: ", name))
	d.report(place, fmt.Sprintf("plugin %q cannot be used: %s", name, what), detail)
}

// checkStore holds a store against what its plugin can do.
func (d *decoder) checkStore(s *storeBlock, p sdk.Description) {
	if mode := s.settings.mode; mode.set && !slices.Contains(p.Capabilities.Modes, mode.v) {
		detail := suggest(mode.v, p.Capabilities.Modes, "modes")
		if !s.own.mode.set {
			detail += fmt.Sprintf("\nstore %q has its mode from defaults: give modes to stores where they use several plugins", s.store.Name)
		}
		d.report(mode.at, fmt.Sprintf("plugin %q has no mode %q", s.plugin.v, mode.v), detail)
	}
	if limit := s.settings.limit; limit.set && limit.v > 0 && !p.Capabilities.LimitsRate {
		detail := "remove limit: the plugin refuses to compact with one"
		if !s.own.limit.set {
			detail = fmt.Sprintf("store %q has its limit from defaults: give limit to the stores whose plugins can be limited, or limit = 0 to this one", s.store.Name)
		}
		d.report(limit.at, fmt.Sprintf("plugin %q cannot be limited", s.plugin.v), detail)
	}
	names := make([]string, len(p.Options))
	for i, option := range p.Options {
		names[i] = option.Name
	}
	for _, name := range slices.Sorted(maps.Keys(s.options)) {
		given := s.options[name]
		option, known := p.Options.Lookup(name)
		if !known {
			d.report(given.name, fmt.Sprintf("plugin %q has no option %q", s.plugin.v, name), suggest(name, names, "options"))
			continue
		}
		if _, err := option.Check(given.v); err != nil {
			d.report(given.at, strings.TrimSpace(err.Error()), strings.TrimSpace(option.Help))
			continue
		}
		mode := s.settings.mode.v
		if mode == "" && len(p.Capabilities.Modes) > 0 {
			mode = p.Capabilities.Modes[0]
		}
		if len(option.Modes) > 0 && !slices.Contains(option.Modes, mode) {
			d.report(given.name, fmt.Sprintf("option %s is not for mode %q", name, mode),
				fmt.Sprintf("use mode = %q, or leave the option out", option.Modes[0]))
		}
	}
}
