package daemon_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/api"
)

// apiExamples are the commands in the documentation, and what each answers.
func apiExamples(t *testing.T) (commands []string, answers map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	answers = map[string]string{}
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSpace(line)
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				commands = append(commands, command)
			} else {
				answers[commands[len(commands)-1]] += line
			}
		}
	}
	return commands, answers
}

// TestDocumentedCalls makes the calls that the documentation shows, in their order,
// with curl and a real host: each succeeds, and has the fields that are shown.
func TestDocumentedCalls(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("the documentation is not tried: %v", err)
	}
	p := newPlace(t, newHalf())
	content := fmt.Sprintf("data_dir = %q\nstore \"sessions\" {\n  owner = %q\n}\n", filepath.Join(p.dir, "data"), p.owner)
	if err := os.WriteFile(p.file(), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := p.start()
	commands, answers := apiExamples(t)
	if len(commands) < 10 {
		t.Fatalf("the documentation has %d commands", len(commands))
	}
	for _, command := range commands {
		if strings.HasPrefix(command, "SOCKET=") {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Env = append(os.Environ(), "SOCKET="+api.SocketPath(filepath.Join(p.dir, "data")))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		answer, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v: %s%s", command, err, answer, stderr.Bytes())
			continue
		}
		if answers[command] == "" {
			continue
		}
		var want, got any
		if err := json.Unmarshal([]byte(answers[command]), &want); err != nil {
			t.Errorf("%s: what is shown of its answer is no JSON: %v", command, err)
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Errorf("%s: %v: %s", command, err, answer)
		}
		if missing := lacks(got, want, ""); missing != "" {
			t.Errorf("%s: the answer has no %s: %s", command, missing, answer)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

// lacks names what got does not have of the fields in want; of lists it looks at the
// first elements.
func lacks(got, want any, at string) string {
	switch want := want.(type) {
	case map[string]any:
		fields, ok := got.(map[string]any)
		if !ok {
			return at + " with fields"
		}
		for name, value := range want {
			if _, ok := fields[name]; !ok {
				return at + "." + name
			}
			if missing := lacks(fields[name], value, at+"."+name); missing != "" {
				return missing
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(want) > 0 && len(list) == 0 {
			return at + "[0]"
		}
		if len(want) > 0 {
			return lacks(list[0], want[0], at+"[0]")
		}
	}
	return ""
}
