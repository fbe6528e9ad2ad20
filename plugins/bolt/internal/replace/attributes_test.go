//go:build linux

package replace_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
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
	temp, err := replace.NewTemp(path, open(t, path), 7, rand.Reader, nil)
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

// accessList is the attribute in which Linux keeps who else may use a file,
// and defaultList what a directory gives to the files that are created in it.
const (
	accessList  = "system.posix_acl_access"
	defaultList = "system.posix_acl_default"
)

// sharedWithNobody is an access list by which the user "nobody" may read and
// write: see include/uapi/linux/posix_acl_xattr.h.
func sharedWithNobody() []byte {
	const undefined = ^uint32(0)
	b := binary.LittleEndian.AppendUint32(nil, 2) // version
	for _, entry := range []struct {
		tag, mode uint16
		id        uint32
	}{
		{0x01, 6, undefined}, // the owner
		{0x02, 6, 65534},     // a user
		{0x04, 4, undefined}, // the group
		{0x10, 6, undefined}, // the most that a user or the group may do
		{0x20, 0, undefined}, // others
	} {
		b = binary.LittleEndian.AppendUint16(b, entry.tag)
		b = binary.LittleEndian.AppendUint16(b, entry.mode)
		b = binary.LittleEndian.AppendUint32(b, entry.id)
	}
	return b
}

// A directory that shares its new files must not share the store by that.
func TestNewTempSharesNoMoreThanTheFile(t *testing.T) {
	for name, shared := range map[string]bool{"a file of one's own": false, "a shared file": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			write(t, path, "x")
			if err := os.Chmod(path, 0o660); err != nil {
				t.Fatal(err)
			}
			if shared {
				if err := unix.Setxattr(path, accessList, sharedWithNobody(), 0); err != nil {
					t.Skipf("this file system has no access lists: %v", err)
				}
			}
			if err := unix.Setxattr(filepath.Dir(path), defaultList, sharedWithNobody(), 0); err != nil {
				t.Skipf("this file system has no access lists: %v", err)
			}
			// The list is inherited, else nothing would be shown here.
			probe := filepath.Join(filepath.Dir(path), "probe")
			write(t, probe, "x")
			if accessListOf(t, probe) == nil {
				t.Fatal("a new file has no access list")
			}
			temp, err := replace.NewTemp(path, open(t, path), 7, rand.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer temp.Discard()
			if got, want := accessListOf(t, temp.Path), accessListOf(t, path); !bytes.Equal(got, want) || (want != nil) != shared {
				t.Errorf("access list %x, want %x", got, want)
			}
			got, err := os.Stat(temp.Path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Mode() != 0o660 {
				t.Errorf("mode %v, want 0660", got.Mode())
			}
		})
	}
}

// accessListOf returns nil for a file without one.
func accessListOf(t *testing.T, path string) []byte {
	t.Helper()
	b := make([]byte, 256)
	n, err := unix.Getxattr(path, accessList, b)
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestAMountedFileIsUnfit(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to with a space")
	write(t, from, "x")
	write(t, to, "y")
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		bolttest.Skip(t, "mounting is refused here: %v", err)
	}
	defer func() {
		if err := unix.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	}()
	if err := replace.Fit(to); !errors.Is(err, replace.ErrUnfit) {
		t.Errorf("error %v, want ErrUnfit", err)
	}
}
