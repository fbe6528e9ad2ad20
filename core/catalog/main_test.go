package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wringdb/wring/sdk"
)

// TestMain lets the test binary stand in for plugins: under a name that begins
// with wring-plugin- it behaves as the rest of its name says.
func TestMain(m *testing.M) {
	if behaviour, ok := strings.CutPrefix(filepath.Base(os.Args[0]), ProgramPrefix); ok {
		os.Exit(behave(behaviour, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

func behave(behaviour string, args []string) int {
	if len(args) == 0 || args[len(args)-1] != "describe" {
		fmt.Fprintln(os.Stderr, "expected describe, got", args)
		return 64
	}
	desc := sdk.Description{
		ProtocolVersion: sdk.ProtocolMax,
		Name:            behaviour,
		Version:         "1.0",
		Engine:          "Fake",
		Capabilities:    sdk.Capabilities{Modes: []string{"copy"}},
	}
	behaviour, _, _ = strings.Cut(behaviour, ".")
	switch behaviour {
	case "served":
		sdk.Serve(served{desc})
		return 0
	case "magic":
		desc.Signatures = []sdk.Signature{{Magic: []byte("MAGIC"), Offset: 16}, {Magic: []byte("SECOND")}}
	case "magic2":
		desc.Signatures = []sdk.Signature{{Magic: []byte("MAG"), Offset: 16}}
	case "tree":
		desc.Signatures = []sdk.Signature{{DirEntry: "CURRENT"}, {DirEntry: "marker.manifest.*.*"}}
	case "treemagic":
		desc.Signatures = []sdk.Signature{{DirEntry: "*.log", Magic: []byte("LOG1")}}
	case "nothing-set":
		desc.Signatures = []sdk.Signature{{}}
	case "env":
		desc.Version = strings.Join(os.Environ(), "\n")
	case "args":
		desc.Version = strings.Join(args, " ")
	case "count":
		// Each time it is asked, a line more in the file beside the program.
		f, err := os.OpenFile(os.Args[0]+".count", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return 65
		}
		fmt.Fprintln(f, "asked")
		_ = f.Close()
	case "crash":
		for i := range 30 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		fmt.Fprintln(os.Stderr, "\x1b[31mpanic: boom\x1b[0m")
		return 2
	case "hang":
		time.Sleep(time.Minute)
	case "flood":
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("x", 64<<10)); err != nil {
				return 66
			}
		}
	case "rubbish":
		fmt.Println("hello, I am a shell")
		return 0
	case "incomplete":
		desc.Engine = ""
	case "future":
		desc.ProtocolVersion, desc.ProtocolMin = sdk.ProtocolMax+7, sdk.ProtocolMax+1
	case "past":
		desc.ProtocolVersion = sdk.ProtocolMin - 1
	case "newer":
		desc.ProtocolVersion, desc.ProtocolMin = sdk.ProtocolMax+1, sdk.ProtocolMax
	}
	if err := json.NewEncoder(os.Stdout).Encode(desc); err != nil {
		return 67
	}
	return 0
}

// served is a backend that can only be described.
type served struct{ desc sdk.Description }

func (s served) Describe(context.Context) (sdk.Description, error) { return s.desc, nil }

func (served) Fragmentation(context.Context, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	return sdk.Fragmentation{}, sdk.ErrUnsupported
}

func (served) Compact(context.Context, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
	return sdk.CompactResult{}, sdk.ErrUnsupported
}

// install puts the test binary into dir as the program of each plugin.
func install(t *testing.T, dir string, names ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, ProgramPrefix+name)); err != nil {
			t.Fatal(err)
		}
	}
}

// write makes a file and returns its path.
func write(t *testing.T, path string, mode os.FileMode, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

// chmod passes over the umask.
func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// says fails unless the error's message and hint hold all parts.
func says(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	text := err.Error() + "\nhint: " + sdk.HintOf(err)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("error does not say %q:\n%s", part, text)
		}
	}
}
