package sdk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleEnv makes this test binary another program when it is started again.
const roleEnv = "SDK_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv(roleEnv); ok {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// play is the main of the programs that tests start.
func play(role string) int {
	name, arg, _ := strings.Cut(role, " ")
	switch name {
	case "plugin":
		Serve(newFake())
	case "plugin-hasty": // with little patience after SIGTERM
		p := &program{stderr: os.Stderr}
		return servePlugin(guarded(newFake()), p.logger(true), hasty)
	case "paced":
		Serve(newPaced())
	case "rubbish": // prints before the handshake
		fmt.Println("Welcome to my plugin!")
		Serve(newFake())
	case "rubbish-exit":
		fmt.Println("usage: something else")
		return 3
	case "crash":
		fmt.Fprintln(os.Stderr, "cannot find libfake.so")
		return 4
	case "hang":
		waitForSignal()
	case "handshake": // a later handshake
		fmt.Println("1|2|unix|/nowhere|grpc|")
		waitForSignal()
	case "hang-after-handshake":
		return hangAfterHandshake()
	case "newer", "older":
		serveVersions(name)
	case "flood": // an answer of 5 MiB
		serveFlood()
	case "malformed": // stderr that has felled hosts
		fmt.Fprintln(os.Stderr, `{"@level":3}`)
		fmt.Fprintln(os.Stderr, `{"@message":{"a":[]},"@timestamp":"never"}`)
		fmt.Fprintln(os.Stderr, strings.Repeat("x", 200<<10))
		fmt.Fprint(os.Stderr, "no newline at the end\xff")
		Serve(newFake())
	case "host":
		return playHost(arg)
	case "owner":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := ListenAndServe(ctx, arg, newFake()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "hold": // a compaction in another process
		return playHold(arg)
	case "host-of-owner":
		socket, path, _ := strings.Cut(arg, " ")
		return playHostOfOwner(socket, path)
	case "dial":
		return playDial(arg)
	default:
		fmt.Fprintln(os.Stderr, "no such role:", role)
		return 99
	}
	return 0
}

// hasty is more than a plugin has when its host is gone.
const hasty = orphanDrain + 300*time.Millisecond

func waitForSignal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

// as is the environment in which this binary plays a role. The race detector
// would sleep for a second whenever one ends.
func as(role string) []string {
	return []string{roleEnv + "=" + role, "GORACE=atexit_sleep_ms=0"}
}

// self is the path of this binary, as a program in some role.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// shortDir is a temporary directory whose path leaves room for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sdk") //nolint:usetesting // t.TempDir has the test's name in it, which is long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// publicDir is one like /tmp: others may write to it, and remove what is their own.
func publicDir(t testing.TB) string {
	t.Helper()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start launches this binary as a plugin in a role; the test stops it.
func start(t testing.TB, role string, edit ...func(*LaunchConfig)) (*Process, *Client) {
	t.Helper()
	p, err := tryStart(t, role, edit...)
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Stop(ctx)
	})
	return p, p.Client()
}

func tryStart(t testing.TB, role string, edit ...func(*LaunchConfig)) (*Process, error) {
	t.Helper()
	c := LaunchConfig{
		Path: self(t), Env: as(role), SocketDir: shortDir(t), HostVersion: "0.9",
		Stderr: &logWriter{t: t},
	}
	for _, e := range edit {
		e(&c)
	}
	return Launch(t.Context(), c)
}

type logWriter struct{ t testing.TB }

func (w *logWriter) Write(p []byte) (int, error) {
	w.t.Logf("plugin: %.200s", bytes.TrimSuffix(p, []byte("\n")))
	return len(p), nil
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually waits for a condition.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// newStore is a file that stands for a database.
func newStore(t testing.TB, name string) Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, []byte("original"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Store{Name: name, Path: path}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// noLeaks fails the test when goroutines outlive it. Call it first: it checks
// after all other clean-up.
func noLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
