package sdktest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/sdk"
)

var (
	snakeCase   = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	programName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
)

func isWord(s string) bool { return snakeCase.MatchString(s) }

// testDescribe: what a backend says of itself is complete and never changes.
func testDescribe(t *testing.T, s *subject) {
	d := s.about
	if d.ProtocolVersion < sdk.ProtocolMin || d.ProtocolVersion > sdk.ProtocolMax {
		t.Errorf("protocol version %d; this sdk speaks %d to %d", d.ProtocolVersion, sdk.ProtocolMin, sdk.ProtocolMax)
	}
	if d.Version == "" {
		t.Error("no version")
	}
	checkDescription(t, d)
	wantStable(t, s.backend)
	if s.half == inProcess {
		wantStable(t, s.Backend()) // the Guard would ask once only
	}
	if s.half == subprocess {
		guarded, err := sdk.Guard(s.Backend()).Describe(t.Context())
		if err != nil {
			t.Fatalf("Describe in process: %v", err)
		}
		// The program may carry a version of its own.
		guarded.Version = d.Version
		guarded.ProtocolVersion, guarded.ProtocolMin = d.ProtocolVersion, d.ProtocolMin
		if here, there := asJSON(t, guarded), asJSON(t, d); here != there {
			t.Errorf("the plugin's program serves something else than Factory.Backend:\n\tprogram %s\n\tbackend %s", there, here)
		}
	}
}

// checkDescription checks what a backend says of itself, as far as the backend
// and not the sdk says it.
func checkDescription(t *testing.T, d sdk.Description) {
	t.Helper()
	if !programName.MatchString(d.Name) {
		t.Errorf("name %q; it must fit into wring-plugin-NAME: lower case, digits, hyphens", d.Name)
	}
	if d.Engine == "" {
		t.Error("no engine")
	}
	checkModes(t, d.Capabilities.Modes)
	checkSchema(t, d.Options, d.Capabilities.Modes)
	checkSignatures(t, d.Signatures)
}

func wantStable(t *testing.T, b sdk.Backend) {
	t.Helper()
	first, err := b.Describe(t.Context())
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	for range 3 {
		again, err := b.Describe(t.Context())
		if err != nil {
			t.Fatalf("Describe again: %v", err)
		}
		if !reflect.DeepEqual(first, again) {
			t.Fatalf("Describe changes:\n\tit was %+v\n\tit is  %+v", first, again)
		}
	}
}

func checkModes(t *testing.T, modes []string) {
	t.Helper()
	if len(modes) == 0 {
		t.Error("no modes; there must be one at least, the default first")
	}
	seen := make(map[string]bool)
	for _, mode := range modes {
		if !isWord(mode) {
			t.Errorf("mode %q is not in snake_case", mode)
		}
		if seen[mode] {
			t.Errorf("mode %q is there twice", mode)
		}
		seen[mode] = true
	}
}

func checkSchema(t *testing.T, schema sdk.Schema, modes []string) {
	t.Helper()
	seen := make(map[string]bool)
	for _, o := range schema {
		if !isWord(o.Name) {
			t.Errorf("option %q is not in snake_case", o.Name)
		}
		if seen[o.Name] {
			t.Errorf("option %s is there twice", o.Name)
		}
		seen[o.Name] = true
		if o.Help == "" {
			t.Errorf("option %s has no help", o.Name)
		}
		var bounded bool
		switch o.Type {
		case sdk.TypeNumber, sdk.TypeSize, sdk.TypeDuration:
			bounded = true
		case sdk.TypeString, sdk.TypeBool:
		default:
			t.Errorf("option %s has the unknown type %q", o.Name, o.Type)
			continue
		}
		if !bounded && (o.Min != nil || o.Max != nil) {
			t.Errorf("option %s is a %s and cannot have bounds", o.Name, o.Type)
		}
		if o.Min != nil && o.Max != nil && *o.Min > *o.Max {
			t.Errorf("option %s: the least value %g is above the greatest, %g", o.Name, *o.Min, *o.Max)
		}
		if o.Whole && o.Type != sdk.TypeNumber {
			t.Errorf("option %s is a %s and cannot be a whole number", o.Name, o.Type)
		}
		for _, mode := range o.Modes {
			if !slices.Contains(modes, mode) {
				t.Errorf("option %s is for the mode %q, which there is not", o.Name, mode)
			}
		}
		if o.Type != sdk.TypeString && len(o.OneOf) > 0 {
			t.Errorf("option %s is a %s and cannot be one of a few strings", o.Name, o.Type)
		}
		if o.Default == nil {
			continue
		}
		if _, err := o.Check(o.Default); err != nil {
			t.Errorf("option %s: its default is not valid: %v", o.Name, err)
		}
	}
}

