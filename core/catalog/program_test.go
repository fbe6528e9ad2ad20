package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
)

func TestResolveLooksBesideTheHostFirst(t *testing.T) {
	self, extra := t.TempDir(), t.TempDir()
	first := write(t, filepath.Join(self, "wring-plugin-a"), 0o755, "one")
	write(t, filepath.Join(extra, "wring-plugin-a"), 0o755, "two")
	second := write(t, filepath.Join(extra, "wring-plugin-b"), 0o755, "three")
	explicit := write(t, filepath.Join(t.TempDir(), "any-name"), 0o755, "four")
	c := New(Config{SelfDir: self, Dirs: []string{extra}})

	for _, test := range []struct {
		plugin config.Plugin
		want   string
	}{
		{config.Plugin{Name: "a"}, first},
		{config.Plugin{Name: "b"}, second},
		{config.Plugin{Name: "a", Command: explicit}, explicit},
	} {
		got, err := c.Resolve(test.plugin)
		if err != nil || got.Path != test.want {
			t.Errorf("Resolve(%+v) = %q, %v, want %q", test.plugin, got.Path, err, test.want)
		}
	}
}

func TestResolveDoesNotSearchPATH(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "wring-plugin-a"), 0o755, "x")
	t.Setenv("PATH", dir)
	_, err := New(Config{SelfDir: t.TempDir()}).Resolve(config.Plugin{Name: "a"})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("error is %v, want ErrMissing", err)
	}
	says(t, err, "$PATH is not searched")
}

func TestResolveCarriesArgumentsAndChosenEnvironment(t *testing.T) {
	program := write(t, filepath.Join(t.TempDir(), "p"), 0o755, "x")
	host := map[string]string{"ACME_TOKEN": "secret", "AWS_KEY": "other"}
	c := New(Config{LookupEnv: func(name string) (string, bool) { v, ok := host[name]; return v, ok }})
	got, err := c.Resolve(config.Plugin{Name: "acme", Command: program, Args: []string{"-v"}, Env: []string{"ACME_TOKEN", "UNSET"}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got.Env, ",") != "ACME_TOKEN=secret" || strings.Join(got.Args, ",") != "-v" {
		t.Errorf("environment %q and arguments %q", got.Env, got.Args)
	}
}

func TestResolveRefusals(t *testing.T) {
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), 0o644, "x")
	empty := write(t, filepath.Join(dir, "empty"), 0o755, "")
	open := write(t, filepath.Join(dir, "open"), 0o757, "x")
	openDir := filepath.Join(dir, "public")
	inOpenDir := write(t, filepath.Join(openDir, "deep", "p"), 0o755, "x")
	chmod(t, openDir, 0o777)
	viaLink := filepath.Join(dir, "link")
	if err := os.Symlink(inOpenDir, viaLink); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "gone"), dangling); err != nil {
		t.Fatal(err)
	}
	good := write(t, filepath.Join(dir, "good"), 0o755, "x")
	digest := sha256.Sum256([]byte("x"))

	for _, test := range []struct {
		name   string
		plugin config.Plugin
		is     error
		parts  []string
	}{
		{"not there", config.Plugin{Name: "acme"}, ErrMissing,
			[]string{`plugin "acme"`, "looked in " + dir + " (beside wring), /nowhere (plugin_dirs)", "wring-plugin-acme", "put wring-plugin-acme into one of these"}},
		{"command not there", config.Plugin{Name: "acme", Command: "/no/such/program"}, ErrMissing,
			[]string{"there is no /no/such/program", "correct the command"}},
		{"dangling link", config.Plugin{Name: "acme", Command: dangling}, ErrMissing, []string{dangling}},
		{"relative command", config.Plugin{Name: "acme", Command: "wring-plugin-acme"}, ErrMissing,
			[]string{"not a whole path", "$PATH is not searched"}},
		{"name with a slash", config.Plugin{Name: "../acme"}, ErrMissing, []string{`"../acme" is no name of a plugin`}},
		{"directory", config.Plugin{Name: "acme", Command: dir}, ErrNotExecutable, []string{dir + " is a directory"}},
		{"device", config.Plugin{Name: "acme", Command: "/dev/null"}, ErrNotExecutable, []string{"/dev/null is no regular file"}},
		{"no execute bit", config.Plugin{Name: "acme", Command: plain}, ErrNotExecutable,
			[]string{plain + " has mode 0644", "chmod +x " + plain}},
		{"empty", config.Plugin{Name: "acme", Command: empty}, ErrNotExecutable, []string{empty + " is empty (0 bytes)"}},
		{"writable by everybody", config.Plugin{Name: "acme", Command: open}, ErrUnsafe,
			[]string{"everybody may write to " + open, "chmod o-w " + open}},
		{"directory above writable by everybody", config.Plugin{Name: "acme", Command: inOpenDir}, ErrUnsafe,
			[]string{"its directory " + openDir + " has mode 0777"}},
		{"link into such a directory", config.Plugin{Name: "acme", Command: viaLink}, ErrUnsafe, []string{openDir}},
		{"other checksum", config.Plugin{Name: "acme", Command: good, SHA256: strings.Repeat("ab", 32)}, ErrChecksum,
			[]string{"want " + strings.Repeat("ab", 32), "got " + hex.EncodeToString(digest[:]), good, "wring plugin pin acme"}},
		{"no checksum", config.Plugin{Name: "acme", Command: good, SHA256: "abc"}, ErrChecksum,
			[]string{`"abc" is not 64 hexadecimal digits`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Config{SelfDir: dir, Dirs: []string{"/nowhere", dir}}).Resolve(test.plugin)
			if !errors.Is(err, test.is) {
				t.Errorf("error is %v, want %v", err, test.is)
			}
			says(t, err, test.parts...)
		})
	}
}

