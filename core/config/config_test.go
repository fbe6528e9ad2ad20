package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

var update = flag.Bool("update", false, "write what the golden files should be")

// plugins describes two plugins, and no others.
type plugins struct{ asked map[string]int }

func (p plugins) Describe(_ context.Context, plugin Plugin) (sdk.Description, error) {
	p.asked[plugin.Name]++
	switch plugin.Name {
	case "bolt":
		return sdk.Description{
			Name:         "bolt",
			Capabilities: sdk.Capabilities{Modes: []string{"rewrite", "in_place"}},
			Options: sdk.Schema{
				{Name: "fill_percent", Type: sdk.TypeNumber, Help: "How full pages are made.", Min: sdk.Bound(0.1), Max: sdk.Bound(1)},
				{Name: "freelist", Type: sdk.TypeString, Help: "How free pages are kept.", OneOf: []string{"array", "hashmap"}},
				{Name: "buffer", Type: sdk.TypeSize, Help: "Memory to use.", Max: sdk.Bound(1 << 30)},
				{Name: "pause", Type: sdk.TypeDuration, Help: "The longest pause."},
				{Name: "sync", Type: sdk.TypeBool, Help: "Whether to sync."},
			},
		}, nil
	case "lsm":
		return sdk.Description{
			Name:         "lsm",
			Capabilities: sdk.Capabilities{Modes: []string{"ranges", "rewrite"}},
			Options: sdk.Schema{
				{Name: "bits", Type: sdk.TypeNumber, Help: "Bits of filters.", Whole: true},
				{Name: "recompress", Type: sdk.TypeString, Help: "Another compression.", Modes: []string{"rewrite"}},
			},
		}, nil
	case "acme":
		return sdk.Description{Name: "acme", Capabilities: sdk.Capabilities{Modes: []string{"merge"}, LimitsRate: true}}, nil
	}
	return sdk.Description{}, sdk.Errorf(sdk.ErrNotFound, "plugin %q: there is no wring-plugin-%s", plugin.Name, plugin.Name).
		WithHint("install it beside wring")
}

func described() func(*Config) Describer {
	return func(*Config) Describer { return plugins{asked: make(map[string]int)} }
}

// TestGolden holds what the .hcl files in testdata give against the .golden
// file of the same name: the configuration, or all mistakes.
func TestGolden(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/home/ana/.local/state")
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := outcome(t, src, filepath.Join("/etc/wring", filepath.Base(file)), described())
			golden := strings.TrimSuffix(file, ".hcl") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// outcome parses and returns the configuration, or all mistakes.
func outcome(t *testing.T, src []byte, filename string, describer func(*Config) Describer) string {
	c, err := Parse(t.Context(), src, filename, describer)
	if err != nil {
		var d *Diagnostics
		if !errors.As(err, &d) {
			t.Fatalf("%T: %v", err, err)
		}
		if c != nil {
			t.Error("a configuration beside mistakes")
		}
		return d.Error() + "\n"
	}
	return picture(c)
}

// picture shows all of a configuration.
func picture(c *Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "file %s\ndata_dir %s\nplugin_dirs %q\nmax_parallel %d\nkeep %d\n", c.File, c.DataDir, c.PluginDirs, c.MaxParallel, c.KeepHistory)
	if c.Listen != nil {
		fmt.Fprintf(&b, "\nlisten %+v\n", *c.Listen)
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "\ngroup %s\n  max_parallel %d settle %s\n", g.Name, g.MaxParallel, g.Settle)
	}
	for _, p := range c.Plugins {
		fmt.Fprintf(&b, "\nplugin %s\n  command %q args %q\n  sha256 %q\n  env %q\n", p.Name, p.Command, p.Args, p.SHA256, p.Env)
	}
	for _, s := range c.Stores {
		fmt.Fprintf(&b, "\nstore %s\n  plugin %q path %q glob %q owner %q owner_dir %q group %q\n", s.Name, s.Plugin, s.Path, s.Glob, s.Owner, s.OwnerDir, s.Group)
		fmt.Fprintf(&b, "  every %s cron %q zone %s jitter %g start_delay %s\n", s.Schedule.Every, s.Schedule.Cron, zoneName(s.Schedule.Zone), s.Schedule.Jitter, s.Schedule.StartDelay)
		for _, w := range s.Schedule.Windows {
			fmt.Fprintf(&b, "  window %s on %v zone %s\n", w, w.Days, zoneName(w.Zone))
		}
		fmt.Fprintf(&b, "  policy %+v\n  retry %+v\n  stall_timeout %s overdue_after %s disk_full_within %s\n", s.Policy, s.Retry, s.StallTimeout, s.OverdueAfter, s.DiskFullWithin)
		fmt.Fprintf(&b, "  mode %q limit %d io_priority %s options %v\n", s.Mode, s.LimitBytesPerSecond, s.IOPriority, s.Options)
	}
	for _, n := range c.Notify {
		fmt.Fprintf(&b, "\nnotify %s\n  webhook %q slack %q command %q\n  secret_file %q timeout %s\n  events %q stores %q\n", n.Name, n.Webhook, n.Slack, n.Command, n.SecretFile, n.Timeout, n.Events, n.Stores)
	}
	return b.String()
}