func checkSignatures(t *testing.T, signatures []sdk.Signature) {
	t.Helper()
	if len(signatures) == 0 {
		t.Error("no signatures: no path can be recognised as a store")
	}
	for i, sig := range signatures {
		if sig.DirEntry == "" && len(sig.Magic) == 0 {
			t.Errorf("signature %d is empty and fits everything", i)
		}
		if _, err := path.Match(sig.DirEntry, ""); err != nil {
			t.Errorf("signature %d: pattern %q: %v", i, sig.DirEntry, err)
		}
		if sig.Offset < 0 {
			t.Errorf("signature %d: offset %d", i, sig.Offset)
		}
		if len(sig.Magic) > sdk.MaxMagic {
			t.Errorf("signature %d: a magic of %d bytes matches nothing; it may have %d", i, len(sig.Magic), sdk.MaxMagic)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testDescribeCommand: the program by itself prints its description.
func testDescribeCommand(t *testing.T, s *subject) {
	args, env := s.invocation("describe")
	cmd := exec.CommandContext(t.Context(), s.program, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s describe: %v\n%s", filepath.Base(s.program), err, &stderr)
	}
	var d sdk.Description
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%s describe: what it prints is no JSON: %v\n%s", filepath.Base(s.program), err, out)
	}
	if _, err := d.Negotiate(""); err != nil {
		t.Error(err)
	}
	// To a host one version is settled on, where by hand all are told.
	d.ProtocolVersion, d.ProtocolMin = s.about.ProtocolVersion, s.about.ProtocolMin
	if got, want := asJSON(t, d), asJSON(t, s.about); got != want {
		t.Errorf("the program describes itself differently by hand and to a host:\n\tby hand %s\n\tto host %s", got, want)
	}
}

// testRecognise: the signatures fit stores of the engine, and nothing else.
func testRecognise(t *testing.T, s *subject) {
	for _, shape := range []Shape{Empty, Dense, Fragmented} {
		st := s.newStore(t, shape)
		if !recognised(t, s.about.Signatures, st.path) {
			t.Errorf("no signature fits the %s store", shape)
		}
	}
	compacted := s.newStore(t, Fragmented)
	s.mustCompact(t, compacted)
	if !recognised(t, s.about.Signatures, compacted.path) {
		t.Error("no signature fits a store that was compacted")
	}

	dir := t.TempDir()
	noise := make([]byte, 64<<10)
	for i, r := 0, s.random(); i < len(noise); i++ {
		noise[i] = byte(r.Uint32())
	}
	for name, content := range map[string][]byte{
		"an empty file": nil,
		"a text file":   []byte(strings.Repeat("all work and no play\n", 3000)),
		"random bytes":  noise,
		"zeros":         make([]byte, 64<<10),
	} {
		file := filepath.Join(dir, "candidate")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if recognised(t, s.about.Signatures, file) {
			t.Errorf("a signature fits %s", name)
		}
	}
	if recognised(t, s.about.Signatures, dir) {
		t.Error("a signature fits a directory with a file in it")
	}
}

// recognised applies signatures to a path the way the host does.
func recognised(t *testing.T, signatures []sdk.Signature, name string) bool {
	t.Helper()
	c, err := sdk.OpenCandidate(name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return slices.ContainsFunc(signatures, c.Matches)
}
