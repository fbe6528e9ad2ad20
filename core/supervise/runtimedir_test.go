package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/sdk"
)

func TestRuntimeDirIsPrivateAndSwept(t *testing.T) {
	parent := filepath.Join(shortDir(t), "run")
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(parent, runPrefix+"dead")
	other := filepath.Join(parent, "not-ours")
	if err := errors.Join(os.Mkdir(dead, 0o700), os.Mkdir(other, 0o700)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dead, "plugin1"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	first, err := openRuntimeDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	second, err := openRuntimeDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dead: false, other: true, first.path: true, second.path: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", path, err, want)
		}
	}
	for _, dir := range []string{parent, first.path} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want mode 0700", dir, info.Mode(), err)
		}
	}
	first.remove()
	if _, err := os.Stat(first.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", first.path, err)
	}
	if _, err := os.Stat(second.path); err != nil {
		t.Errorf("the other's directory: %v", err)
	}
	second.remove()
}

func TestRuntimeDirRefusals(t *testing.T) {
	base := shortDir(t)
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := openRuntimeDir(file); err == nil {
		t.Error("a file passes as a directory")
	}
	if _, err := openRuntimeDir(link); !errors.Is(err, sdk.ErrPermission) {
		t.Errorf("a symbolic link: %v, want ErrPermission", err)
	}
	long := filepath.Join(base, strings.Repeat("x", 100))
	_, err := openRuntimeDir(long)
	says(t, err, "is too long", "choose a shorter data_dir")
	if left, err := filepath.Glob(filepath.Join(long, runPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("left after a refusal: %v, %v", left, err)
	}
}
