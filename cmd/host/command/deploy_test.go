package command

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/config"
)

// What is written for those who run wring, in docs and beside them, goes by the
// program as it is: its verbs and flags, its configuration, its paths.

const repository = "../../.."

// checkCommandLine says what is wrong with the arguments of wring.
func checkCommandLine(args []string) error {
	verb, rest, err := newRoot(&session{}).Find(args)
	if err != nil {
		return err
	}
	if verb.RunE == nil || verb == verb.Root() {
		return fmt.Errorf("no verb is in %q", args)
	}
	if err := verb.ParseFlags(rest); err != nil {
		return err
	}
	return verb.ValidateArgs(verb.Flags().Args())
}

func TestCheckCommandLine(t *testing.T) {
	for line, right := range map[string]bool{
		"run --config /etc/wring/wring.hcl": true, "token create x --scope read": true, "history": true,
		"run --confg x": false, "rum": false, "run x": false, "token create": false, "": false,
	} {
		if err := checkCommandLine(strings.Fields(line)); (err == nil) != right {
			t.Errorf("wring %s: %v", line, err)
		}
	}
}

// readUnit returns the values of each setting, by section and name.
func readUnit(t *testing.T, file string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, "docs/systemd", file))
	if err != nil {
		t.Fatal(err)
	}
	unit, section := make(map[string][]string), ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		name, value, setting := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
		case setting && section != "" && regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(name):
			unit[section+"."+name] = append(unit[section+"."+name], value)
		default:
			t.Errorf("%s: %q is no line of a unit", file, line)
		}
	}
	return unit
}

func TestSystemdUnits(t *testing.T) {
	service, socket := readUnit(t, "wring.service"), readUnit(t, "wring.socket")
	for name, want := range map[string]string{
		"Type": "notify-reload", "KillMode": "mixed", "ProtectSystem": "strict", "PrivateTmp": "yes", "NoNewPrivileges": "yes",
		"CapabilityBoundingSet": "", "StateDirectoryMode": "0700", "WatchdogSec": "60", "Restart": "on-failure",
	} {
		if got, set := service["Service."+name]; !set || !slices.Equal(got, []string{want}) {
			t.Errorf("wring.service: %s is %q, want %q", name, got, want)
		}
	}
	for _, start := range service["Service.ExecStart"] {
		program, args, _ := strings.Cut(start, " ")
		if err := checkCommandLine(strings.Fields(args)); err != nil || program != "/usr/local/bin/wring" {
			t.Errorf("ExecStart=%s: %v", start, err)
		}
	}
	if len(service["Service.ExecStart"]) != 1 {
		t.Errorf("wring.service starts %q", service["Service.ExecStart"])
	}
	// Twice the time that the host gives compactions and then plugins, and some.
	if seconds, err := strconv.Atoi(service["Service.TimeoutStopSec"][0]); err != nil || time.Duration(seconds)*time.Second < 45*time.Second {
		t.Errorf("TimeoutStopSec=%q", service["Service.TimeoutStopSec"])
	}
	state := filepath.Join("/var/lib", service["Service.StateDirectory"][0])
	if got := socket["Socket.ListenStream"]; !slices.Equal(got, []string{api.SocketPath(state)}) {
		t.Errorf("wring.socket listens on %q, the host on %s", got, api.SocketPath(state))
	}
	if got := socket["Socket.SocketMode"]; !slices.Equal(got, []string{"0600"}) {
		t.Errorf("SocketMode=%q", got)
	}
	if !slices.Equal(socket["Socket.SocketUser"], service["Service.User"]) || len(service["Service.User"]) != 1 {
		t.Errorf("the socket is of %q, the host of %q", socket["Socket.SocketUser"], service["Service.User"])
	}
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		verifyUnits(t, analyze)
	}
}

// verifyUnits has systemd look at the units, where it is. The program is not
// installed, and a systemd before 253 does not know the service's type.
func verifyUnits(t *testing.T, analyze string) {
	dir := t.TempDir()
	units := []string{filepath.Join(dir, "wring.service"), filepath.Join(dir, "wring.socket")}
	for _, unit := range units {
		content, err := os.ReadFile(filepath.Join(repository, "docs/systemd", filepath.Base(unit)))
		if err != nil {
			t.Fatal(err)
		}
		installed := strings.ReplaceAll(string(content), "/usr/local/bin/wring", "/bin/sh")
		if err := os.WriteFile(unit, []byte(installed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...)
	verify.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":") // and where others are
	said, err := verify.CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, dir) && !strings.Contains(line, "notify-reload") || strings.HasPrefix(line, "wring.") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if err != nil && len(said) == 0 {
		t.Errorf("systemd-analyze: %v", err)
	}
}

