package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentation holds the program that the documentation shows against this one.
func TestDocumentation(t *testing.T) {
	main := read(t, "main.go")
	program := main[strings.Index(main, "package main"):]

	_, section, found := strings.Cut(read(t, "../../docs/plugin-authors.md"), "\n## Pebble with your own comparer\n")
	if !found {
		t.Fatal("docs/plugin-authors.md has no such section")
	}
	if _, block, _ := strings.Cut(section, "```go\n"); !strings.HasPrefix(block, program+"```\n") {
		t.Errorf("docs/plugin-authors.md shows another program than\n%s", program)
	}

	comment, _, _ := strings.Cut(read(t, "../../plugins/pebble/backend.go"), "\npackage pebble\n")
	lines := regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(comment, "")
	if !strings.Contains(lines, "\n"+program) {
		t.Errorf("the package comment of plugins/pebble shows another program than\n%s", program)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
