//go:build linux

package replace_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

func TestNewTempTakesOwnerModeAndAttributes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	write(t, path, "x")
	if os.Getuid() == 0 {
		if err := os.Chown(path, 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o640|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	xattrs := true
	if err := unix.Setxattr(path, "user.wring.test", []byte("kept"), 0); errors.Is(err, unix.ENOTSUP) {
		xattrs = false
		t.Log("not checked: this file system has no extended attributes")
	} else if err != nil {
		t.Fatal(err)
	}
	temp, err := replace.NewTemp(path, open(t, path), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(temp.Path)
	if err != nil {
		t.Fatal(err)
	}
	wantStat, ok := want.Sys().(*syscall.Stat_t)
	gotStat, okToo := got.Sys().(*syscall.Stat_t)
	if !ok || !okToo {
		t.Fatalf("no attributes in %T", want.Sys())
	}
	if gotStat.Uid != wantStat.Uid || gotStat.Gid != wantStat.Gid {
		t.Errorf("owner %d:%d, want %d:%d", gotStat.Uid, gotStat.Gid, wantStat.Uid, wantStat.Gid)
	}
	if got.Mode() != want.Mode() {
		t.Errorf("mode %v, want %v", got.Mode(), want.Mode())
	}
	if xattrs {
		value := make([]byte, 16)
		n, err := unix.Getxattr(temp.Path, "user.wring.test", value)
		if err != nil || string(value[:n]) != "kept" {
			t.Errorf("extended attribute %q, error %v", value[:max(n, 0)], err)
		}
	}
}

func TestResolveRefusesAMountedFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to with a space")
	write(t, from, "x")
	write(t, to, "y")
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting is refused here: %v", err)
	}
	defer func() {
		if err := unix.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := replace.Resolve(to); !errors.Is(err, replace.ErrUnfit) {
		t.Errorf("error %v, want ErrUnfit", err)
	}
}