func zoneName(zone *time.Location) string {
	if zone == nil {
		return "unset"
	}
	return zone.String()
}

// TestMistakes runs testdata/mistakes: what each wrong file is told. "parse"
// has the plugins of this test, "offline" has none to ask; "store" is the body
// of a store that is otherwise right.
func TestMistakes(t *testing.T) {
	datadriven.RunTest(t, "testdata/mistakes", func(t *testing.T, d *datadriven.TestData) string {
		t.Setenv("XDG_STATE_HOME", "/home/ana/.local/state")
		src, describer := d.Input+"\n", described()
		switch d.Cmd {
		case "parse":
		case "offline":
			describer = nil
		case "store":
			src = "store \"a\" {\n  plugin = \"bolt\"\n  path = \"/a\"\n" + src + "}\n"
		case "long-data-dir":
			src = `data_dir = "/` + strings.Repeat("x", maxDataDir) + "\"\n"
		case "long-socket":
			src = `store "a" { owner = "/` + strings.Repeat("x", 107) + "\" }\n"
		case "long-owner-dir":
			src = `store "a" { owner_dir = "/` + strings.Repeat("x", 100) + "\" }\n"
		case "long-state-home":
			t.Setenv("XDG_STATE_HOME", "/"+strings.Repeat("x", maxDataDir))
		case "deep":
			src = "data_dir = " + strings.Repeat("[", 200)
		case "files":
			got, dir := withFiles(t, src)
			return strings.ReplaceAll(got, dir, "$DIR")
		case "operators":
			src = "max_parallel = " + strings.Repeat("-", 200) + "1"
		default:
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		}
		got := outcome(t, []byte(src), "/etc/wring/wring.hcl", describer)
		if strings.HasPrefix(got, "file ") {
			return "fine"
		}
		return got
	})
}

