//go:build linux

package punch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// mount mounts a file system without a device.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		bolttest.Skip(t, "mounting is refused here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillUp leaves no byte free.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func available(t *testing.T, dir string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}

func TestFullFileSystem(t *testing.T) {
	dir := mount(t, "tmpfs", "size=24m")
	path := generateIn(t, dir, holey())
	content := digestOf(t, path)
	fillUp(t, dir)
	if n := available(t, dir); n != 0 {
		t.Fatalf("%d bytes are free", n)
	}
	result, err := punchAll(t.Context(), path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if n := available(t, dir); n != result.GivenBack || n < 1<<20 {
		t.Errorf("%d bytes are free, and %+v", n, result)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
	write(t, path, 2_000, false)
}

func TestUnsupported(t *testing.T) {
	dir := mount(t, "ramfs", "")
	path := generateIn(t, dir, holey())
	was := state(t, path)
	if err := SupportedIn(dir); !errors.Is(err, ErrUnsupported) {
		t.Errorf("the directory says %v, want ErrUnsupported", err)
	}
	if result, err := punchAll(t.Context(), path, Config{}); !errors.Is(err, ErrUnsupported) || result != (Result{}) {
		t.Errorf("%+v, error %v, want ErrUnsupported", result, err)
	}
	if now := state(t, path); now != was {
		t.Error("the file has changed")
	}
}

// Asking whether holes can be made leaves nothing behind, and no answer is not
// taken for a no.
func TestSupportedIn(t *testing.T) {
	for _, dir := range []string{t.TempDir(), mount(t, "tmpfs", "size=1m"), mount(t, "tmpfs", "size=1m,nr_inodes=1")} {
		if err := SupportedIn(dir); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 0 {
			t.Errorf("the directory has %v (%v)", entries, err)
		}
	}
	if err := SupportedIn(filepath.Join(t.TempDir(), "missing")); err != nil {
		t.Error(err)
	}
}
