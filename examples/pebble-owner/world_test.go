package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// world is a directory in which the application and a host run.
type world struct {
	*testing.T
	dir string
}

// newWorld builds the two programs.
func newWorld(t *testing.T) *world {
	dir, err := os.MkdirTemp("/tmp", "po") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var builds sync.WaitGroup
	for _, b := range []struct{ from, pkg, name string }{{".", ".", "pebble-owner"}, {"../..", "./cmd/host", "wring"}} {
		builds.Go(func() {
			build := exec.Command("go", "build", "-o", filepath.Join(dir, b.name), b.pkg)
			build.Dir = b.from
			if said, err := build.CombinedOutput(); err != nil {
				t.Errorf("build %s: %v\n%s", b.name, err, said)
			}
		})
	}
	if builds.Wait(); t.Failed() {
		t.FailNow()
	}
	// The host calls only when it is told to.
	config := `
data_dir = "state"
defaults {
  start_delay = "1h"
  min_gap = "0s"
  retry { attempts = 0 }
}
store "events" {
  owner = "run/wring.sock"
}`
	if err := os.WriteFile(filepath.Join(dir, "wring.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &world{T: t, dir: dir}
}

func (w *world) await(what string, there func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("no sign of %s after %v", what, patience)
		}
	}
}

// wring runs it and reads what it says in JSON.
func (w *world) wring(into any, args ...string) {
	w.Helper()
	p := w.run("wring", append(args, "--json")...)
	if status := p.wait(); status != 0 {
		w.Fatalf("wring %v: exit status %d: %s", args, status, p)
	}
	if err := json.Unmarshal([]byte(p.stdout.String()), into); err != nil {
		w.Fatalf("wring %v: %v: %s", args, err, p)
	}
}

type inspection struct {
	Engine, Path     string
	ReclaimableBytes int64 `json:"reclaimable_bytes"`
	Obstacle         any
}

type result struct {
	Outcome, Reason  string
	Verified         bool
	Items            int64
	TotalBytesBefore int64  `json:"total_bytes_before"`
	TotalBytesAfter  int64  `json:"total_bytes_after"`
	ReclaimedBytes   int64  `json:"reclaimed_bytes"`
	PredictedBytes   int64  `json:"predicted_bytes"`
	DurationMS       int64  `json:"duration_ms"`
	PauseMS          *int64 `json:"pause_ms"`
}

// open opens the store from this process.
func (w *world) open() (*pebble.DB, error) {
	return pebble.Open(filepath.Join(w.dir, "events"), &pebble.Options{Comparer: newestFirst(), ReadOnly: true, Logger: quiet{w}})
}

// quiet leaves out what Pebble finds worth telling when a store is opened.
type quiet struct{ *world }

func (quiet) Infof(string, ...any) {}

// tryToOpen tries all the time to open the store from this process, which must not
// work, until what it returns is called.
func (w *world) tryToOpen() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	tries := 0
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			db, err := w.open()
			if tries++; err == nil {
				_ = db.Close()
			}
			if !errors.Is(err, syscall.EAGAIN) {
				w.Errorf("try %d to open the store: %v, want that it is locked", tries, err)
				return
			}
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		w.Logf("the store was locked at each of %d tries", tries)
	}
}

// opening is what Pebble tells of the logs that it finds when a store is opened.
var opening = regexp.MustCompile(`(?m)^\S+ \S+ (Found \d+ WALs|  - .+|\[JOB \d+\] WAL .+ replayed .+)\n`)

// endApp ends an application, and looks whether the store has what follows from
// the number of writes that it has acknowledged, and no more.
func (w *world) endApp(app *process) {
	w.Helper()
	if status := app.end(syscall.SIGTERM); status != 0 || opening.ReplaceAllString(app.stderr.String(), "") != "" {
		w.Fatalf("the application ended with exit status %d: %s", status, app)
	}
	n := app.acknowledged(w.T)
	want := map[string][]byte{lastKey: binary.BigEndian.AppendUint64(nil, n)}
	versions := map[string]uint64{} // by key, the change that has set it
	for k := range n * changesPerWrite {
		name, day := nameOf(k), dayOf(k)
		versions[string(versionKey(name, day))] = k
		for d := range day + 1 {
			if removes(k) || d+2 <= day {
				delete(versions, string(versionKey(name, d)))
			}
		}
	}
	for key, k := range versions {
		want[key] = value(k)
	}

	db, err := w.open()
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		w.Fatal(err)
	}
	items := 0
	for it.First(); it.Valid(); it.Next() {
		if items++; !bytes.Equal(it.Value(), want[string(it.Key())]) {
			w.Errorf("%q is not what was acknowledged last", it.Key())
		}
	}
	if err := it.Close(); err != nil || items != len(want) || n == 0 {
		w.Errorf("%d items after %d acknowledged writes, want %d; error %v", items, n, len(want), err)
	}
	if err := db.CheckLevels(nil); err != nil {
		w.Error(err)
	}
	w.Logf("%d acknowledged writes, %d items", n, items)
}

// process is a program that runs in the directory of a world.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	ended          chan struct{}
}

func (w *world) run(program string, args ...string) *process {
	w.Helper()
	p := &process{cmd: exec.Command(filepath.Join(w.dir, program), args...), ended: make(chan struct{})}
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

// end sends a signal and waits.
func (p *process) end(sig syscall.Signal) int {
	_ = p.cmd.Process.Signal(sig)
	return p.wait()
}

// acknowledged is what an application has said last.
func (p *process) acknowledged(t *testing.T) (n uint64) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(p.stdout.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	if last == "" {
		return 0
	}
	if _, err := fmt.Sscanf(last, "%d acknowledged writes", &n); err != nil {
		t.Fatalf("the application says %q", last)
	}
	return n
}

func (p *process) String() string { return p.stdout.String() + p.stderr.String() }

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
