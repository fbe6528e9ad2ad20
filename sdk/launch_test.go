package sdk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLaunchAnswers(t *testing.T) {
	noLeaks(t)
	_, c := start(t, "plugin")
	d := c.Description()
	if d.Name != "fake" || d.ProtocolVersion != ProtocolMax || !d.Capabilities.Sweeps || len(d.Options) != 5 {
		t.Errorf("description = %+v", d)
	}
	again, err := c.Describe(t.Context())
	if err != nil || !reflect.DeepEqual(again, d) {
		t.Errorf("described again: %+v, %v", again, err)
	}
	if err := c.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: newStore(t, "a")})
	if err != nil || f.ReclaimableBytes != 500 || f.Method != MethodSampled || f.Metrics["depth_sampled"] != 1 || len(f.Map) != 3 {
		t.Errorf("fragmentation = %+v, %v", f, err)
	}
	if f.Mode != "full" || f.Note != "asked for" {
		t.Errorf("measured for mode %q: %s", f.Mode, f.Note)
	}
	f, err = c.Fragmentation(t.Context(), FragmentationRequest{Store: newStore(t, "a"), Mode: "quick"})
	if err != nil || f.Mode != "quick" {
		t.Errorf("measured for mode %q, %v", f.Mode, err)
	}
	var phases []string
	result, err := c.Compact(t.Context(), CompactRequest{Store: newStore(t, "a")}, func(p Progress) { phases = append(phases, p.Phase) })
	if err != nil || result.Mode != "full" || result.ReclaimedBytes != 500 || result.Pause != 2*time.Millisecond || result.Verification == nil || result.Note != "done" {
		t.Errorf("result = %+v, %v", result, err)
	}
	if strings.Join(phases, " ") != "copy verify" {
		t.Errorf("phases = %v", phases)
	}
	if stores, err := c.Stores(t.Context()); err != nil || len(stores) != 1 || stores[0].Path != "/data/a.db" {
		t.Errorf("stores = %v, %v", stores, err)
	}
	store := newStore(t, "a")
	if err := os.WriteFile(store.Path+".temp", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if removed, err := c.Sweep(t.Context(), store); err != nil || len(removed) != 1 || exists(store.Path+".temp") {
		t.Errorf("swept %v, %v", removed, err)
	}
}

func TestLaunchResolvesOptionsOverTheWire(t *testing.T) {
	_, c := start(t, "plugin")
	given := map[string]any{"fill": 0.25, "wait": 2 * time.Minute, "chunk": int64(1 << 20)}
	f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "options"}, Options: given})
	if err != nil || f.Metrics["fill"] != 0.25 || f.Metrics["wait"] != 120 || f.Metrics["chunk"] != 1<<20 {
		t.Errorf("options arrive as %v, %v", f.Metrics, err)
	}
	if resolved, err := c.Description().Options.Resolve(given); err != nil || resolved.Duration("wait") != 2*time.Minute {
		t.Errorf("the schema that has travelled resolves to %v, %v", resolved, err)
	}
	f, err = c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "options"}})
	if err != nil || f.Metrics["wait"] != 90 || f.Metrics["chunk"] != 64<<10 {
		t.Errorf("defaults arrive as %v, %v", f.Metrics, err)
	}
	for _, wrong := range []any{struct{}{}, "x", -1.0} {
		_, err := c.Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}, Options: Options{"fill": wrong}}, nil)
		if !errors.Is(err, ErrInvalidOption) {
			t.Errorf("fill = %v: %v", wrong, err)
		}
	}
	for _, req := range []FragmentationRequest{{Store: Store{Name: "a"}, Depth: "deep"}, {Store: Store{Path: "a.db"}}, {}} {
		if _, err := c.Fragmentation(t.Context(), req); !errors.Is(err, ErrInvalidOption) {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

func TestLaunchErrors(t *testing.T) {
	noLeaks(t)
	dir := shortDir(t)
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sum := sha256.Sum256([]byte("another program"))
	path := func(p string) func(*LaunchConfig) { return func(c *LaunchConfig) { c.Path = p } }
	brief := func(c *LaunchConfig) { c.StartTimeout = 300 * time.Millisecond }
	for _, c := range []struct {
		name string
		role string
		edit func(*LaunchConfig)
		kind error
		say  []string
		hint string
	}{
		{"missing", "", path("/no/such/program"), ErrNotFound, []string{"/no/such/program", "no such program"}, "install"},
		{"directory", "", path(dir), ErrNotFound, []string{"a directory"}, "path"},
		{"not executable", "", path(file("plain", "#!/bin/sh\n", 0o644)), ErrPermission, []string{"not executable (mode 0644)"}, "chmod +x"},
		{"no program", "", path(file("garbage", "\x00\x01\x02garbage", 0o755)), ErrPermission, []string{"exec format error"}, "architecture"},
		{"no interpreter", "", path(file("script", "#!/no/such/shell\n", 0o755)), ErrNotFound, []string{"script"}, "interpreter"},
		{"checksum", "plugin", func(c *LaunchConfig) { c.SHA256 = sum[:] }, ErrPermission, []string{fmt.Sprintf("want sha256 %x, got ", sum), "sdk.test"}, "wring plugin pin"},
		{"crash", "crash", nil, ErrInternal, []string{"exit status 4", "cannot find libfake.so"}, "describe"},
		{"shell", "", path(file("sh", "#!/bin/sh\nexit 0\n", 0o755)), ErrInternal, []string{"exit status 0"}, "describe"},
		{"rubbish", "rubbish", nil, ErrProtocol, []string{`printed to stdout before the handshake: "Welcome to my plugin!\n`}, "stderr only"},
		{"rubbish, then exit", "rubbish-exit", nil, ErrProtocol, []string{"usage: something else"}, "stderr only"},
		{"long rubbish", "", path(file("yes", "#!/bin/sh\nwhile :; do printf yes; done\n", 0o755)), ErrProtocol, []string{"yesyesyes"}, "stderr only"},
		{"hang", "hang", brief, ErrInternal, []string{"not ready within 300ms"}, "-debug"},
		{"hang after handshake", "hang-after-handshake", brief, ErrInternal, []string{"not ready within 300ms"}, "-debug"},
		{"handshake", "handshake", nil, ErrProtocol, []string{"its handshake is version 2", "wring 0.9"}, "update"},
		{"newer", "newer", nil, ErrProtocol, []string{"wring 0.9 speaks version 1 of the protocol, fake 1.2.3 speaks versions 2 to 3"}, "update wring 0.9"},
		{"older", "older", nil, ErrProtocol, []string{"fake 1.2.3 speaks version 0"}, "update fake 1.2.3"},
		{"long socket directory", "plugin", func(c *LaunchConfig) { c.SocketDir = filepath.Join(dir, strings.Repeat("d", 80)) }, ErrInvalidOption, []string{"at most 65"}, "shorter"},
		{"public socket directory", "plugin", func(c *LaunchConfig) { c.SocketDir = publicDir(t) }, ErrPermission, []string{"others may write"}, "700"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.edit == nil {
				c.edit = func(*LaunchConfig) {}
			}
			p, err := tryStart(t, c.role, c.edit)
			if err == nil {
				p.Stop(t.Context())
				t.Fatal("started")
			}
			if !errors.Is(err, c.kind) {
				t.Errorf("kind of %v is %v, want %v", err, KindOf(err), c.kind)
			}
			for _, say := range c.say {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("%q does not say %q", err, say)
				}
			}
			if !strings.Contains(HintOf(err), c.hint) {
				t.Errorf("hint %q does not say %q", HintOf(err), c.hint)
			}
		})
	}
}