func TestStickyDirectoryNeedsAnOwnerWhoIsTrusted(t *testing.T) {
	const nobody, somebody = 65534, 65533
	shared := filepath.Join(t.TempDir(), "shared")
	program := write(t, filepath.Join(shared, "p"), 0o755, "x")
	chmod(t, shared, 0o777|os.ModeSticky)
	owner := os.Getuid()
	if owner == 0 {
		owner = nobody
		if err := os.Chown(program, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if d := checkTrust(program, owner); d != nil {
		t.Errorf("the owner's own program is refused: %v", d)
	}
	if d := checkTrust(program, somebody); d == nil || !strings.Contains(d.what, "belongs to user") {
		t.Errorf("another user's program in a sticky directory: %v, want a refusal", d)
	}
}

func TestChecksumFollowsTheFile(t *testing.T) {
	program := write(t, filepath.Join(t.TempDir(), "p"), 0o755, "old")
	pin := func(content string) config.Plugin {
		d := sha256.Sum256([]byte(content))
		return config.Plugin{Name: "p", Command: program, SHA256: strings.ToUpper(hex.EncodeToString(d[:]))}
	}
	// Once with the checksum remembered, since the file is old enough, and once
	// with a file that is too young for that.
	for _, age := range []time.Duration{time.Hour, 0} {
		write(t, program, 0o755, "old")
		c := New(Config{Now: func() time.Time { return time.Now().Add(age) }})
		before, err := c.Resolve(pin("old"))
		if err != nil || !before.Pinned {
			t.Fatalf("Resolve = %+v, %v, want a pinned program", before, err)
		}
		if remembered := len(c.sums) > 0; remembered != (age > 0) {
			t.Errorf("age %s: remembered is %v", age, remembered)
		}
		info, err := os.Stat(program)
		if err != nil {
			t.Fatal(err)
		}
		if age > 0 {
			waitForTick(t, program)
		}
		// Same length and modification time: only the content tells.
		write(t, program, 0o755, "new")
		if err := os.Chtimes(program, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Resolve(pin("old")); !errors.Is(err, ErrChecksum) {
			t.Errorf("the changed program passes as the pinned one: %v", err)
		}
		after, err := c.Resolve(pin("new"))
		if err != nil {
			t.Fatal(err)
		}
		if after.Same(before) || !before.Same(before) {
			t.Error("Same does not tell the two programs apart")
		}
	}
}

// waitForTick returns when the file system's clock has moved on from the last
// change of the file.
func waitForTick(t *testing.T, path string) {
	t.Helper()
	changed := func(path string) identity {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return identify(info)
	}
	before := changed(path).ctime
	for probe := path + ".probe"; ; {
		if changed(write(t, probe, 0o600, "")).ctime > before {
			return
		}
	}
}

func TestPin(t *testing.T) {
	dir := t.TempDir()
	program := write(t, filepath.Join(dir, "wring-plugin-acme"), 0o755, "x")
	digest := sha256.Sum256([]byte("x"))
	want := "plugin \"acme\" {\n  command = \"" + program + "\"\n  sha256  = \"" + hex.EncodeToString(digest[:]) + "\"\n}\n"
	// The pin that is there already is wrong, which is when one pins again.
	c := New(Config{SelfDir: dir, Plugins: []config.Plugin{{Name: "acme", SHA256: strings.Repeat("00", 32)}}})
	for _, what := range []string{"acme", program} {
		got, err := c.Pin(what)
		if err != nil || got != want {
			t.Errorf("Pin(%q) = %v\n%s\nwant\n%s", what, err, got, want)
		}
	}
	if _, err := c.Pin("other"); !errors.Is(err, ErrMissing) {
		t.Errorf("pin of a missing plugin: %v, want ErrMissing", err)
	}
	if got := quote(`a"b\c${d}%{e}`); got != `"a\"b\\c$${d}%%{e}"` {
		t.Errorf("quote = %s", got)
	}
}

func TestList(t *testing.T) {
	self, extra := t.TempDir(), t.TempDir()
	good := write(t, filepath.Join(self, "wring-plugin-good"), 0o755, "x")
	write(t, filepath.Join(self, "wring-plugin-plain"), 0o644, "x")
	write(t, filepath.Join(self, "wring-plugin-good.sha256"), 0o644, "x")
	write(t, filepath.Join(self, "wring-plugin-open"), 0o777, "x")
	write(t, filepath.Join(self, "wring"), 0o755, "x")
	shadowed := write(t, filepath.Join(extra, "wring-plugin-good"), 0o755, "y")
	other := write(t, filepath.Join(extra, "elsewhere"), 0o755, "z")
	if err := os.Mkdir(filepath.Join(extra, "wring-plugin-src.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := New(Config{SelfDir: self, Dirs: []string{extra, "/nowhere"}, Plugins: []config.Plugin{
		{Name: "acme", Command: other},
		{Name: "gone"},
		{Name: "pinned", Command: other, SHA256: strings.Repeat("0", 64)},
	}})
	var got []string
	for _, f := range c.List() {
		line := f.Name + " " + string(f.State) + " " + f.Path
		if f.Configured {
			line += " configured"
		}
		if (f.Error == "") != (f.State == Ready) {
			t.Errorf("%s: error %q", line, f.Error)
		}
		got = append(got, line)
	}
	want := []string{
		"acme ready " + other + " configured",
		"gone missing  configured",
		"good ready " + good,
		"good shadowed " + shadowed,
		"open unsafe " + filepath.Join(self, "wring-plugin-open"),
		"pinned checksum_mismatch " + other + " configured",
		"plain not_executable " + filepath.Join(self, "wring-plugin-plain"),
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("List:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
