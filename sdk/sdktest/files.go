package sdktest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// testFactory: the Digest, by which all other cases tell what is lost, sees what
// is in a store, and changes nothing.
func testFactory(t *testing.T, s *subject) {
	of := make(map[string]Shape)
	for _, shape := range []Shape{Empty, Dense, Fragmented} {
		st := s.newStore(t, shape)
		before := takeSnapshot(t, st.dir)
		digest := s.digest(t, st)
		if other, taken := of[digest]; taken {
			t.Errorf("Factory.Digest gives the %s store and the %s one the same digest, %s", other, shape, digest)
		}
		of[digest] = shape
		after := takeSnapshot(t, st.dir)
		for name, was := range before {
			if now, there := after[name]; !there || now.sha256 != was.sha256 {
				t.Errorf("Factory.Digest changes %s of the %s store", name, shape)
			}
		}
		if again := s.digest(t, st); again != digest {
			t.Errorf("Factory.Digest of the %s store is %s, then %s", shape, digest, again)
		}
	}
}

// snapshot is every file below a directory, by its path from there.
type snapshot map[string]fileState

type fileState struct {
	mode    fs.FileMode
	size    int64
	sha256  [sha256.Size]byte
	changed time.Time
}

func (f fileState) String() string {
	return fmt.Sprintf("%s, %d bytes, sha256 %x…, of %s", f.mode, f.size, f.sha256[:6], f.changed.Format("15:04:05.000000000"))
}

func takeSnapshot(t *testing.T, dir string) snapshot {
	t.Helper()
	shot := make(snapshot)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			if name != "." {
				shot[name] = fileState{mode: info.Mode()}
			}
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		shot[name] = fileState{info.Mode(), info.Size(), sha256.Sum256(content), info.ModTime()}
		return nil
	})
	if err != nil {
		t.Fatalf("take a snapshot of the store's files: %v", err)
	}
	return shot
}

// wantUntouched compares a directory with what it was, the dates included.
func (before snapshot) wantUntouched(t *testing.T, dir, after string) {
	t.Helper()
	before.compare(t, dir, after, func(was, is fileState) bool { return was == is })
}

// wantUnchanged compares names and content. To open a lock file may date it.
func (before snapshot) wantUnchanged(t *testing.T, dir, after string) {
	t.Helper()
	before.compare(t, dir, after, func(was, is fileState) bool {
		is.changed = was.changed
		return was == is
	})
}

func (before snapshot) compare(t *testing.T, dir, after string, same func(was, is fileState) bool) {
	t.Helper()
	now := takeSnapshot(t, dir)
	var changes []string
	for name, was := range before {
		if is, ok := now[name]; !ok {
			changes = append(changes, name+" is gone")
		} else if !same(was, is) {
			changes = append(changes, fmt.Sprintf("%s was %s; is %s", name, was, is))
		}
	}
	for name := range now {
		if _, ok := before[name]; !ok {
			changes = append(changes, name+" is new")
		}
	}
	if len(changes) > 0 {
		slices.Sort(changes)
		t.Errorf("%s, files have changed:\n\t%s", after, strings.Join(changes, "\n\t"))
	}
}

// sizeOf is what the file system says of a store.
func sizeOf(t *testing.T, st store) sdk.Size {
	t.Helper()
	var size sdk.Size
	err := filepath.WalkDir(st.path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		size.TotalBytes += info.Size()
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("the operating system does not tell blocks")
		}
		size.AllocatedBytes += stat.Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatalf("ask the file system for the store's size: %v", err)
	}
	return size
}

// near says whether two sizes are the same for all practical purposes: within
// a share of the second, and some slack for directories' small files.
func near(a, b int64, share float64) bool {
	return abs(a-b) <= int64(share*float64(b))+slack
}

func abs(n int64) int64 { return max(n, -n) }

// openFiles are the files below dir that a process has open, as far as /proc
// tells.
func openFiles(pid int, dir string) []string {
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		return nil
	}
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && strings.HasPrefix(target, dir+"/") {
			open = append(open, target)
		}
	}
	return open
}

// largestFile is the store itself or, of a directory, the file that holds most.
func largestFile(path string) (string, int64, error) {
	largest, size := "", int64(-1)
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err == nil && largest == "" {
		err = fmt.Errorf("no file in %s", path)
	}
	return largest, size, err
}

// cutInHalf is the Truncate of a Factory that has none.
func cutInHalf(path string) error {
	file, size, err := largestFile(path)
	if err != nil {
		return err
	}
	return os.Truncate(file, size/2)
}
