package minilog_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"example.com/wring-plugin-minilog/minilog"
)

func TestNewestRecordDecides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	log := open(t, path)
	for _, err := range []error{
		log.Put("a", []byte("old")), log.Put("b", []byte("gone")),
		log.Put("a", []byte("new")), log.Delete("b"), log.Put("", nil), log.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	again := open(t, path)
	defer again.Close()
	want := map[string]string{"a": "new", "": ""}
	got := make(map[string]string)
	for key, value := range again.All() {
		got[key] = string(value)
	}
	if !maps.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	defer open(t, path).Close()
	if _, err := minilog.Open(path); !errors.Is(err, minilog.ErrLocked) {
		t.Errorf("a log that is open was opened again: %v", err)
	}
}

func TestDamageIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := minilog.Generate(path, 1, 10_000, 0.5); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), sound...)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{
		"another file":  []byte("all work and no play"),
		"cut short":     sound[:len(sound)-1],
		"cut in head":   sound[:len(minilog.Magic)+3],
		"a flipped bit": flipped,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := minilog.Open(path); !errors.Is(err, minilog.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func open(t *testing.T, path string) *minilog.Log {
	t.Helper()
	log, err := minilog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return log
}
