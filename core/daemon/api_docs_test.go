package daemon_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/api"
)

// example is a command in the documentation, and what it is said to answer.
type example struct{ page, command, answer string }

// examples are those with curl, in the order of the pages; that of the interface
// comes first, as its calls give the store the past that others ask for.
func examples(t *testing.T) []example {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(pages, func(a, b string) int {
		return cmp.Compare(number(filepath.Base(a) != "api.md"), number(filepath.Base(b) != "api.md"))
	})
	var all []example
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			calls := false
			for line := range strings.Lines(block[1]) {
				line = strings.TrimSpace(line)
				command, begins := strings.CutPrefix(line, "$ ")
				switch {
				case begins && strings.Contains(command, "curl "):
					all = append(all, example{page: filepath.Base(page), command: command})
					calls = true
					found++
				case begins:
					calls = false
				case calls:
					all[len(all)-1].answer += line
				}
			}
		}
		if lines := len(regexp.MustCompile(`(?m)^.*\bcurl .*/`).FindAll(text, -1)); lines != found {
			t.Errorf("%s has %d lines with curl, and %d that are tried", page, lines, found)
		}
	}
	return all
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// freePort is an address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
	data, address := filepath.Join(p.dir, "data"), freePort(t)
	content := fmt.Sprintf("data_dir = %q\nlisten {\n  address = %q\n}\nstore \"sessions\" {\n  owner = %q\n}\n", data, address, p.owner)
	if err := os.WriteFile(p.file(), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := p.start()
	token, _, err := access.NewTokens(data).Create("reader", access.Read, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "token"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := examples(t)
	if len(all) < 15 {
		t.Fatalf("the documentation has %d commands", len(all))
	}
	here := strings.NewReplacer("/var/lib/wring/wring.sock", api.SocketPath(data), "127.0.0.1:7333", address, "curl ", "curl -sS ")
	for _, e := range all {
		command := here.Replace(e.command)
		if e.page != "api.md" { // there one is shown that fails
			command = strings.ReplaceAll(command, "curl ", "curl -f ")
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Env, cmd.Dir = append(os.Environ(), "SOCKET="+api.SocketPath(data)), p.dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		answer, err := cmd.Output()
		if err != nil || len(answer) == 0 && !strings.Contains(command, "POST") {
			t.Errorf("%s: %s: %v: %s%s", e.page, command, err, answer, stderr.Bytes())
			continue
		}
		if e.answer == "" {
			continue
		}
		var want, got any
		if err := json.Unmarshal([]byte(e.answer), &want); err != nil {
			t.Errorf("%s: %s: what is shown of its answer is no JSON: %v", e.page, e.command, err)
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Errorf("%s: %s: %v: %s", e.page, e.command, err, answer)
		}
		if missing := lacks(got, want, ""); missing != "" {
			t.Errorf("%s: %s: the answer has no %s: %s", e.page, e.command, missing, answer)
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
