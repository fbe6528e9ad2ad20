package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever follows a hint must not lose what is in a file.
func TestHintsOverwriteNoSecret(t *testing.T) {
	large := filepath.Join(t.TempDir(), "app.db")
	if err := os.WriteFile(large, make([]byte, 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", maxSecret+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{large, long} {
		_, err := ReadSecret(file)
		if err == nil {
			t.Fatalf("%s was taken for a secret", file)
		}
		if said := err.Error(); strings.Contains(said, ">") || !strings.Contains(said, "name the file that the secret is in") {
			t.Errorf("of a file that is no secret: %s", said)
		}
	}
	for cause, want := range map[error]string{
		fs.ErrNotExist:   "make one: (umask 077; openssl rand -hex 32 > /s)",
		fs.ErrPermission: "chown wring /s",
		fs.ErrInvalid:    "name another",
	} {
		hint := forSecret("/s", &fs.PathError{Op: "open", Path: "/s", Err: cause})
		if !strings.Contains(hint, want) || !errors.Is(cause, fs.ErrNotExist) && strings.Contains(hint, ">") {
			t.Errorf("%v: %s", cause, hint)
		}
	}
}
