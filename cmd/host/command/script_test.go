// Package command_test runs the real programs, wring and its plugins, by the
// scripts in testdata/script. What a script can say beside testscript's own
// commands is in commands_test.go, processes_test.go, files_test.go and
// json_test.go; the databases that it makes, holds and damages are the work of
// tool_test.go, and badplugin_test.go is the plugin that misbehaves,
// owner_test.go an application that owns its stores.
package command_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// builtVersion is what `wring version` says in scripts.
const builtVersion = "v9.8.7-test"

func TestMain(m *testing.M) {
	// Scripts wait for processes most of the time. This is the default only:
	// -parallel on the command line comes later, and wins.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"tool":             toolMain,
		"wring-plugin-bad": badPluginMain,
	})
}

func TestScripts(t *testing.T) {
	root := shortDir(t)
	bin := filepath.Join(root, "bin")
	buildPrograms(t, bin)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            deadline(t),
		Setup:               func(env *testscript.Env) error { return setUp(env, bin) },
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"start":     cmdStart,
			"signal":    cmdSignal,
			"ended":     cmdEnded,
			"await":     cmdAwait,
			"children":  cmdChildren,
			"noprocess": cmdNoProcess,
			"holder":    cmdHolder,
			"json":      cmdJSON,
			"remember":  cmdRemember,
			"unchanged": cmdUnchanged,
			"notemps":   cmdNoTemps,
			"expand":    cmdExpand,
			"smalldisk": cmdSmallDisk,
		},
	})
}

// shortDir makes a directory whose path leaves room for sockets (108 bytes),
// and which other users may look into.
func shortDir(t *testing.T) string {
	parent := os.TempDir()
	if len(parent) > 20 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "w") //nolint:usetesting // its path would be too long, and closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the scripts' directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildPrograms builds what a script runs, as `make build` does, and the
// example plugin as its author would.
func buildPrograms(t *testing.T, bin string) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	examples := filepath.Join(filepath.Dir(bin), "examples")
	var builds sync.WaitGroup
	for _, b := range []struct{ dir, output, pkg string }{
		{root, filepath.Join(bin, "wring"), "./cmd/host"},
		{root, filepath.Join(bin, "wring-plugin-bolt"), "./plugins/bolt/cmd/wring-plugin-bolt"},
		{root, filepath.Join(bin, "wring-plugin-pebble"), "./plugins/pebble/cmd/wring-plugin-pebble"},
		{filepath.Join(root, "examples/minimal-plugin"), filepath.Join(examples, "wring-plugin-minilog"), "."},
		{filepath.Join(root, "examples/minimal-plugin"), filepath.Join(examples, "mklog"), "./mklog"},
	} {
		builds.Go(func() {
			build := exec.Command("go", "build", "-ldflags", "-X main.version="+builtVersion, "-o", b.output, b.pkg)
			build.Dir = b.dir
			if said, err := build.CombinedOutput(); err != nil {
				t.Errorf("build %s: %v\n%s", b.pkg, err, said)
			}
		})
	}
	builds.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// deadline ends scripts that hang long before the test binary's own timeout.
func deadline(t *testing.T) time.Time {
	end := time.Now().Add(4 * time.Minute)
	if own, ok := t.Deadline(); ok && own.Before(end) {
		return own
	}
	return end
}

// setUp gives a script a home of its own. Programs see these variables:
//
//	BIN      wring and the two plugins
//	EXAMPLES what the examples build
//	TOOLS    the plugin that misbehaves
//	STATE    the data_dir that the scripts' configurations use
//
// In files named *.hcl $WORK, $BIN, $EXAMPLES, $TOOLS and $STATE are replaced
// by what they stand for.
func setUp(env *testscript.Env, bin string) error {
	tools, err := exec.LookPath("wring-plugin-bad")
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		return err
	}
	// For the scripts that run wring as somebody else.
	if err := os.Chmod(env.Getenv("TMPDIR"), 0o1777); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"HOME":     home,
		"BIN":      bin,
		"EXAMPLES": filepath.Join(filepath.Dir(bin), "examples"),
		"TOOLS":    filepath.Dir(tools),
		"STATE":    filepath.Join(env.WorkDir, "state"),
		"PATH":     bin + string(filepath.ListSeparator) + env.Getenv("PATH"),
		// The user's own configuration is none of the scripts' business.
		"WRING_CONFIG": "", "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": "",
		// Nor are the machine's proxies.
		"HTTP_PROXY": "", "HTTPS_PROXY": "", "NO_PROXY": "", "http_proxy": "", "https_proxy": "", "no_proxy": "",
	} {
		env.Setenv(name, value)
	}
	configurations, err := filepath.Glob(filepath.Join(env.WorkDir, "*.hcl"))
	if err != nil {
		return err
	}
	for _, file := range configurations {
		if err := expandFile(file, env.Getenv); err != nil {
			return err
		}
	}
	env.Values[scriptKey{}] = &script{
		environment: env.Vars,
		processes:   make(map[string]*process),
		prints:      make(map[string]string),
	}
	return nil
}

// expandFile replaces $WORK and the like in a file.
func expandFile(file string, value func(string) string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var pairs []string
	for _, name := range []string{"WORK", "BIN", "EXAMPLES", "TOOLS", "STATE", "SUM", "RECEIVER"} {
		pairs = append(pairs, "$"+name, value(name))
	}
	return os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(string(content))), 0o644)
}

// scriptKey finds the script in a TestScript's values.
type scriptKey struct{}

// script is what commands of one script share.
type script struct {
	environment []string
	processes   map[string]*process // started, by name
	prints      map[string]string   // what `remember` saw, by path
}

func scriptOf(ts *testscript.TestScript) *script {
	s, ok := ts.Value(scriptKey{}).(*script)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return s
}

// environ is the environment of the script as it is now.
func (s *script) environ(ts *testscript.TestScript) []string {
	var now []string
	for _, variable := range s.environment {
		name, _, _ := strings.Cut(variable, "=")
		now = append(now, name+"="+ts.Getenv(name))
	}
	return now
}