// argumentLists are the JSON lists behind names in a file, such as args: [...]
// and CMD [...].
func argumentLists(t *testing.T, file string, names string) [][]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, file))
	if err != nil {
		t.Fatal(err)
	}
	var lists [][]string
	for _, found := range regexp.MustCompile(`(?m)^\s*(?:`+names+`) (\[.*\])$`).FindAllSubmatch(content, -1) {
		var list []string
		if err := json.Unmarshal(found[1], &list); err != nil {
			t.Errorf("%s: %s: %v", file, found[0], err)
		}
		lists = append(lists, list)
	}
	return lists
}

func TestContainers(t *testing.T) {
	for file, count := range map[string]int{"Dockerfile": 1, "docs/kubernetes/sidecar.yaml": 2, "docs/kubernetes/daemonset.yaml": 1} {
		lists := argumentLists(t, file, "args:|command:|CMD")
		if len(lists) != count {
			t.Errorf("%s starts %q, want %d", file, lists, count)
		}
		for _, args := range lists {
			if len(args) > 0 && args[0] == "/usr/local/bin/wring" {
				args = args[1:]
			}
			if err := checkCommandLine(args); err != nil {
				t.Errorf("%s: %q: %v", file, args, err)
			}
		}
	}
	for _, entry := range argumentLists(t, "Dockerfile", "ENTRYPOINT") {
		if !slices.Equal(entry, []string{"/usr/local/bin/wring"}) {
			t.Errorf("Dockerfile: the entry is %q", entry)
		}
	}
	content, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	packages := regexp.MustCompile(`\./(?:cmd|plugins)/\S+`).FindAllString(string(content), -1)
	if len(packages) != 3 {
		t.Errorf("Dockerfile builds %q", packages)
	}
	for _, path := range packages {
		if _, err := os.Stat(filepath.Join(repository, path, "main.go")); err != nil {
			t.Errorf("Dockerfile builds %s: %v", path, err)
		}
	}
}

// The configurations in the examples for Kubernetes are right.
func TestConfigurationsInKubernetes(t *testing.T) {
	for _, name := range []string{"sidecar", "daemonset"} {
		content, err := os.ReadFile(filepath.Join(repository, "docs/kubernetes", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		_, after, found := strings.Cut(string(content), "  wring.hcl: |\n")
		if !found {
			t.Fatalf("%s has no configuration", name)
		}
		var source strings.Builder
		for line := range strings.Lines(after) {
			inner, within := strings.CutPrefix(line, "    ")
			if !within {
				break
			}
			source.WriteString(inner)
		}
		c, err := config.Parse(t.Context(), []byte(source.String()), "/etc/wring/wring.hcl", nil)
		if err != nil || len(c.Stores) != 1 {
			t.Errorf("%s: %+v, %v", name, c, err)
			continue
		}
		if c.Listen != nil && c.Listen.Exposed() {
			t.Errorf("%s listens without TLS", name)
		}
		mounts := regexp.MustCompile(`mountPath: ([^,}]+)`).FindAllStringSubmatch(string(content), -1)
		for _, path := range []string{c.DataDir, c.Stores[0].Path + c.Stores[0].Glob + c.Stores[0].Owner} {
			if !slices.ContainsFunc(mounts, func(m []string) bool { return strings.HasPrefix(path+"/", m[1]+"/") }) {
				t.Errorf("%s: nothing is mounted at %s", name, path)
			}
		}
	}
}

// Command lines in the documentation can be typed.
func TestCommandLinesInTheDocumentation(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range append(files, filepath.Join(repository, "README.md")) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range regexp.MustCompile(`(?m)^\$ (?:sudo )?(?:bin/)?wring (.*)$`).FindAllStringSubmatch(string(content), -1) {
			args, _, _ := strings.Cut(line[1], "  ") // what follows is said of it
			args, _, _ = strings.Cut(args, " | ")
			if err := checkCommandLine(strings.Fields(args)); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), line[0], err)
			}
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d command lines were found", checked)
	}
}
