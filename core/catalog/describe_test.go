package catalog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

func TestDescribeAsksOnceForEachState(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "count")
	c := New(Config{SelfDir: dir})
	for range 3 {
		desc, err := c.Describe(t.Context(), config.Plugin{Name: "count"})
		if err != nil || desc.Engine != "Fake" || desc.Name != "count" {
			t.Fatalf("Describe = %+v, %v", desc, err)
		}
	}
	asked := func() int {
		log, err := os.ReadFile(filepath.Join(dir, "wring-plugin-count.count"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(log), "\n")
	}
	if asked() != 1 {
		t.Errorf("the program was run %d times, want once", asked())
	}
	// Another catalog, or another set of arguments, has to ask again.
	if _, err := c.Describe(t.Context(), config.Plugin{Name: "count", Args: []string{"-x"}}); err != nil {
		t.Fatal(err)
	}
	if asked() != 2 {
		t.Errorf("the program was run %d times, want twice", asked())
	}
}

func TestDescribeAsksAgainWhenTheProgramChanges(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "wring-plugin-args")
	script := func(arg string) string {
		return "#!/bin/sh\nexec " + filepath.Join(dir, "bin", "wring-plugin-args") + " " + arg + " describe\n"
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bin", "wring-plugin-args")); err != nil {
		t.Fatal(err)
	}
	c := New(Config{SelfDir: dir})
	for _, version := range []string{"one", "two"} {
		// A new file each time: the old one may still be in use.
		if err := os.Rename(write(t, program+".new", 0o755, script(version)), program); err != nil {
			t.Fatal(err)
		}
		desc, err := c.Describe(t.Context(), config.Plugin{Name: "args"})
		if err != nil || desc.Version != version+" describe" {
			t.Errorf("version %q, %v, want %q", desc.Version, err, version+" describe")
		}
	}
}

func TestDescribeGivesLittleEnvironment(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "env")
	t.Setenv("WRING_TEST_SECRET", "1")
	t.Setenv("WRING_TEST_ALLOWED", "2")
	t.Setenv("LANG", "C.UTF-8")
	desc, err := New(Config{SelfDir: dir}).Describe(t.Context(), config.Plugin{Name: "env", Env: []string{"WRING_TEST_ALLOWED"}})
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(desc.Version, "\n")
	if !slices.Contains(env, "WRING_TEST_ALLOWED=2") || !slices.Contains(env, "LANG=C.UTF-8") {
		t.Errorf("allowed variables are missing in %q", env)
	}
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if name != "WRING_TEST_ALLOWED" && !slices.Contains(sdk.PluginEnv(), name) {
			t.Errorf("the plugin sees %s", entry)
		}
	}
}

func TestDescribeExplainsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "crash", "hang", "flood", "rubbish", "incomplete", "future", "past")
	write(t, filepath.Join(dir, "wring-plugin-text"), 0o755, "just text\n")
	for _, test := range []struct {
		name  string
		kind  error
		parts []string
	}{
		{"crash", sdk.ErrInternal, []string{"exit status 2", "line 29 | ", "panic: boom", "is it a wring plugin?"}},
		{"hang", sdk.ErrInternal, []string{"gave no answer within 2s"}},
		{"flood", sdk.ErrInternal, []string{"printed more than 1.0 MiB"}},
		{"rubbish", sdk.ErrInternal, []string{"no description", `"hello, I am a shell\n"`, "is it a wring plugin?"}},
		{"incomplete", sdk.ErrInternal, []string{"without name, engine or modes"}},
		{"future", sdk.ErrProtocol, []string{"wring v0.9 speaks version 1 of the protocol, future 1.0 speaks versions 2 to 8", "update wring v0.9: it is the older one"}},
		{"past", sdk.ErrProtocol, []string{"past 1.0 speaks version 0", "update past 1.0"}},
		{"text", sdk.ErrInternal, []string{"exec format error", "another kind of machine"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New(Config{SelfDir: dir, DescribeTimeout: 2 * time.Second, HostVersion: "v0.9"})
			_, err := c.Describe(t.Context(), config.Plugin{Name: test.name})
			if !errors.Is(err, ErrNotPlugin) || !errors.Is(err, test.kind) {
				t.Errorf("error is %v, want ErrNotPlugin and %v", err, test.kind)
			}
			says(t, err, append(test.parts, filepath.Join(dir, "wring-plugin-"+test.name))...)
			if strings.Contains(err.Error(), "line 9 ") || strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("too much, or control characters, in %q", err)
			}
		})
	}
}

// What sdk.Serve makes is described with the arguments that it is configured with.
func TestDescribeOfAServedPluginWithArguments(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "served")
	for _, args := range [][]string{nil, {"-cache", "1GiB"}, {"serve"}} {
		desc, err := New(Config{SelfDir: dir}).Describe(t.Context(), config.Plugin{Name: "served", Args: args})
		if err != nil || desc.Name != "served" {
			t.Errorf("with %q: %+v, %v", args, desc, err)
		}
	}
}

// A plugin that is newer than the host, and still speaks with it, is as good as
// any other.
func TestDescribeOfANewerPlugin(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "newer")
	desc, err := New(Config{SelfDir: dir}).Describe(t.Context(), config.Plugin{Name: "newer"})
	if err != nil || desc.ProtocolVersion != sdk.ProtocolMax+1 {
		t.Errorf("Describe = %+v, %v", desc, err)
	}
}

func TestDescribeEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := New(Config{SelfDir: dir}).Describe(ctx, config.Plugin{Name: "hang"})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotPlugin) {
		t.Errorf("error is %v, want the context's alone", err)
	}
}
