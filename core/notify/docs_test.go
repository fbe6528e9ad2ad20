package notify

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

const docs = "../../docs/notifications.md"

func readDocs(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// block is the first piece of code of a language in the docs.
func block(t *testing.T, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readDocs(t), "\n```"+language+"\n")
	code, _, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		t.Fatalf("%s has no %s", docs, language)
	}
	return code + "\n"
}

func TestDocsHaveEveryFieldAndHeader(t *testing.T) {
	text := readDocs(t)
	words := []string{HeaderID, HeaderEvent, HeaderTimestamp, HeaderSignature}
	for _, e := range []Event{Failed, Degraded, Overdue, DiskFullSoon, Recovered, Test} {
		words = append(words, string(e))
	}
	for _, of := range []reflect.Type{reflect.TypeFor[Notice](), reflect.TypeFor[Disk]()} {
		for i := range of.NumField() {
			if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "-" {
				words = append(words, name)
			}
		}
	}
	for _, word := range words {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("%s does not explain `%s`", docs, word)
		}
	}
	var example Notice
	if err := json.Unmarshal([]byte(block(t, "json")), &example); err != nil || example.Version != documentVersion {
		t.Errorf("the example is of version %d, %v", example.Version, err)
	}
}

// TestReceiversOfTheDocs runs them: they take what is signed and fresh, and
// nothing else.
func TestReceiversOfTheDocs(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "receiver")
	for name, code := range map[string]string{"receiver.go": block(t, "go"), "receiver.py": block(t, "python")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for language, argv := range map[string][]string{"go": {program}, "python": {"python3", filepath.Join(dir, "receiver.py")}} {
		t.Run(language, func(t *testing.T) {
			if language == "go" {
				if said, err := exec.Command("go", "build", "-o", program, filepath.Join(dir, "receiver.go")).CombinedOutput(); err != nil {
					t.Fatalf("it does not compile: %v\n%s", err, said)
				}
			} else if _, err := exec.LookPath(argv[0]); err != nil && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			testReceiver(t, argv)
		})
	}
}

func testReceiver(t *testing.T, argv []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	c := exec.Command(argv[0], append(argv[1:], "s3cret", address)...)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	t.Cleanup(func() { _ = c.Process.Signal(syscall.SIGKILL); _ = c.Wait() })

	p, target := newPlace(t), webhook("ops", "http://"+address)
	target.SecretFile = secretFile(t, "s3cret")
	n := p.start(target)
	n.Observe(failing("a", 1)) // told as soon as the receiver listens
	if !lines.Scan() {
		t.Fatal("the receiver has ended")
	}
	var got Notice
	if err := json.Unmarshal(lines.Bytes(), &got); err != nil || got.Store != "a" {
		t.Errorf("it has got %q, %v", lines.Text(), err)
	}

	other, old := target, p.startWith(Config{Now: func() time.Time { return time.Now().Add(-10 * time.Minute) }}, target)
	other.SecretFile = secretFile(t, "another")
	for what, a := range map[string]Answer{
		"another secret": n.deliver(t.Context(), other, got),
		"no signature":   n.deliver(t.Context(), webhook("ops", "http://"+address), got),
		"an old request": old.deliver(t.Context(), target, got),
	} {
		if a.OK || !strings.Contains(a.Error, "403") {
			t.Errorf("%s: the answer is %+v, want 403", what, a)
		}
	}
}
