package habits

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/dependencies.txt anew, keeping the reasons that it gives")

const (
	dependencyList = "testdata/dependencies.txt"

	// unreviewed stands for the reason until somebody has written one.
	unreviewed = "?"

	dependencyHeader = `# The modules that wring depends on directly, and what each is for. A module is
# added here by whoever has read it: licence, maintenance, what it pulls in.
# Written by: go test ./internal/habits -run TestDependencies -update
# which puts a ? where a reason is to be written.

`
)

// TestDependencies holds go.mod against the reviewed list.
func TestDependencies(t *testing.T) {
	direct, required, err := readRequirements()
	if err != nil {
		t.Fatal(err)
	}
	// go.mod may be behind: what the code imports is direct in any case.
	for _, goos := range systems {
		for _, module := range loadGraph(t, goos).importedModules() {
			direct[module] = true
		}
	}
	if len(direct) == 0 {
		t.Fatal("found no dependency at all: looked in the wrong place?")
	}

	content, err := os.ReadFile(dependencyList)
	if err != nil && !*update {
		t.Fatal(err)
	}
	reasons, err := parseDependencies(content)
	if err != nil {
		t.Fatalf("%s: %v", dependencyList, err)
	}
	if *update {
		reasons = renewDependencies(reasons, direct)
		if err := os.WriteFile(dependencyList, formatDependencies(reasons), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, problem := range reviewDependencies(reasons, direct, required) {
		t.Error(problem)
	}
}

// reviewDependencies returns a sentence for each module that is not as the list
// has it.
func reviewDependencies(reasons map[string]string, direct, required map[string]bool) []string {
	var problems []string
	for _, module := range slices.Sorted(maps.Keys(direct)) {
		if reason, ok := reasons[module]; !ok || reason == unreviewed {
			problems = append(problems, fmt.Sprintf("%s is a new direct dependency: once it has been reviewed, say in %s what it is for",
				module, dependencyList))
		}
	}
	for _, module := range slices.Sorted(maps.Keys(reasons)) {
		if !required[module] {
			problems = append(problems, fmt.Sprintf("%s is no longer required: remove it from %s", module, dependencyList))
		}
	}
	return problems
}

func TestReviewDependencies(t *testing.T) {
	yes := func(modules ...string) map[string]bool {
		m := map[string]bool{}
		for _, module := range modules {
			m[module] = true
		}
		return m
	}
	for _, c := range []struct {
		name             string
		list             string
		direct, required map[string]bool
		problems         int
	}{
		{"as listed", "a.org/x  for a reason\n", yes("a.org/x"), yes("a.org/x", "b.org/y"), 0},
		{"grown", "a.org/x  for a reason\n", yes("a.org/x", "b.org/y"), yes("a.org/x", "b.org/y"), 1},
		{"listed without a review", "a.org/x  ?\n", yes("a.org/x"), yes("a.org/x"), 1},
		{"gone", "a.org/x  for a reason\n", yes("b.org/y"), yes("b.org/y"), 2},
	} {
		reasons, err := parseDependencies([]byte(c.list))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := reviewDependencies(reasons, c.direct, c.required); len(got) != c.problems {
			t.Errorf("%s: want %d problems, got %q", c.name, c.problems, got)
		}
	}
	for _, list := range []string{"a.org/x\n", "a.org/x  one\na.org/x  two\n"} {
		if reasons, err := parseDependencies([]byte(list)); err == nil {
			t.Errorf("%q: want an error, got %v", list, reasons)
		}
	}

	before := map[string]string{"a.org/x": "for a reason", "gone.org/z": "was of use"}
	after := renewDependencies(before, yes("a.org/x", "b.org/y"))
	want := map[string]string{"a.org/x": "for a reason", "b.org/y": unreviewed}
	if !maps.Equal(after, want) {
		t.Errorf("renewed list: want %v, got %v", want, after)
	}
	if again, err := parseDependencies(formatDependencies(after)); err != nil || !maps.Equal(again, after) {
		t.Errorf("list read back: want %v, got %v, %v", after, again, err)
	}
}

// readRequirements returns the modules that go.mod requires, those that it
// calls direct among them.
func readRequirements() (direct, required map[string]bool, err error) {
	// Read here as well, so that the test's cached result ends with a change.
	if _, err := os.ReadFile(root + "/go.mod"); err != nil {
		return nil, nil, err
	}
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("read go.mod: %w", err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return nil, nil, fmt.Errorf("read go.mod: %w", err)
	}
	direct, required = map[string]bool{}, map[string]bool{}
	for _, r := range mod.Require {
		required[r.Path] = true
		if !r.Indirect {
			direct[r.Path] = true
		}
	}
	return direct, required, nil
}

// importedModules returns the modules that this one's packages and tests import
// from.
func (g graph) importedModules() []string {
	var modules []string
	for _, importPath := range g.own() {
		p := g[importPath]
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if dep := g[imported]; dep != nil && dep.Module != nil && dep.Module.Path != modulePath {
				modules = append(modules, dep.Module.Path)
			}
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}

// parseDependencies reads lines of a module and what it is for.
func parseDependencies(content []byte) (map[string]string, error) {
	reasons := map[string]string{}
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		module, reason, _ := strings.Cut(line, " ")
		reason = strings.TrimSpace(reason)
		if reason == "" {
			return nil, fmt.Errorf("line %d: %s has no reason", i+1, module)
		}
		if _, ok := reasons[module]; ok {
			return nil, fmt.Errorf("line %d: %s is listed twice", i+1, module)
		}
		reasons[module] = reason
	}
	return reasons, nil
}

func formatDependencies(reasons map[string]string) []byte {
	width := 0
	for module := range reasons {
		width = max(width, len(module))
	}
	var b bytes.Buffer
	b.WriteString(dependencyHeader)
	for _, module := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(&b, "%-*s  %s\n", width, module, reasons[module])
	}
	return b.Bytes()
}

// renewDependencies keeps the reasons of direct dependencies, drops the rest,
// and marks those without one.
func renewDependencies(reasons map[string]string, direct map[string]bool) map[string]string {
	renewed := map[string]string{}
	for module := range direct {
		renewed[module] = unreviewed
		if reason, ok := reasons[module]; ok {
			renewed[module] = reason
		}
	}
	return renewed
}
