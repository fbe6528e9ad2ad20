package config

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// root reads the whole file into c.
func (d *decoder) root(ctx context.Context, body *hclsyntax.Body, c *Config, describer func(*Config) Describer) {
	b := d.open(body, "the configuration", hcl.Range{},
		[]string{"data_dir", "max_parallel", "plugin_dirs"},
		[]string{"defaults", "history", "listen", "group", "plugin", "store", "notify"})
	c.MaxParallel, c.KeepHistory = defaultMaxParallel, defaultKeep
	if v := setting(b, "max_parallel", whole(1, 1000)); v.set {
		c.MaxParallel = v.v
	}
	c.PluginDirs = setting(b, "plugin_dirs", d.paths).v
	if h := b.one("history"); h != nil {
		inner := d.open(h.Body, "history", h.TypeRange, []string{"keep"}, nil)
		if v := setting(inner, "keep", whole(1, 100_000)); v.set {
			c.KeepHistory = v.v
		}
	}
	c.Listen = b.listen(c)
	c.DataDir = setting(b, "data_dir", d.dataDir).v
	if _, given := body.Attributes["data_dir"]; !given {
		dir, err := d.dataDir(cty.StringVal(stateDir()))
		if err != nil {
			what, _, _ := strings.Cut(err.Error(), "\n")
			b.reportMissing(hcl.Range{}, "the default data_dir "+what, "set data_dir to a shorter path than "+stateDir())
		}
		c.DataDir = dir
	}

	base := builtin()
	if inner := b.one("defaults"); inner != nil {
		base = d.open(inner.Body, "defaults", inner.TypeRange, settingNames(), settingBlocks()).settings().over(base)
		d.checkBounds(base)
	}
	groups := b.groups(c)
	plugins := b.plugins(c)
	stores := b.stores(c, base, groups)
	d.checkPaths(stores)
	d.checkDataDir(c.DataDir, stores)
	b.notifies(c)
	if describer == nil {
		return
	}
	if asked := describer(c); asked != nil {
		d.checkPlugins(ctx, asked, c, plugins, stores)
	}
}

