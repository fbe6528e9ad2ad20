package pebble

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// contention is of a process that opens the store again and again.
type contention struct {
	key          []byte // of its own
	keys         int    // of the store
	opened, busy int
}

// contend opens the store until its standard input ends, and says once that it has done
// so often enough. It ends with an error when it finds what should never be.
func contend(store string) error {
	ended := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent closes it
		close(ended)
	}()
	fmt.Println("ready")
	c := contention{key: fmt.Append(nil, "counter of process ", os.Getpid())}
	for told := false; ; {
		select {
		case <-ended:
			return nil
		case <-time.After(time.Duration(1+c.opened%3) * time.Millisecond): // others want it too
		}
		switch err := c.open(store); {
		case errors.Is(err, syscall.EAGAIN):
			c.busy++
		case err != nil:
			return err
		}
		if !told && c.opened >= 3 && c.busy >= 3 {
			fmt.Println("enough")
			told = true
		}
	}
}

// open looks whether all is there, above all its own last write, and writes once more.
func (c *contention) open(store string) (err error) {
	db, err := pebbledb.Open(store, &pebbledb.Options{ErrorIfNotExists: true, Logger: &events{}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if c.opened > 0 {
		value, closer, err := db.Get(c.key)
		if err != nil {
			return fmt.Errorf("get what was written the last time: %w", err)
		}
		defer closer.Close()
		if want := fmt.Sprint(c.opened); string(value) != want {
			return fmt.Errorf("the counter is %s, and %s was written", value, want)
		}
	}
	it, err := db.NewIter(&pebbledb.IterOptions{LowerBound: pebbletest.Key(0)}) // behind the counters
	if err != nil {
		return err
	}
	keys := 0
	for valid := it.First(); valid; valid = it.Next() {
		keys++
	}
	if err := it.Close(); err != nil {
		return err
	}
	if c.opened > 0 && keys != c.keys {
		return fmt.Errorf("%d keys, before %d", keys, c.keys)
	}
	c.keys = keys
	c.opened++
	return db.Set(c.key, fmt.Append(nil, c.opened), pebbledb.Sync)
}

// TestRewriteContended rewrites a store for which other processes contend: each gets it
// locked, or whole and with all that it has written.
func TestRewriteContended(t *testing.T) {
	path := generate(t, pebbletest.Spec{LiveBytes: 200 << 10, Format: pebbledb.FormatNewest})
	rivals := make([]*rival, 2)
	for i := range rivals {
		rivals[i] = startRival(t, path)
	}
	rewrites := 0
	for deadline := time.Now().Add(time.Minute); rewrites < 6; {
		if time.Now().After(deadline) {
			t.Fatalf("%d rewrites in a minute", rewrites)
		}
		request := rewriteOf(path)
		request.Options = sdk.Options{optionRecompress: []string{"none", "snappy"}[rewrites%2]}
		result, err := sdk.Guard(New(Config{})).Compact(t.Context(), request, func(sdk.Progress) {})
		switch {
		case errors.Is(err, sdk.ErrBusy):
		case err != nil:
			t.Fatalf("%v (%s)", err, sdk.HintOf(err))
		case !result.NoOp:
			rewrites++
		}
	}
	for _, r := range rivals {
		r.wait(t, "enough")
	}
	for _, r := range rivals {
		r.end(t)
	}
	wantAlone(t, path)
}

type rival struct {
	cmd    *exec.Cmd
	stdin  interface{ Close() error }
	stdout *bufio.Reader
}

func startRival(t *testing.T, path string) *rival {
	t.Helper()
	r := &rival{cmd: exec.Command(os.Args[0])}
	r.cmd.Env = append(os.Environ(), envRole+"="+roleContend, envStore+"="+path)
	r.cmd.Stderr = os.Stderr
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.stdin, r.stdout = stdin, bufio.NewReader(stdout)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	r.wait(t, "ready")
	return r
}

// wait returns when the process has said so; one that found something wrong ends first.
func (r *rival) wait(t *testing.T, word string) {
	t.Helper()
	if line, err := r.stdout.ReadString('\n'); err != nil || line != word+"\n" {
		t.Fatalf("it said %q, want %q: %v", line, word, err)
	}
}

func (r *rival) end(t *testing.T) {
	t.Helper()
	if err := r.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestRewriteLocked tries, at each change that a rewrite makes beside the store, to get
// it by every other way: as another process, as another host, as another call.
func TestRewriteLocked(t *testing.T) {
	path := generate(t, pebbletest.Spec{LiveBytes: 200 << 10})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	b := newBackend(Config{})
	var tries atomic.Int64
	var mu sync.Mutex
	seen := map[string]bool{}
	b.hook = func(operation, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if operation == "sync" || operation == "attributes" || seen[operation+filepath.Base(filepath.Dir(name))] {
			return nil // once for each kind of change in each directory
		}
		seen[operation+filepath.Base(filepath.Dir(name))] = true
		tries.Add(1)
		if err := holdElsewhere(path); err == nil {
			t.Errorf("%s of %s: another process got the store", operation, name)
		}
		for what, other := range map[string]sdk.Backend{
			"the same backend": b, "another backend": New(Config{}), "another host": sdk.Guard(New(Config{})),
		} {
			for _, spelling := range []string{path, link} {
				_, err := other.Compact(t.Context(), rewriteOf(spelling), func(sdk.Progress) {})
				if !errors.Is(err, sdk.ErrBusy) {
					t.Errorf("%s of %s: %s got %v, want %v", operation, name, what, err, sdk.ErrBusy)
				}
			}
			if removed, err := other.(sdk.Sweeper).Sweep(t.Context(), sdk.Store{Path: path}); err != nil || len(removed) > 0 { //nolint:errcheck // all are
				t.Errorf("%s of %s: %s swept %q, %v", operation, name, what, removed, err)
			}
		}
		if owner := lockOwner(filepath.Join(path, "LOCK")); runtime.GOOS == "linux" && owner != os.Getpid() {
			t.Errorf("%s of %s: the lock belongs to process %d", operation, name, owner)
		}
		return nil
	}
	result, err := sdk.Guard(b).Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
	if err != nil || result.NoOp {
		t.Fatalf("%+v, %v", result, err)
	}
	if n := tries.Load(); n < 8 {
		t.Errorf("only %d kinds of changes", n)
	}
	wantAlone(t, path)
	if err := holdElsewhere(path); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(path, ".wring.lock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the hosts' lock file is left: %v", err)
	}
}