func TestLaunchLeavesNothingBehind(t *testing.T) {
	dir := shortDir(t)
	p, err := tryStart(t, "plugin", func(c *LaunchConfig) { c.SocketDir = dir })
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("while it runs: %v, %v", entries, err)
	}
	p.Stop(t.Context())
	for _, role := range []string{"crash", "rubbish"} {
		if _, err := tryStart(t, role, func(c *LaunchConfig) { c.SocketDir = dir }); err == nil {
			t.Errorf("%s has started", role)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestLaunchHonoursItsContext(t *testing.T) {
	noLeaks(t)
	for _, role := range []string{"hang", "hang-after-handshake"} {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		go func() {
			time.Sleep(50 * time.Millisecond)
			cancel()
		}()
		_, err := Launch(ctx, LaunchConfig{Path: self(t), Env: as(role), SocketDir: shortDir(t)})
		if !errors.Is(err, ErrCancelled) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %s", role, err, time.Since(began))
		}
		if _, err := Launch(ctx, LaunchConfig{Path: self(t)}); !errors.Is(err, ErrCancelled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	}
}

func TestLaunchPinnedProgram(t *testing.T) {
	content, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	start(t, "plugin", func(c *LaunchConfig) { c.SHA256 = sum[:] })
}

func TestLaunchEnvironment(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "s3cr3t")
	t.Setenv("TZ", "UTC")
	t.Setenv(LogLevelEnv, "debug")
	_, c := start(t, "plugin", func(c *LaunchConfig) { c.Env = append(c.Env, "WANTED=1") })
	f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "env"}})
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{
		"PATH": true, "HOME": true, "TMPDIR": true, "LANG": true, "LC_ALL": true, "TZ": true, LogLevelEnv: true,
		"WANTED": true, roleEnv: true, HandshakeCookieKey: true, "GORACE": true,
	}
	for key := range f.Metrics {
		if !allowed[key] && !strings.HasPrefix(key, "PLUGIN_") {
			t.Errorf("%s is passed on", key)
		}
	}
	for _, key := range []string{"TZ", LogLevelEnv, "WANTED"} {
		if _, ok := f.Metrics[key]; !ok {
			t.Errorf("%s is not passed on", key)
		}
	}
}

// Lines that have felled hosts, and output by every way there is.
func TestLaunchRelaysOutput(t *testing.T) {
	noLeaks(t)
	var out buffer
	_, c := start(t, "malformed", func(c *LaunchConfig) { c.Stderr = &out })
	for _, name := range []string{"print by-go", "stderr by-c"} {
		if _, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 5*time.Second, "all lines relayed", func() bool {
		s := out.String()
		return strings.Count(s, "by-go\n") == 2 && strings.Contains(s, "by-c\n") && strings.Contains(s, `{"@level":3}`+"\n")
	})
	for _, line := range strings.SplitAfter(out.String(), "\n") {
		if len(line) > maxLine {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if n := strings.Count(out.String(), "x"); n < 200<<10 {
		t.Errorf("%d bytes of the long line arrive", n)
	}
}
