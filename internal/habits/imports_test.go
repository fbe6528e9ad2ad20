package habits

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// A rule says what a set of packages must not depend on. Packages are given as
// prefixes of import paths, those of this module from its root.
type rule struct {
	name string
	// of is the packages that the rule is about; but is those that it leaves out.
	of, but []string
	// not is what they must not depend on.
	not []string
	// save is the exceptions to not.
	save []string
	// through is packages whose own imports do not count: whoever imports them
	// has what they offer, and not what they are made of.
	through []string
	// direct limits the rule to what the packages import themselves.
	direct bool
	// tests is whether their tests are held to the rule too.
	tests bool
	// offence is an import that breaks the rule: who, and what.
	offence [2]string
}

const (
	bbolt  = "go.etcd.io/bbolt"
	pebble = "github.com/cockroachdb/pebble"
	cobra  = "github.com/spf13/cobra"
	mpb    = "github.com/vbauerster/mpb"
)

var rules = []rule{
	{
		name:    "sdk stands alone",
		of:      []string{"sdk"},
		not:     []string{modulePath},
		save:    []string{"sdk"},
		tests:   true,
		offence: [2]string{modulePath + "/sdk/sdktest", modulePath + "/core/event"},
	},
	{
		name:    "sdk knows no engine and no screen",
		of:      []string{"sdk"},
		not:     []string{bbolt, pebble, cobra, mpb},
		offence: [2]string{modulePath + "/sdk", mpb + "/v8"},
	},
	{
		name:    "core builds on core and sdk",
		of:      []string{"core"},
		not:     []string{modulePath},
		save:    []string{"core", "sdk"},
		tests:   true,
		offence: [2]string{modulePath + "/core/daemon", modulePath + "/plugins/bolt/live"},
	},
	{
		name:    "core knows no engine",
		of:      []string{"core"},
		but:     []string{"core/history"},
		not:     []string{bbolt, pebble},
		through: []string{"core/history"},
		offence: [2]string{modulePath + "/core/compaction", bbolt + "/errors"},
	},
	{
		name:    "history is kept on bbolt alone",
		of:      []string{"core/history"},
		not:     []string{pebble},
		offence: [2]string{modulePath + "/core/history", pebble + "/v2"},
	},
	{
		name:    "core knows no screen",
		of:      []string{"core"},
		not:     []string{cobra, mpb},
		offence: [2]string{modulePath + "/core/api", cobra},
	},
	{
		name:    "schedule, policy and growth are pure",
		of:      []string{"core/schedule", "core/policy", "core/growth"},
		not:     []string{"os", "net", "os/exec", "log", "io/ioutil"},
		direct:  true,
		offence: [2]string{modulePath + "/core/policy", "net/http"},
	},
	{
		name:    "the host knows no plugin",
		of:      []string{"cmd/host"},
		not:     []string{modulePath},
		save:    []string{"cmd/host", "core", "sdk"},
		offence: [2]string{modulePath + "/cmd/host/command", modulePath + "/plugins/pebble"},
	},
	{
		name:    "the host knows no engine",
		of:      []string{"cmd/host"},
		not:     []string{bbolt, pebble},
		through: []string{"core/history"},
		offence: [2]string{modulePath + "/cmd/host/command", bbolt},
	},
	{
		name:    "plugins/bolt builds on sdk alone",
		of:      []string{"plugins/bolt"},
		not:     []string{modulePath, pebble},
		save:    []string{"plugins/bolt", "sdk"},
		tests:   true,
		offence: [2]string{modulePath + "/plugins/bolt/internal/probe", modulePath + "/plugins/pebble"},
	},
	{
		name:    "plugins/pebble builds on sdk alone",
		of:      []string{"plugins/pebble"},
		not:     []string{modulePath, bbolt},
		save:    []string{"plugins/pebble", "sdk"},
		tests:   true,
		offence: [2]string{modulePath + "/plugins/pebble", modulePath + "/core/policy"},
	},
	{
		name:    "every plugin is held to a rule",
		of:      []string{"plugins"},
		but:     []string{"plugins/bolt", "plugins/pebble"},
		not:     []string{modulePath},
		save:    []string{"plugins", "sdk"},
		offence: [2]string{modulePath + "/plugins/other", modulePath + "/internal/habits"},
	},
	{
		name:    "the conformance suite is for tests",
		of:      []string{"sdk", "core", "cmd", "plugins"},
		but:     []string{"sdk/sdktest"},
		not:     []string{"sdk/sdktest"},
		offence: [2]string{modulePath + "/plugins/bolt", modulePath + "/sdk/sdktest"},
	},
}