// labelled visits the blocks of a type by name. Wrong names and names that are
// taken are reported; the blocks are visited all the same.
func (b *block) labelled(kind string, visit func(name string, inner *hclsyntax.Block)) {
	lines := make(map[string]int)
	for _, inner := range b.blocks(kind, true) {
		name, place := inner.Labels[0], inner.LabelRanges[0]
		if !validName(name) {
			b.report(place, fmt.Sprintf("%q is no name for a %s", name, kind),
				"a name begins with a letter or a digit and has letters, digits, '-', '_' and '.', 100 at most")
		} else if line, taken := lines[name]; taken {
			b.report(place, fmt.Sprintf("there is a second %s %q", kind, name), fmt.Sprintf("the first is in line %d: choose another name, or remove one", line))
		} else {
			lines[name] = place.Start.Line
		}
		visit(name, inner)
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

func validName(name string) bool { return nameForm.MatchString(name) }

// groups returns the names of all groups.
func (b *block) groups(c *Config) []string {
	var names []string
	b.labelled("group", func(name string, inner *hclsyntax.Block) {
		g := b.open(inner.Body, fmt.Sprintf("group %q", name), inner.TypeRange, []string{"max_parallel", "settle"}, nil)
		group := Group{Name: name, MaxParallel: defaultMaxParallel, Settle: defaultSettle}
		if v := setting(g, "max_parallel", whole(1, 1000)); v.set {
			group.MaxParallel = v.v
		}
		if v := setting(g, "settle", duration(0)); v.set {
			group.Settle = v.v
		}
		names = append(names, name)
		c.Groups = append(c.Groups, group)
	})
	return names
}

// pluginBlock is where a plugin is configured.
type pluginBlock struct {
	place hcl.Range
	// wrong is set when the block has mistakes.
	wrong bool
}

func (b *block) plugins(c *Config) map[string]pluginBlock {
	blocks := make(map[string]pluginBlock)
	b.labelled("plugin", func(name string, inner *hclsyntax.Block) {
		before := len(b.found)
		p := b.open(inner.Body, fmt.Sprintf("plugin %q", name), inner.TypeRange, []string{"command", "args", "sha256", "env"}, nil)
		c.Plugins = append(c.Plugins, Plugin{
			Name:    name,
			Command: setting(p, "command", b.path).v,
			Args:    setting(p, "args", texts).v,
			SHA256:  setting(p, "sha256", checksum).v,
			Env:     setting(p, "env", variables).v,
		})
		_, again := blocks[name]
		blocks[name] = pluginBlock{place: inner.LabelRanges[0], wrong: again || !validName(name) || len(b.found) > before}
	})
	return blocks
}

// storeBlock is a store with what its checks need.
type storeBlock struct {
	store *Store
	place hcl.Range // of the name
	// where is path, glob, owner or owner_dir, whichever is set.
	plugin, group, where value[string]
	settings             settings
	// own are the settings of the store's block alone.
	own     settings
	options map[string]value[any]
}

func (b *block) stores(c *Config, base settings, groups []string) []*storeBlock {
	var found []*storeBlock
	b.labelled("store", func(name string, inner *hclsyntax.Block) {
		s := b.open(inner.Body, fmt.Sprintf("store %q", name), inner.LabelRanges[0],
			append([]string{"plugin", "path", "glob", "owner", "owner_dir", "group"}, settingNames()...),
			append([]string{"options"}, settingBlocks()...)).store(name, base)
		if s.group.set && !slices.Contains(groups, s.group.v) {
			b.reportMissing(s.group.at, fmt.Sprintf("there is no group %q", s.group.v), suggestGroup(s.group.v, groups))
		}
		found = append(found, s)
	})
	c.Stores = make([]Store, len(found))
	for i, s := range found {
		c.Stores[i] = *s.store
		s.store = &c.Stores[i]
	}
	return found
}

func suggestGroup(name string, groups []string) string {
	if near := Nearest(name, groups); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Sprintf("add group %q { … } to the file", name)
}

func (b *block) store(name string, base settings) *storeBlock {
	s := &storeBlock{place: b.place, own: b.settings()}
	s.settings = s.own.over(base)
	s.plugin = setting(b, "plugin", text)
	s.group = setting(b, "group", text)
	path, glob, owner := setting(b, "path", b.storePath), setting(b, "glob", b.glob), setting(b, "owner", b.socket)
	ownerDir := setting(b, "owner_dir", b.socketDir)
	b.checkWhere()
	s.where = path.or(glob).or(owner).or(ownerDir)
	if (owner.set || ownerDir.set) && s.own.ioPriority.set {
		kind := "owner"
		if ownerDir.set {
			kind = "owner_dir"
		}
		b.report(s.own.ioPriority.name, b.what+" has both "+kind+" and io_priority", "an owner reads and writes at a priority of its own: leave io_priority out")
	}
	if s.plugin.set && !validName(s.plugin.v) {
		b.report(s.plugin.at, fmt.Sprintf("%q is no name of a plugin", s.plugin.v), "write the NAME of wring-plugin-NAME alone")
		s.plugin = value[string]{}
	}
	if s.own.minReclaim.set || s.own.maxFree.set {
		b.checkBounds(s.settings)
	}
	s.store = &Store{Name: name, Plugin: s.plugin.v, Path: path.v, Glob: glob.v, Owner: owner.v, OwnerDir: ownerDir.v, Group: s.group.v}
	s.settings.apply(s.store)
	if o := b.one("options"); o != nil {
		s.options = b.options(o)
		s.store.Options = make(map[string]any, len(s.options))
		for key, v := range s.options {
			s.store.Options[key] = v.v
		}
	}
	return s
}

// checkWhere makes sure that the block says once where its store is, and what
// compacts it.
func (b *block) checkWhere() {
	var given []*hclsyntax.Attribute
	for _, name := range []string{"path", "glob", "owner", "owner_dir"} {
		if attribute, ok := b.body.Attributes[name]; ok {
			given = append(given, attribute)
		}
	}
	plugin, hasPlugin := b.body.Attributes["plugin"]
	_, owned := b.body.Attributes["owner"]
	_, ownedAll := b.body.Attributes["owner_dir"]
	switch {
	case len(given) == 0:
		b.reportMissing(b.place, b.what+" does not say where it is", "give it a path, a glob, an owner or an owner_dir")
	case len(given) > 1:
		for _, more := range given[1:] {
			b.report(more.NameRange, fmt.Sprintf("%s has both %s and %s", b.what, given[0].Name, more.Name), "leave one of the two out")
		}
	case (owned || ownedAll) && hasPlugin:
		b.report(plugin.NameRange, fmt.Sprintf("%s has both %s and plugin", b.what, given[0].Name), "an owner compacts its store itself: leave plugin out")
	case !owned && !ownedAll && !hasPlugin:
		b.reportMissing(b.place, b.what+" does not say which plugin compacts it", "add one, such as plugin = \"bolt\"")
	}
}

// options reads what only the plugin understands, as text, bool or float64.
func (b *block) options(o *hclsyntax.Block) map[string]value[any] {
	for _, inner := range o.Body.Blocks {
		b.report(inner.TypeRange, fmt.Sprintf("options has no block %q", inner.Type), fmt.Sprintf("an option is a setting: %s = …", inner.Type))
	}
	inner := &block{decoder: b.decoder, body: o.Body, what: "options", place: o.TypeRange}
	found := make(map[string]value[any])
	for name := range o.Body.Attributes {
		if v := setting(inner, name, optionValue); v.set {
			found[name] = v
		}
	}
	return found
}

func optionValue(v cty.Value) (any, error) {
	switch v.Type() {
	case cty.String:
		return v.AsString(), nil
	case cty.Bool:
		return v.True(), nil
	case cty.Number:
		if f, _ := toNumber(v); !math.IsInf(f, 0) {
			return f, nil
		}
		return nil, errors.New("is larger than any number that a program can hold\nwrite a smaller one")
	}
	return nil, fmt.Errorf("must be text, a number, true or false, not %s\nwrite one of these", shown(v))
}
