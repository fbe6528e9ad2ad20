package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// giveAway makes a store that of a user without any rights, where the test may do that,
// and lets others have a look at its files.
func giveAway(t *testing.T, path string) {
	t.Helper()
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() {
			mode = 0o755
		}
		if os.Getuid() == 0 {
			err = os.Chown(name, nobody, nobody)
		}
		return errors.Join(err, os.Chmod(name, mode))
	})
	// The way to the store must be open, by the directory of the test too.
	parent := filepath.Dir(path)
	if err = errors.Join(err, os.Chmod(parent, 0o755), os.Chmod(filepath.Dir(parent), 0o755)); err != nil {
		t.Fatal(err)
	}
}

// openAsApplication is what the application of such a store does next.
func openAsApplication(store string) error {
	if err := becomeNobody(); err != nil {
		return err
	}
	options, err := plainOptions(store)
	if err != nil {
		return err
	}
	digest, keys, err := pebbletest.Digest(store, options)
	if err != nil {
		return err
	}
	fmt.Println(digest, keys)
	return writeAndReopen(store)
}

// contentAsApplication is of a store that its application can open.
func contentAsApplication(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+roleApplication, envStore+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("its application cannot use the store: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// dieAsRoot compacts in another process, with a umask that keeps all others out, and
// dies at a change. It returns how many changes there were, if it has survived.
func dieAsRoot(t *testing.T, path, mode string, at int) (changes int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+roleDie, envMode+"="+mode, envStore+"="+path, envKill+"="+strconv.Itoa(at))
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); killed(err) && at > 0 {
		return 0
	} else if err != nil {
		t.Fatal(err)
	}
	changes, err := strconv.Atoi(strings.TrimSpace(stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// wantLike makes sure that all files have the owner and mode of those that the
// application made.
func wantLike(t *testing.T, path string) {
	t.Helper()
	for name := range files(t, path) {
		info, err := os.Lstat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || info.Mode() != 0o644 || os.Getuid() == 0 && (stat.Uid != nobody || stat.Gid != nobody) {
			t.Errorf("%s has mode %v and owner %d:%d", name, info.Mode(), stat.Uid, stat.Gid)
		}
	}
}

// TestOwner compacts stores as root that belong to another user, who goes on with them.
func TestOwner(t *testing.T) {
	for name, spec := range map[string]pebbletest.Spec{
		"writes in the log":              {LeaveInLog: true, FilterBits: 10},
		"what Pebble rewrites by itself": {Shape: pebbletest.Bottom},
		"versions of a snapshot":         {Shape: pebbletest.Held},
		"values in blob files":           {Shape: pebbletest.Overwrites, Separate: 128},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []string{modeRanges, modeRewrite} {
				if mode == modeRewrite && spec.Separate > 0 {
					continue
				}
				path := generate(t, spec)
				if err := os.Remove(filepath.Join(path, "LOCK")); err != nil { // as a copy may be without
					t.Fatal(err)
				}
				giveAway(t, path)
				before := tables(files(t, path))
				dieAsRoot(t, path, mode, -1)
				if maps.Equal(tables(files(t, path)), before) {
					t.Errorf("mode %s: nothing was rewritten", mode)
				}
				wantLike(t, path)
				contentAsApplication(t, path)
			}
		})
	}
}

// TestOwnerAfterKill has such a compaction end at any change: the application can go on
// with what is left.
func TestOwnerAfterKill(t *testing.T) {
	template := generate(t, pebbletest.Spec{LiveBytes: 100 << 10, LeaveInLog: true})
	put := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(path, os.DirFS(template)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(path, "LOCK")); err != nil {
			t.Fatal(err)
		}
		giveAway(t, path)
		return path
	}
	path := put(t)
	want := contentAsApplication(t, put(t))
	changes := dieAsRoot(t, path, modeRanges, -1)
	for at := 1; at <= changes; at++ {
		t.Run(fmt.Sprintf("at change %d of %d", at, changes), func(t *testing.T) {
			t.Parallel()
			path := put(t)
			dieAsRoot(t, path, modeRanges, at)
			if got := contentAsApplication(t, path); got != want {
				t.Errorf("the content is %q, before %q", got, want)
			}
			if _, err := sdk.Guard(New(Config{})).Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {}); err != nil {
				t.Errorf("the next compaction: %v (%s)", err, sdk.HintOf(err))
			}
			for name := range files(t, path) {
				if strings.HasPrefix(name, ".wring") {
					t.Errorf("%s is left in the store", name)
				}
			}
		})
	}
}

// TestOwnerKept compacts as a user who cannot give files away: nothing is changed.
func TestOwnerKept(t *testing.T) {
	for _, mode := range []string{modeRanges, modeRewrite} {
		t.Run(mode, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{})
			giveAway(t, path)
			before := files(t, path)
			b := newBackend(Config{})
			written := 0
			b.hookAll(func(operation, name string) error {
				switch {
				case operation == "attributes":
					return &os.PathError{Op: "chown", Path: name, Err: syscall.EPERM}
				case operation == "write" && !strings.HasPrefix(filepath.Base(name), ".wring"):
					written++
				}
				return nil
			})
			_, err := b.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Path: path}, Mode: mode}, func(sdk.Progress) {})
			if !errors.Is(err, sdk.ErrPermission) || sdk.HintOf(err) == "" || written > 0 {
				t.Errorf("error %v (hint %q) after %d writes, want %v", err, sdk.HintOf(err), written, sdk.ErrPermission)
			}
			sameFiles(t, before, files(t, path))
			wantAlone(t, path)
		})
	}
}