func TestImportRules(t *testing.T) {
	for _, goos := range systems {
		t.Run(goos, func(t *testing.T) {
			g := loadGraph(t, goos)
			for _, r := range rules {
				t.Run(r.name, func(t *testing.T) {
					for _, violation := range r.violations(g) {
						t.Error(violation)
					}
				})
			}
		})
	}
}

// A rule about packages that are not there holds whatever happens.
func TestRulesNamePackagesThatExist(t *testing.T) {
	g := loadGraph(t, systems[0])
	for _, r := range rules {
		for _, prefix := range slices.Concat(r.of, r.but, r.save, r.through) {
			if !slices.ContainsFunc(g.own(), func(p string) bool { return under(p, prefix) }) {
				t.Errorf("rule %q: there is no package %s", r.name, prefix)
			}
		}
	}
}

func TestRulesFindViolations(t *testing.T) {
	for _, r := range rules {
		from, to := r.offence[0], r.offence[1]
		t.Run(r.name, func(t *testing.T) {
			plain := graph{from: ownPackage(from), to: {ImportPath: to}}
			if got := r.violations(plain); len(got) != 0 {
				t.Errorf("no imports: want no violation, got %q", got)
			}
			direct := graph{from: ownPackage(from, to), to: {ImportPath: to}}
			if got := r.violations(direct); len(got) != 1 {
				t.Errorf("%s imports %s: want 1 violation, got %q", from, to, got)
			}
			between := "example.org/between"
			indirect := graph{
				from:    ownPackage(from, between),
				between: {ImportPath: between, Imports: []string{to}},
				to:      {ImportPath: to},
			}
			want := 1
			if r.direct {
				want = 0
			}
			if got := r.violations(indirect); len(got) != want {
				t.Errorf("%s imports %s through another: want %d violations, got %q", from, to, want, got)
			}
			tested := graph{from: ownPackage(from), to: {ImportPath: to}}
			tested[from].XTestImports = []string{to}
			want = 0
			if r.tests {
				want = 1
			}
			if got := r.violations(tested); len(got) != want {
				t.Errorf("a test of %s imports %s: want %d violations, got %q", from, to, want, got)
			}
		})
	}
}

func ownPackage(importPath string, imports ...string) *pkg {
	return &pkg{ImportPath: importPath, Imports: imports, Module: &struct{ Path string }{modulePath}}
}

// violations returns a sentence for each package that breaks the rule.
func (r rule) violations(g graph) []string {
	forbidden := func(p string) bool { return underAny(p, r.not) && !underAny(p, r.save) }
	stop := func(p string) bool { return r.direct || underAny(p, r.through) }
	var found []string
	report := func(what string, chain []string) {
		if chain != nil {
			found = append(found, fmt.Sprintf("%s: %s must not depend on %s:\n\t%s",
				r.name, what, chain[len(chain)-1], strings.Join(chain, "\n\t→ ")))
		}
	}
	for _, from := range g.own() {
		if !underAny(from, r.of) || underAny(from, r.but) {
			continue
		}
		p := g[from]
		report(from, g.find(from, p.Imports, forbidden, stop))
		if r.tests {
			report("a test of "+from, g.find(from, slices.Concat(p.TestImports, p.XTestImports), forbidden, stop))
		}
	}
	return found
}

// under says whether the package is the one that prefix names, or below it. A
// prefix that is no import path outside this module is a directory of it.
func under(importPath, prefix string) bool {
	for _, p := range []string{prefix, path.Join(modulePath, prefix)} {
		if importPath == p || strings.HasPrefix(importPath, p+"/") {
			return true
		}
	}
	return false
}

func underAny(importPath string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return under(importPath, prefix) })
}
