package sdk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// byHand runs the plugin as a person does.
func byHand(t *testing.T, args ...string) (stdout, stderr string, exitCode int) {
	t.Helper()
	var out, errs buffer
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self(t), args...)
	// A binary that measures its coverage complains on stderr without the latter.
	cmd.Env = append(as("plugin"), "GOCOVERDIR="+t.TempDir())
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestServeDescribe(t *testing.T) {
	stdout, stderr, code := byHand(t, "describe")
	if code != 0 || stderr != "" {
		t.Fatalf("exit status %d: %s", code, stderr)
	}
	var d Description
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatal(err)
	}
	_, c := start(t, "plugin")
	if over := c.Description(); over.Name != d.Name || !reflect.DeepEqual(over.Signatures, d.Signatures) || !reflect.DeepEqual(over.Capabilities, d.Capabilities) {
		t.Errorf("described by hand\n%+v, to a host\n%+v", d, over)
	}
	for _, schema := range []Schema{d.Options, c.Description().Options} {
		options, err := schema.Resolve(map[string]any{"order": "up"})
		if err != nil || options.Duration("wait") != 90*time.Second || options.Size("chunk") != 64<<10 || options.Number("fill") != 0.5 {
			t.Errorf("the schema resolves to %v, %v", options, err)
		}
		if _, err := schema.Resolve(map[string]any{"fill": 2, "order": "left"}); err == nil || !strings.Contains(err.Error(), "up, down") || !strings.Contains(err.Error(), "at most 1") {
			t.Errorf("the bounds are lost: %v", err)
		}
	}
	if !strings.HasPrefix(stdout, "{\n  \"protocol_version\": 1,\n  \"protocol_min\": 1,\n  \"name\": \"fake\"") {
		t.Errorf("not for people: %s", stdout)
	}
}

func TestServeByHand(t *testing.T) {
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{nil, 2, "", "is the Fake DB backend of wring. The host starts it by itself"},
		{[]string{"compact", "x.db"}, 2, "", "describe             print what it is"},
		{[]string{"describe", "more"}, 2, "", "By hand:"},
		{[]string{"-cache", "1GiB", "describe"}, 0, "\"name\": \"fake\"", ""},
		{[]string{"-cache", "1GiB", "-version"}, 0, "fake 1.2.3", ""},
		{[]string{"-h"}, 0, "By hand:", ""},
		{[]string{"--help"}, 0, "By hand:", ""},
		{[]string{"-version"}, 0, "fake 1.2.3 (engine Fake DB, protocol 1)\n", ""},
		{[]string{"--version"}, 0, "fake 1.2.3", ""},
	} {
		stdout, stderr, code := byHand(t, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%q: exit status %d\nstdout: %s\nstderr: %s", c.args, code, stdout, stderr)
		}
		if (c.stdout == "") != (stdout == "") || (c.stderr == "") != (stderr == "") {
			t.Errorf("%q: on the wrong stream\nstdout: %s\nstderr: %s", c.args, stdout, stderr)
		}
	}
}

func TestServeFailsInWords(t *testing.T) {
	f := newFake()
	f.description.Capabilities.Modes = nil
	var out, errs buffer
	p := &program{backend: guarded(f), name: "wring-plugin-fake", stdout: &out, stderr: &errs}
	for _, args := range [][]string{{"describe"}, {"-version"}, {"-debug"}} {
		if code := p.run(args); code != 1 || out.String() != "" || !strings.Contains(errs.String(), "it has no modes") || !strings.Contains(errs.String(), "report it") {
			t.Errorf("%q: exit status %d, %s%s", args, code, out.String(), errs.String())
		}
	}
}

func TestServeDebug(t *testing.T) {
	store := newStore(t, "")
	cmd := exec.Command(self(t), "-debug", store.Path)
	cmd.Env = append(as("plugin"), "TMPDIR="+shortDir(t))
	var errs buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&text, lines.Text())
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	if !strings.Contains(text.String(), fmt.Sprintf("dlv attach %d\n", cmd.Process.Pid)) || !strings.Contains(text.String(), `store "a" {`) {
		t.Fatalf("it says: %s", text.String())
	}
	_, rest, _ := strings.Cut(text.String(), `owner = "`)
	socket, _, _ := strings.Cut(rest, `"`)
	c := dial(t, socket)
	if stores, err := c.Stores(t.Context()); err != nil || len(stores) != 1 || stores[0] != (Store{Name: "a", Path: store.Path}) {
		t.Errorf("stores = %v, %v", stores, err)
	}
	temp := store.Path + ".temp"
	// A host calls a store as it is listed, which is with its path.
	for _, store := range []Store{{Name: "a", Path: store.Path}, {Name: "a"}, {Name: store.Path}} {
		if _, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: store}); err != nil {
			t.Errorf("measure %v: %v", store, err)
		}
		if _, err := c.Compact(t.Context(), CompactRequest{Store: store}, nil); err != nil {
			t.Errorf("compact %v: %v", store, err)
		}
		if err := os.WriteFile(temp, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if removed, err := c.Sweep(t.Context(), store); err != nil || len(removed) != 1 {
			t.Errorf("sweep %v: %v, %v", store, removed, err)
		}
	}
	for _, call := range []func() error{
		func() error {
			_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "b"}})
			return err
		},
		func() error {
			_, err := c.Compact(t.Context(), CompactRequest{Store: Store{Name: "b"}}, nil)
			return err
		},
		func() error { _, err := c.Sweep(t.Context(), Store{Name: "b"}); return err },
	} {
		if err := call(); !errors.Is(err, ErrNotFound) || !strings.Contains(HintOf(err), "-debug") {
			t.Errorf("another store: %v", err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v: %s", err, errs.String())
	}
	if exists(filepath.Dir(socket)) {
		t.Error("its directory is left behind")
	}
}

func TestServeDebugRefusesEqualNames(t *testing.T) {
	_, err := debugStores(newFake(), []string{"/a/x.db", "/b/x.db"})
	if !errors.Is(err, ErrInvalidOption) || !strings.Contains(err.Error(), `both named "x"`) {
		t.Errorf("err = %v", err)
	}
	if n, err := debugStores(newFake(), nil); err != nil || !strings.Contains(n.blocks("/s"), "/ABSOLUTE/PATH") {
		t.Errorf("%+v, %v", n, err)
	}
}

// A lifeline that is not one must not end the process, nor keep it from serving.
func TestServeWithoutLifeline(t *testing.T) {
	for _, value := range []string{"", "many", "1", "77"} {
		cmd := exec.Command(self(t))
		cmd.Env = append(as("plugin"), HandshakeCookieKey+"="+HandshakeCookieValue,
			"PLUGIN_UNIX_SOCKET_DIR="+shortDir(t), LifelineEnv+"="+value)
		var errs buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if parts := strings.Split(line, "|"); err != nil || len(parts) != 6 || parts[2] != "unix" {
			t.Errorf("lifeline %q: it says %q, %v: %s", value, line, err, errs.String())
		} else if _, err := dial(t, parts[3]).Describe(t.Context()); err != nil {
			t.Errorf("lifeline %q: %v", value, err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("lifeline %q: after SIGTERM: %v: %s", value, err, errs.String())
		}
		if !strings.Contains(errs.String(), "lifeline is no") {
			t.Errorf("lifeline %q: not said: %s", value, errs.String())
		}
	}
}
