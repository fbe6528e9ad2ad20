package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// serveOwner serves in this process until the test ends.
func serveOwner(t *testing.T, b Backend) (socket string) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "owner.sock")
	ctx, cancel := context.WithCancel(hclog.WithContext(context.Background(), hclog.NewNullLogger()))
	o, err := listen(ctx, socket, b)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- o.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("owner: %v", err)
		}
	})
	return socket
}

// ownerProcess serves in a process of its own.
func ownerProcess(t *testing.T, socket string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(self(t))
	cmd.Env = as("owner " + socket)
	var out buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, 10*time.Second, "the owner listens: "+out.String(), func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return cmd
}

func TestOwnerServes(t *testing.T) {
	noLeaks(t)
	socket := serveOwner(t, newFake())
	c := dial(t, socket)
	if c.Description().Name != "fake" || !c.Description().Capabilities.ListsStores {
		t.Errorf("description = %+v", c.Description())
	}
	if stores, err := c.Stores(t.Context()); err != nil || len(stores) != 1 {
		t.Errorf("stores = %v, %v", stores, err)
	}
	if _, err := c.Compact(t.Context(), CompactRequest{Store: newStore(t, "a")}, nil); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
}

func TestOwnerMakesItsDirectory(t *testing.T) {
	socket := filepath.Join(shortDir(t), "run", "app", "s")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ListenAndServe(ctx, socket, newFake()) }()
	eventually(t, 5*time.Second, "it listens", func() bool { return exists(socket) })
	info, err := os.Stat(filepath.Dir(socket))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory: %v, %v", info.Mode(), err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(socket)); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestOwnerRefusesPlaces(t *testing.T) {
	dir := shortDir(t)
	public := filepath.Join(dir, "public")
	if err := os.Mkdir(public, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(public, 0o770); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		socket string
		kind   error
		say    string
	}{
		{filepath.Join(public, "s"), ErrPermission, "others may write"},
		{filepath.Join(publicDir(t), "s"), ErrPermission, "others may write"},
		{file, ErrInvalidOption, "no socket but a file"},
		{filepath.Join(file, "s"), ErrNotFound, "not a directory"},
		{filepath.Join(dir, strings.Repeat("s", 100)), ErrInvalidOption, "a unix socket's may have 103"},
	} {
		err := ListenAndServe(t.Context(), c.socket, newFake())
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", c.socket, err)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file in the way: %q, %v", content, err)
	}
	if exists(filepath.Join(dir, ".file.lock")) {
		t.Error("a lock is left behind")
	}
}

func TestOwnerReplacesTheDeadOnly(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	first := ownerProcess(t, socket)
	err := ListenAndServe(t.Context(), socket, newFake())
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d listens there already", first.Process.Pid)) {
		t.Errorf("beside a live one: %v", err)
	}
	if _, err := dial(t, socket).Describe(t.Context()); err != nil {
		t.Errorf("the live one: %v", err)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if _, err := Dial(t.Context(), socket, "0.9"); !errors.Is(err, ErrConnection) || !strings.Contains(err.Error(), "has ended") || HintOf(err) == "" {
		t.Errorf("attaching to a dead one: %v", err)
	}
	ownerProcess(t, socket)
	if _, err := dial(t, socket).Describe(t.Context()); err != nil {
		t.Errorf("the one in its place: %v", err)
	}
	// One that takes no lock is not pushed aside either.
	other := filepath.Join(shortDir(t), "s")
	listener, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := ListenAndServe(t.Context(), other, newFake()); !errors.Is(err, ErrBusy) {
		t.Errorf("beside a stranger: %v", err)
	}
}

// Whoever sees the socket can connect to it.
func TestOwnerListensBeforeItsSocketIsSeen(t *testing.T) {
	for _, name := range []string{"s", strings.Repeat("s", 60)} {
		socket := filepath.Join(shortDir(t), name)
		for range 100 {
			ctx, cancel := context.WithCancel(hclog.WithContext(t.Context(), hclog.NewNullLogger()))
			done := make(chan error, 1)
			go func() { done <- ListenAndServe(ctx, socket, newFake()) }()
			for !exists(socket) {
				runtime.Gosched()
			}
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Error(err)
			} else {
				_ = conn.Close()
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if entries, err := os.ReadDir(filepath.Dir(socket)); err != nil || len(entries) != 0 {
				t.Fatalf("left behind: %v, %v", entries, err)
			}
		}
	}
}

