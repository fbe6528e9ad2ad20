package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// holder compacts the store in another process until killed.
func holder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(self(t))
	cmd.Env = as("hold " + path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
		t.Fatalf("holder says %q, %v", line, err)
	}
	return cmd
}

func lockOf(store Store) string {
	return filepath.Join(filepath.Dir(store.Path), "."+filepath.Base(store.Path)+".wring.lock")
}

func TestLockAcrossProcesses(t *testing.T) {
	store := newStore(t, "a")
	other := holder(t, store.Path)
	g := guarded(newFake())

	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(store.Path, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{store.Path, link} {
		_, err := g.Compact(t.Context(), CompactRequest{Store: Store{Name: "a", Path: path}}, nil)
		who := fmt.Sprintf("process %d", other.Process.Pid)
		if !errors.Is(err, ErrBusy) || !Retryable(err) || !strings.Contains(err.Error(), who) || !strings.Contains(HintOf(err), lockOf(store)) {
			t.Errorf("%s: %v (hint %q), want busy by %s", path, err, HintOf(err), who)
		}
	}
	if _, err := g.Fragmentation(t.Context(), FragmentationRequest{Store: store}); err != nil {
		t.Errorf("measuring meanwhile: %v", err)
	}
	if removed, err := g.Sweep(t.Context(), store); err != nil || removed != nil || !exists(store.Path+".temp") {
		t.Errorf("sweep meanwhile: %v, %v", removed, err)
	}

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	if !exists(lockOf(store)) {
		t.Fatal("the killed process left no lock file: nothing to sweep")
	}
	removed, err := g.Sweep(t.Context(), store)
	if want := []string{store.Path + ".temp", lockOf(store)}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("swept %v, %v; want %v", removed, err, want)
	}
	if exists(lockOf(store)) || exists(store.Path+".temp") || !exists(store.Path) {
		t.Error("swept too little or too much")
	}
}

func TestStaleLockDoesNotHinder(t *testing.T) {
	store := newStore(t, "a")
	if err := os.WriteFile(lockOf(store), []byte("1 elsewhere 2020-01-01T00:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Guard(newFake()).Compact(t.Context(), CompactRequest{Store: store}, nil); err != nil {
		t.Error(err)
	}
	if exists(lockOf(store)) {
		t.Error("the lock file stays behind")
	}
}

// Many at once: each is done alone, and no lock file that was removed under a
// waiter counts.
func TestLockManyAtOnce(t *testing.T) {
	store := newStore(t, "a")
	var inside, most, done atomic.Int64
	f := newFake()
	f.compact = func(context.Context, CompactRequest, func(Progress)) (CompactResult, error) {
		n := inside.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		time.Sleep(100 * time.Microsecond)
		inside.Add(-1)
		return CompactResult{}, nil
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			g := Guard(&fake{describe: f.describe, compact: f.compact})
			for i := 0; i < 20; {
				switch _, err := g.Compact(t.Context(), CompactRequest{Store: store}, nil); {
				case err == nil:
					i++
					done.Add(1)
				case !errors.Is(err, ErrBusy):
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || done.Load() != 80 {
		t.Errorf("%d at once, %d done", most.Load(), done.Load())
	}
}

func TestNamedStoreIsCompactedOnce(t *testing.T) {
	inside := make(chan struct{})
	f := newFake()
	release := make(chan struct{})
	f.compact = func(context.Context, CompactRequest, func(Progress)) (CompactResult, error) {
		close(inside)
		<-release
		return CompactResult{}, nil
	}
	g := Guard(f)
	first := make(chan error, 1)
	go func() {
		_, err := g.Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, nil)
		first <- err
	}()
	<-inside
	if _, err := g.Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("err = %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestLockOfMissingStore(t *testing.T) {
	dir := t.TempDir()
	f := newFake()
	f.compact = func(_ context.Context, req CompactRequest, _ func(Progress)) (CompactResult, error) {
		_, err := os.Open(req.Store.Path)
		return CompactResult{}, err
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("/nowhere/at/all", dangling); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing.db"), filepath.Join(dir, "no", "dir", "a.db"), dangling} {
		_, err := Guard(f).Compact(t.Context(), CompactRequest{Store: Store{Path: path}}, nil)
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
		if removed, err := guarded(f).Sweep(t.Context(), Store{Path: path}); err != nil || removed != nil {
			t.Errorf("sweep %s: %v, %v", path, removed, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestLockOfLongName(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 250))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Guard(newFake()).Compact(t.Context(), CompactRequest{Store: Store{Path: path}}, nil); err != nil {
		t.Error(err)
	}
}

func TestLockNotThroughSymlink(t *testing.T) {
	store := newStore(t, "a")
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, lockOf(store)); err != nil {
		t.Fatal(err)
	}
	if _, err := Guard(newFake()).Compact(t.Context(), CompactRequest{Store: store}, nil); err == nil {
		t.Error("a lock file that is a symbolic link is followed")
	}
	if content, err := os.ReadFile(victim); err != nil || string(content) != "precious" {
		t.Errorf("victim: %q, %v", content, err)
	}
}

func TestLockNotThroughHardLink(t *testing.T) {
	store := newStore(t, "a")
	if err := os.Link(store.Path, lockOf(store)); err != nil {
		t.Fatal(err)
	}
	_, err := Guard(newFake()).Compact(t.Context(), CompactRequest{Store: store}, nil)
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), lockOf(store)) || HintOf(err) == "" {
		t.Errorf("a lock file that is another file too: %v", err)
	}
	if content, err := os.ReadFile(store.Path); err != nil || string(content) != "original" {
		t.Errorf("the store holds %q, %v", content, err)
	}
}

// A sweep holds the lock for a moment, which must not defer a compaction.
func TestCompactWaitsForASweep(t *testing.T) {
	store := newStore(t, "a")
	release, err := lockStore("sweep a", store.Path, forSweep, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	go func() {
		<-began
		release()
	}()
	g := guarded(newFake())
	g.now = func() time.Time { // asked when the lock is tried
		select {
		case <-began:
		default:
			close(began)
		}
		return time.Now()
	}
	if _, err := g.Compact(t.Context(), CompactRequest{Store: store}, nil); err != nil {
		t.Errorf("a compaction right after a sweep: %v", err)
	}
}

// The directory above may belong to somebody else.
func TestLockOfADirectoryIsInIt(t *testing.T) {
	store := Store{Name: "long", Path: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lock := filepath.Join(store.Path, ".wring.lock")
	_, err := Guard(newFake()).Compact(ctx, CompactRequest{Store: store}, func(Progress) {
		if !exists(lock) {
			t.Error("no lock file in the directory")
		}
		cancel()
	})
	if !errors.Is(err, ErrCancelled) {
		t.Errorf("err = %v", err)
	}
	if exists(lock) {
		t.Error("the lock file is left behind")
	}
}

// Without leave to write beside the store: this needs another user than root.
func TestLockWithoutPermission(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "a.db")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, readableSelf(t))
	cmd.Env = as("hold " + path)
	asNobody(cmd)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "take its lock") || !strings.Contains(string(out), "permission denied") {
		t.Errorf("%v: %s", err, out)
	}
}

// asNobody runs a command as a user who may do little, where we are root; any
// other user may do as little already.
func asNobody(cmd *exec.Cmd) {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
	}
}

// readableSelf is a copy of this binary that every user may execute.
func readableSelf(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self(t))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "copy"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}
