package supervise

import (
	"errors"
	"fmt"
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
	dead := filepath.Join(parent, runPrefix+"0")
	other := filepath.Join(parent, "state")
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
	for path, want := range map[string]bool{filepath.Join(dead, "plugin1"): false, other: true, first.path: true, second.path: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", path, err, want)
		}
	}
	if first.path == second.path {
		t.Errorf("both have %s", first.path)
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
}

func TestRuntimeDirThatIsTooLong(t *testing.T) {
	base := shortDir(t)
	t.Setenv("TMPDIR", base)
	d, err := openRuntimeDir(filepath.Join(base, strings.Repeat("x", 100)))
	if err != nil {
		t.Fatal(err)
	}
	defer d.remove()
	if !strings.HasPrefix(d.path, filepath.Join(base, "wring-")) || len(d.path) > maxSocketDir {
		t.Errorf("sockets go to %s, want a directory for temporary files", d.path)
	}
	t.Setenv("TMPDIR", filepath.Join(base, strings.Repeat("x", 100)))
	_, err = openRuntimeDir("")
	says(t, err, "is too long: it may have 61 bytes", "choose a shorter data_dir, or a shorter TMPDIR")
}

// Another user can take our name among temporary files, where all may write.
func TestRuntimeDirWhoseNameIsTaken(t *testing.T) {
	temp := shortDir(t)
	t.Setenv("TMPDIR", temp)
	taken := filepath.Join(temp, fmt.Sprintf("wring-%d", os.Geteuid()))
	if err := os.Symlink(shortDir(t), taken); err != nil {
		t.Fatal(err)
	}
	dir, err := openRuntimeDir("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		dir.remove()
		if left, err := filepath.Glob(filepath.Join(temp, "wring-*")); err != nil || len(left) != 1 {
			t.Errorf("left are %v, %v, want only what somebody else has put there", left, err)
		}
	}()
	if strings.HasPrefix(dir.path, taken) {
		t.Errorf("%s is in what somebody else has put there", dir.path)
	}
	for path := dir.path; path != temp; path = filepath.Dir(path) {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want mode 0700", path, info.Mode(), err)
		}
	}
}
