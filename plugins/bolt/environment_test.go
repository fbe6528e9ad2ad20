//go:build linux

package bolt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

const nobody = 65534

// openDir makes a directory that any user can get at.
func openDir(t *testing.T) string {
	t.Helper()
	// Not t.TempDir: its parent is closed to others.
	dir, err := os.MkdirTemp("", "wring-bolt-store-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPermission(t *testing.T) {
	if os.Getuid() != 0 {
		bolttest.Skip(t, "only root can play another user")
	}
	for _, test := range []struct {
		name     string
		mode     os.FileMode
		owner    int
		measured string
		dirMode  os.FileMode // of a directory of one's own; 0 for another's
	}{
		{"a store of another", 0o600, 0, "measured not permitted\n", 0},
		{"a store that may only be read", 0o644, 0, "measured at every depth\n", 0},
		{"one's own store in another's directory", 0o600, nobody, "measured at every depth\n", 0},
		// Such a directory can be written to, but not synced.
		{"a directory that may not be read", 0o600, nobody, "measured at every depth\n", 0o300},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := openDir(t)
			path := generateIn(t, dir, fragmented())
			if test.dirMode != 0 {
				if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chmod(dir, test.dirMode)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Chown(path, test.owner, test.owner), os.Chmod(path, test.mode)); err != nil {
				t.Fatal(err)
			}
			was := state(t, path)
			said, err := start(t, "unprivileged", path, nobody).end()
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if !strings.HasPrefix(said, test.measured+"compacted permission=true hint=true: ") {
				t.Errorf("said %q", said)
			}
			if now := state(t, path); now != was {
				t.Error("the store has changed")
			}
			onlyTheStore(t, path)
		})
	}
}

// tmpfs mounts a file system of a size.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		bolttest.Skip(t, "mounting is refused here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestNoSpaceIsForeseen(t *testing.T) {
	dir := tmpfs(t, "8m")
	path := generateIn(t, dir, bolttest.Spec{Seed: 1, LiveBytes: 3 << 20, GarbageRatio: 0.1, Shape: bolttest.ShapeAppend})
	was := state(t, path)
	rewrite := request(path)
	rewrite.Mode = ModeRewrite
	_, err := New().Compact(context.Background(), rewrite, func(p sdk.Progress) {
		if p.Phase == "copy" {
			t.Error("began to copy")
		}
	})
	if !errors.Is(err, sdk.ErrNoSpace) || !sdk.Retryable(err) || sdk.HintOf(err) == "" {
		t.Fatalf("error %v (hint %q), want ErrNoSpace", err, sdk.HintOf(err))
	}
	f, measureErr := New().Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Mode: ModeRewrite})
	if measureErr != nil || f.Obstacle == nil || f.Obstacle.Error() != err.Error() || f.Obstacle.Hint != sdk.HintOf(err) {
		t.Errorf("measured: obstacle %v, error %v, want %v", f.Obstacle, measureErr, err)
	}
	if !regexp.MustCompile(`needs \d+\.\d [KM]iB beside it, and \d+\.\d [KM]iB are free`).MatchString(err.Error()) {
		t.Errorf("error %q does not say what is needed and what is free", err)
	}
	if now := state(t, path); now != was {
		t.Error("the store has changed")
	}
	onlyTheStore(t, path)
}

// The space is gone between the look at it and the copy.
func TestNoSpaceDuringTheCopy(t *testing.T) {
	dir := tmpfs(t, "16m")
	path := generateIn(t, dir, bolttest.Spec{Seed: 1, LiveBytes: 3 << 20, GarbageRatio: 0.1, Shape: bolttest.ShapeAppend})
	was := state(t, path)
	hog := filepath.Join(dir, "hog")
	b := newBackend()
	b.hook = func(op replace.Op) error {
		switch op.Kind {
		case replace.OpAttributes:
		case replace.OpCreate, replace.OpRename, replace.OpWrite, replace.OpUnlink:
			return nil
		default:
			t.Errorf("came to the operation %s", op.Kind)
			return nil
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		free := int64(fs.Bavail) * fs.Bsize
		return os.WriteFile(hog, make([]byte, free-1<<20), 0o600)
	}
	_, err := b.Compact(context.Background(), request(path), func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || sdk.HintOf(err) == "" {
		t.Fatalf("error %v (hint %q), want ErrNoSpace", err, sdk.HintOf(err))
	}
	if now := state(t, path); now != was {
		t.Error("the store has changed")
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	onlyTheStore(t, path)
	compact(t, path)
}

// A file that is mounted by itself cannot be replaced, but punched.
func TestCompactOfAMountedFile(t *testing.T) {
	path := generate(t, fragmented())
	mounted := filepath.Join(t.TempDir(), "mounted.db")
	if err := os.WriteFile(mounted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(path, mounted, "", unix.MS_BIND, ""); err != nil {
		bolttest.Skip(t, "mounting is refused here: %v", err)
	}
	defer func() {
		if err := unix.Unmount(mounted, 0); err != nil {
			t.Error(err)
		}
	}()
	was := state(t, path)
	rewrite := request(mounted)
	rewrite.Mode = ModeRewrite
	_, err := New().Compact(context.Background(), rewrite, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), "mount point") || !strings.Contains(sdk.HintOf(err), ModePunch) {
		t.Errorf("error %v (hint %q), want that it is a mount point", err, sdk.HintOf(err))
	}
	if now := state(t, path); now != was {
		t.Error("the store has changed")
	}
	content := digestOf(t, path)
	f := measure(t, mounted, sdk.DepthExact)
	if f.Mode != ModePunch || !strings.Contains(f.Note, "mount point") || f.ReclaimableBytes == 0 {
		t.Errorf("measured for mode %q (%s), %d bytes reclaimable", f.Mode, f.Note, f.ReclaimableBytes)
	}
	result := compact(t, mounted)
	if result.Mode != ModePunch || result.ReclaimedBytes != f.ReclaimableBytes || !strings.Contains(result.Note, "mount point") {
		t.Errorf("%+v, foretold were %d bytes", result, f.ReclaimableBytes)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content has changed")
	}
}

func TestCompactKeepsOwnerModeAndAttributes(t *testing.T) {
	path := generate(t, fragmented())
	if os.Getuid() == 0 {
		if err := os.Chown(path, 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	xattrs := true
	if err := unix.Setxattr(path, "user.wring.test", []byte("kept"), 0); errors.Is(err, unix.ENOTSUP) {
		xattrs = false
		t.Log("not checked: this file system has no extended attributes")
	} else if err != nil {
		t.Fatal(err)
	}
	attributes := func() (uid, gid uint32, mode os.FileMode, xattr string, inode uint64) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatalf("no attributes in %T", info.Sys())
		}
		value := make([]byte, 16)
		n, err := unix.Getxattr(path, "user.wring.test", value)
		if xattrs && err != nil {
			t.Fatal(err)
		}
		return stat.Uid, stat.Gid, info.Mode(), string(value[:max(n, 0)]), stat.Ino
	}
	uid, gid, mode, xattr, inode := attributes()
	if result := compact(t, path); result.NoOp {
		t.Fatal(result.Note)
	}
	uid2, gid2, mode2, xattr2, inode2 := attributes()
	if uid2 != uid || gid2 != gid || mode2 != mode || xattr2 != xattr {
		t.Errorf("owner %d:%d, mode %v, attribute %q; had %d:%d, %v, %q", uid2, gid2, mode2, xattr2, uid, gid, mode, xattr)
	}
	if inode2 == inode {
		t.Error("the file is the same: nothing was replaced")
	}
}