// One whose path leaves no room for another name beside it is served all the
// same, and what a process has left that died before it was ready is no
// obstacle.
func TestOwnerInUncommonPlaces(t *testing.T) {
	dir := shortDir(t)
	long := filepath.Join(dir, strings.Repeat("s", maxSocketPath-len(dir)-1))
	short := filepath.Join(dir, "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, ".s.new"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	for _, socket := range []string{long, short} {
		cmd := ownerProcess(t, socket)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		ownerProcess(t, socket) // in the place of the dead one
		if _, err := dial(t, socket).Describe(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestDialErrors(t *testing.T) {
	noLeaks(t)
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	silent := filepath.Join(dir, "silent")
	listener, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, c := range []struct {
		socket string
		kind   error
		hint   string
	}{
		{filepath.Join(dir, "missing"), ErrNotFound, "start the application"},
		{filepath.Join(file, "s"), ErrNotFound, "start the application"},
		{file, ErrNotFound, "`owner`"},
		{dir, ErrNotFound, "`owner`"},
		{strings.Repeat("/long", 30), ErrInvalidOption, "shorter"},
	} {
		began := time.Now()
		_, err := Dial(t.Context(), c.socket, "0.9")
		if !errors.Is(err, c.kind) || !strings.Contains(HintOf(err), c.hint) {
			t.Errorf("%s: %v (hint %q)", c.socket, err, HintOf(err))
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("%s: took %s", c.socket, d)
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Dial(soon, silent, "0.9"); !errors.Is(err, ErrCancelled) {
		t.Errorf("one that never answers: %v", err)
	}
}

func TestOwnerOutlivesItsHosts(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	owner := ownerProcess(t, socket)
	for range 2 {
		c := dial(t, socket)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	host := exec.Command(self(t))
	store := newStore(t, "long")
	host.Env = as("host-of-owner " + socket + " " + store.Path)
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "compacting\n" {
		t.Errorf("host says %q, %v", line, err)
	}
	if !exists(store.Path + ".temp") {
		t.Error("no compaction is under way")
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	eventually(t, 5*time.Second, "the owner has cleaned up", func() bool { return !exists(store.Path+".temp") && !exists(lockOf(store)) })
	untouched(t, store)
	if !alive(owner.Process.Pid) {
		t.Error("the owner has ended")
	}
	if _, err := dial(t, socket).Fragmentation(t.Context(), FragmentationRequest{Store: store}); err != nil {
		t.Errorf("the next host: %v", err)
	}
}

func TestOwnerDrains(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	owner := ownerProcess(t, socket)
	c := dial(t, socket)
	store := newStore(t, "long")
	done := compacting(t.Context(), t, c, store)
	if err := owner.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrCancelled) || !strings.Contains(err.Error(), "owner is ending") {
		t.Errorf("a call in flight: %v", err)
	}
	if err := owner.Wait(); err != nil {
		t.Errorf("the owner: %v", err)
	}
	untouched(t, store)
	if exists(socket) {
		t.Error("the socket is left behind")
	}
	if err := c.Healthy(t.Context()); !errors.Is(err, ErrConnection) {
		t.Errorf("health of what is gone: %v", err)
	}
	// It comes back: the old connection does not.
	ownerProcess(t, socket)
	if err := c.Healthy(t.Context()); !errors.Is(err, ErrConnection) {
		t.Errorf("a lost connection comes back: %v", err)
	}
}

// Only the same user and root are let in, whatever the mode of the socket says.
func TestOwnerRefusesOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" { // where nobody reads of what was skipped
			t.Fatal("needs root, to become another user")
		}
		t.Skip("needs root, to become another user")
	}
	socket := serveOwner(t, newFake())
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	program := readableSelf(t)
	attach := func() string {
		cmd := exec.Command(program)
		cmd.Env = as("dial " + socket)
		asNobody(cmd)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("another user attaches: %s", out)
		}
		return string(out)
	}
	if out := attach(); !strings.Contains(out, "permission denied") {
		t.Errorf("by the mode: %s", out)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if out := attach(); !strings.Contains(out, "lost") {
		t.Errorf("by who they are: %s", out)
	}
	if _, err := dial(t, socket).Describe(t.Context()); err != nil {
		t.Errorf("the same user: %v", err)
	}
}

func TestPeerOf(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	uid, pid, err := peerOf(conn)
	if err != nil || uid != os.Geteuid() || isLinux() && pid != os.Getpid() {
		t.Errorf("peer: uid %d, pid %s, %v", uid, strconv.Itoa(pid), err)
	}
}

func TestOwnerWaitsForNoCallForEver(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	ctx, cancel := context.WithCancel(t.Context())
	o, err := listen(ctx, socket, newFake())
	if err != nil {
		t.Fatal(err)
	}
	o.patience = 50 * time.Millisecond
	served := make(chan error, 1)
	go func() { served <- o.serve(ctx) }()
	done := compacting(t.Context(), t, dial(t, socket), newStore(t, "stubborn"))
	cancel()
	if err := within(t, 5*time.Second, served); !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "1 calls had not cleaned up") {
		t.Errorf("owner: %v", err)
	}
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrConnection) {
		t.Errorf("the call: %v", err)
	}
}
