package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// programs builds owner-app and the host of this repository, once.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "owner-app"); err != nil {
		return "", err
	}
	for _, b := range []struct{ from, pkg, name string }{{".", ".", "owner-app"}, {"../..", "./cmd/host", "wring"}} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, b.name), b.pkg)
		build.Dir = b.from
		if said, err := build.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w\n%s", b.name, err, said)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if dir, _ := programs(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// world is a directory with a store that has a lot of dead space, the service on
// it, and a host that looks after it.
type world struct {
	*testing.T
	bin, dir, db string
	app, host    *process
}

// keys that fill puts, and load reads and writes.
const keys = "40000"

// newWorld starts the two. At the limit a compaction takes some seconds.
func newWorld(t *testing.T, limit string) *world {
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "oa") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{T: t, bin: bin, dir: dir, db: filepath.Join(dir, "db", "kv.db")}
	if err := os.Mkdir(filepath.Dir(w.db), 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
data_dir = %q
defaults {
  start_delay = "1h"
  retry { attempts = 0 }
}
store "kv" {
  owner = %q
  limit = %q
}`, filepath.Join(dir, "state"), filepath.Join(dir, "run", "wring.sock"), limit)
	if err := os.WriteFile(filepath.Join(dir, "wring.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := w.run("owner-app", "fill", "-db", w.db, "-keys", keys); p.wait() != 0 {
		t.Fatalf("fill: %s", p)
	}
	w.startApp()
	w.host = w.run("wring", "run")
	w.await("the host", func() bool { return w.run("wring", "inspect", "kv").wait() == 0 })
	return w
}

func (w *world) startApp() {
	w.app = w.run("owner-app", "serve", "-db", w.db, "-socket", "run/wring.sock", "-listen", "http.sock")
	w.await("the service", func() bool { _, err := w.stats(); return err == nil })
}

// compact asks the host for a compaction.
func (w *world) compact(args ...string) *process {
	return w.run("wring", append([]string{"compact", "kv", "--json"}, args...)...)
}

// load starts one that goes on until it gets SIGTERM.
func (w *world) load() *process {
	load := w.run("owner-app", "load", "-target", "http.sock", "-keys", keys, "-duration", "1h")
	w.writing()
	return load
}

// writing waits until something is written.
func (w *world) writing() {
	w.Helper()
	w.await("a write", func() bool { s, err := w.stats(); return err == nil && s.Writes.Count > 0 })
}

// underWay waits until a compaction is in the middle of its copy.
func (w *world) underWay() {
	w.Helper()
	w.await("a compaction", func() bool {
		temps, _ := filepath.Glob(filepath.Join(filepath.Dir(w.db), ".*.tmp"))
		if len(temps) == 0 {
			return false
		}
		info, err := os.Stat(temps[0])
		return err == nil && info.Size() > 1<<20
	})
}

// beside is what lies in the directory of the store that ends like that, other
// than the store.
func (w *world) beside(suffix string) []string {
	w.Helper()
	entries, err := os.ReadDir(filepath.Dir(w.db))
	if err != nil {
		w.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != filepath.Base(w.db) && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

func (w *world) await(what string, there func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%s does not come\nservice: %s\nhost: %s", what, w.app, w.host)
		}
	}
}

// request sends one to the service.
func (w *world) request(method, path, body string) (status int, answer string, err error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(w.dir, "http.sock"))
		},
	}}
	request, err := http.NewRequestWithContext(w.Context(), method, "http://app"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), err
}

func (w *world) stats() (s stats, err error) {
	_, body, err := w.request("GET", "/stats", "")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(body), &s)
}

// endApp ends the service, and looks at the file as any program may then.
func (w *world) endApp() {
	w.Helper()
	before, err := w.stats()
	if err != nil {
		w.Fatal(err)
	}
	// It has nothing to say but what it listens on.
	if status := w.app.end(syscall.SIGTERM); status != 0 || strings.Count(w.app.String(), "\n") != 1 {
		w.Errorf("the service ended with exit status %d: %s", status, w.app)
	}
	if left := w.beside(""); len(left) > 0 {
		w.Errorf("left beside the store: %q", left)
	}
	db, err := bbolt.Open(w.db, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			w.Errorf("damaged: %v", err)
		}
		keys := 0
		err := tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { keys += b.Stats().KeyN; return nil })
		if uint64(keys) != before.Keys {
			w.Errorf("the file has %d keys, the service said %d", keys, before.Keys)
		}
		return err
	}); err != nil {
		w.Fatal(err)
	}
}

// process is a program that runs in the directory of a world.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	ended          chan struct{}
}

func (w *world) run(program string, args ...string) *process {
	w.Helper()
	p := &process{cmd: exec.Command(filepath.Join(w.bin, program), args...), ended: make(chan struct{})}
	p.cmd.Dir = w.dir
	p.cmd.Env = append(os.Environ(), "WRING_CONFIG="+filepath.Join(w.dir, "wring.hcl"))
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	w.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	return p
}

// wait returns the exit status; -1 for a process that was killed.
func (p *process) wait() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// end sends a signal and waits.
func (p *process) end(sig syscall.Signal) int {
	_ = p.cmd.Process.Signal(sig)
	return p.wait()
}

func (p *process) String() string { return p.stdout.String() + p.stderr.String() }

// result is what a compaction told in JSON.
func (p *process) result(t *testing.T) (r result) {
	t.Helper()
	status := p.wait()
	if err := json.Unmarshal([]byte(p.stdout.String()), &r); err != nil {
		t.Fatalf("exit status %d, %v: %s", status, err, p)
	}
	return r
}

type result struct {
	Outcome          string
	Verified         bool
	TotalBytesBefore int64  `json:"total_bytes_before"`
	TotalBytesAfter  int64  `json:"total_bytes_after"`
	DurationMS       int64  `json:"duration_ms"`
	PauseMS          *int64 `json:"pause_ms"`
}

// buffer may be read while a process writes to it.
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

// checkAccount holds what a load says in the end against what it may say.
func (w *world) checkAccount(load *process, mayFail bool) {
	w.Helper()
	status := load.end(syscall.SIGTERM)
	lines := strings.Split(strings.TrimSpace(load.stdout.String()), "\n")
	var acked, missing, wrong, failed int
	n, _ := fmt.Sscanf(lines[len(lines)-1], "%d acknowledged writes, %d missing; %d wrong reads; %d errors", &acked, &missing, &wrong, &failed)
	if status != 0 || n != 4 || acked == 0 || missing > 0 || wrong > 0 {
		w.Errorf("exit status %d, want writes and none of them missing:\n%s", status, load)
	}
	if mayFail != (failed > 0) {
		w.Errorf("%d requests of the load failed, want some: %v", failed, mayFail)
	}
}