// withFiles loads a configuration that may name files in $DIR: secrets in
// several states, and programs.
func withFiles(t *testing.T, src string) (got, dir string) {
	dir = t.TempDir()
	for name, mode := range map[string]os.FileMode{"secret": 0o600, "grouped": 0o640, "open": 0o604, "empty": 0o600, "large": 0o644, "program": 0o755, "text": 0o644} {
		content := "content"
		switch name {
		case "empty":
			content = ""
		case "large":
			content = strings.Repeat("x", 3*maxSecret)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "wring.hcl")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(src, "$DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(t.Context(), file, described())
	if err != nil {
		return err.Error() + "\n", dir
	}
	return "fine", dir
}

// TestEveryMessageIsInTestdata keeps testdata/mistakes complete: each place that
// reports a mistake has been reached by it. It looks for the fixed words of the
// messages in the source.
func TestEveryMessageIsInTestdata(t *testing.T) {
	shownThere, err := os.ReadFile("testdata/mistakes")
	if err != nil {
		t.Fatal(err)
	}
	messages := messagesOf(t)
	if len(messages) < 60 {
		t.Fatalf("found only %d messages in the source", len(messages))
	}
	for place, message := range messages {
		if !message.MatchString(string(shownThere)) {
			t.Errorf("%s: nothing in testdata/mistakes is told %s", place, message)
		}
	}
}

func TestDiagnosticsAreAListForPrograms(t *testing.T) {
	src, err := os.ReadFile("testdata/five_mistakes.hcl")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse(t.Context(), src, "/etc/wring/wring.hcl", described())
	var d *Diagnostics
	if !errors.As(err, &d) {
		t.Fatal(err)
	}
	if d.File() != "/etc/wring/wring.hcl" {
		t.Errorf("file %q", d.File())
	}
	list := d.List()
	var lines []int
	for _, one := range list {
		lines = append(lines, one.Line)
	}
	if want := []int{4, 6, 15, 17, 21}; !slices.Equal(lines, want) {
		t.Errorf("lines %v, want %v", lines, want)
	}
	text, err := json.Marshal(list[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"file":"/etc/wring/wring.hcl","line":4,"column":3,"summary":"defaults has no setting \"evry\"","detail":"did you mean \"every\"?","excerpt":"  evry = \"6h\""}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestEachPluginIsAskedOnce(t *testing.T) {
	src := `plugin "acme" {}
store "a" {
  plugin = "bolt"
  path = "/a"
}
store "b" {
  plugin = "bolt"
  path = "/b"
}
`
	asked := plugins{asked: make(map[string]int)}
	var seen *Config
	c, err := Parse(t.Context(), []byte(`plugin_dirs = ["/opt"]`+"\n"+src), "wring.hcl", func(c *Config) Describer {
		seen = c
		return asked
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int{"bolt": 1, "acme": 1}; !maps.Equal(asked.asked, want) {
		t.Errorf("asked %v, want %v", asked.asked, want)
	}
	if seen != c || !slices.Equal(seen.PluginDirs, []string{"/opt"}) || len(seen.Plugins) != 1 {
		t.Errorf("the describer was made from %+v", seen)
	}
}

func TestDescribersMayBeDoneWithout(t *testing.T) {
	src := []byte("store \"a\" {\n  plugin = \"nobody\"\n  path = \"/a\"\n  mode = \"any\"\n  options {\n    b = true\n  }\n}\n")
	for name, describer := range map[string]func(*Config) Describer{
		"no function": nil,
		"no answer":   func(*Config) Describer { return nil },
	} {
		c, err := Parse(t.Context(), src, "wring.hcl", describer)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s := c.Stores[0]; s.Mode != "any" || s.Options["b"] != true {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

type cancelling struct{ cancel context.CancelFunc }

func (c cancelling) Describe(ctx context.Context, _ Plugin) (sdk.Description, error) {
	c.cancel()
	return sdk.Description{}, ctx.Err()
}

func TestCancelledIsNoMistake(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Parse(ctx, []byte("plugin \"bolt\" {}\n"), "wring.hcl", func(*Config) Describer { return cancelling{cancel} })
	var d *Diagnostics
	if errors.As(err, &d) || !errors.Is(err, context.Canceled) {
		t.Fatalf("%T: %v", err, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "wring.hcl")
	if err := os.WriteFile(file, []byte("data_dir = \"/var/lib/wring\"\nstore \"a\" {\n  plugin = \"bolt\"\n  path = \"data/a.db\"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(t.Context(), file, described())
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "data/a.db"); c.Stores[0].Path != want || c.File != file {
		t.Errorf("path %q of file %q, want %q of %q", c.Stores[0].Path, c.File, want, file)
	}

	large := filepath.Join(dir, "large.hcl")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#"), maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing.hcl"): "there is no such file",
		dir:                               "this is a directory, not a configuration",
		large:                             "the file is larger than 4.0 MiB, too large for a configuration",
	} {
		_, err := Load(t.Context(), path, nil)
		var d *Diagnostics
		if !errors.As(err, &d) {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if list := d.List(); len(list) != 1 || list[0].Summary != want || list[0].Detail == "" || list[0].Line != 0 {
			t.Errorf("%s: %+v, want %q", path, list, want)
		}
	}
	if _, err := Load(t.Context(), filepath.Join(dir, "missing.hcl"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestUnreadableFilesSayWhatToDo(t *testing.T) {
	for cause, want := range map[error]string{
		fs.ErrPermission: "let the user that runs wring read the file",
		fs.ErrNotExist:   "name another with --config or $WRING_CONFIG",
	} {
		d := unreadable("wring.hcl", &fs.PathError{Op: "open", Path: "wring.hcl", Err: cause})
		if got := d.Error(); !strings.HasPrefix(got, "1 mistake in wring.hcl:\n") || !strings.HasSuffix(got, "\n    "+want) || !errors.Is(d, cause) {
			t.Errorf("%v: %s", cause, got)
		}
	}
}

func TestAdhocHasTheDefaults(t *testing.T) {
	got := Adhoc("bolt", "/a/../b.db")
	if got.Name != "/b.db" || got.Path != "/b.db" || got.Plugin != "bolt" {
		t.Errorf("%+v", got)
	}
	if want := (policy.Settings{MinRatio: 0.1, MinReclaim: 1 << 20, MinGap: time.Hour, QuarantineAfter: 5}); got.Policy != want {
		t.Errorf("policy %+v, want %+v", got.Policy, want)
	}
	if got.Schedule.Every != 6*time.Hour || got.OverdueAfter != 18*time.Hour || got.StallTimeout != 5*time.Minute {
		t.Errorf("%+v", got)
	}
	if want := (Retry{Attempts: 1, Delay: 30 * time.Second}); got.Retry != want {
		t.Errorf("retry %+v, want %+v", got.Retry, want)
	}
}

func TestDefaultAndDefaultPath(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("WRING_CONFIG", "")
	if got, want := Default().DataDir, filepath.Join(home, ".local/state/wring"); got != want {
		t.Errorf("data dir %q, want %q", got, want)
	}
	if c := Default(); c.MaxParallel != 1 || c.KeepHistory != 20 {
		t.Errorf("%+v", c)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	if got, want := Default().DataDir, filepath.Join(home, ".local/state/wring"); got != want {
		t.Errorf("with a relative XDG_STATE_HOME: data dir %q, want %q", got, want)
	}
	t.Setenv("XDG_STATE_HOME", "/state")
	if got := Default().DataDir; got != "/state/wring" {
		t.Errorf("data dir %q", got)
	}

	inHome := filepath.Join(home, ".config/wring/wring.hcl")
	if got := DefaultPath(); got == inHome {
		t.Errorf("%q does not exist", got)
	}
	if err := os.MkdirAll(filepath.Dir(inHome), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inHome, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := DefaultPath(); got != inHome {
		t.Errorf("got %q, want %q", got, inHome)
	}
	t.Setenv("WRING_CONFIG", "/no/such.hcl")
	if got := DefaultPath(); got != "/no/such.hcl" {
		t.Errorf("got %q", got)
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	if got := Default().DataDir; got != "/var/lib/wring" {
		t.Errorf("without a home: %q", got)
	}
}

func TestExcerptsAreSafeAndShort(t *testing.T) {
	src := "\tdata_dirr = \"" + strings.Repeat("é", 300) + "\x1b[2J\"\n"
	_, err := Parse(t.Context(), []byte(src), "wring.hcl", nil)
	var d *Diagnostics
	if !errors.As(err, &d) {
		t.Fatal(err)
	}
	if strings.ContainsRune(err.Error(), 0x1b) {
		t.Error("an escape character is shown")
	}
	lines := strings.Split(d.List()[0].String(), "\n")
	if want := "      | \t^^^^^^^^^"; lines[2] != want {
		t.Errorf("marker %q, want %q", lines[2], want)
	}
	if n := len([]rune(lines[1])); n > shownWidth+10 {
		t.Errorf("%d characters are shown", n)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.hcl")
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("store \"a\" { options { x = [1, null, {}] } }"))
	f.Add([]byte("defaults { every = <<E\n6h\nE\n}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse(t.Context(), src, "/etc/wring/wring.hcl", described())
		if err == nil {
			for _, s := range c.Stores {
				if s.Name == "" || s.Path+s.Glob+s.Owner+s.OwnerDir == "" || s.StallTimeout <= 0 || s.OverdueAfter <= 0 {
					t.Errorf("incomplete: %+v", s)
				}
			}
			return
		}
		var d *Diagnostics
		if !errors.As(err, &d) || len(d.List()) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		if lines := bytes.Count(src, []byte("\n")) + 1; d.List()[len(d.List())-1].Line > lines {
			t.Errorf("a line beyond %d: %v", lines, err)
		}
		_ = d.Error()
	})
}
