package pebble

import (
	"bufio"
	"encoding/json"
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

// contention is what a process tells that opened the store again and again.
type contention struct {
	Opened, Busy int
	Wrong        string // what should never be
}

var counterKey = []byte("a counter of its own")

// contend opens the store, looks whether all is there, above all its own last write,
// and writes once more.
func contend(store string) error {
	ended := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent closes it
		close(ended)
	}()
	fmt.Println("ready")
	key := fmt.Appendf(counterKey, " %d", os.Getpid())
	var c contention
	keys := 0
	for c.Wrong == "" {
		select {
		case <-ended:
			return json.NewEncoder(os.Stdout).Encode(c)
		case <-time.After(time.Duration(1+c.Opened%3) * time.Millisecond): // others want it too
		}
		switch err := openOnce(store, key, &c, &keys); {
		case errors.Is(err, syscall.EAGAIN):
			c.Busy++
		case err != nil:
			c.Wrong = err.Error()
		}
	}
	return errors.New(c.Wrong)
}

func openOnce(store string, key []byte, c *contention, keys *int) error {
	db, err := pebbledb.Open(store, &pebbledb.Options{ErrorIfNotExists: true, Logger: &events{}})
	if err != nil {
		return err
	}
	defer db.Close()
	if c.Opened > 0 {
		value, closer, err := db.Get(key)
		if err != nil {
			return fmt.Errorf("get what was written the last time: %w", err)
		}
		if want := fmt.Sprint(c.Opened); string(value) != want {
			c.Wrong = fmt.Sprintf("the counter is %s, and %s was written", value, want)
		}
		_ = closer.Close()
	}
	found := 0
	it, err := db.NewIter(&pebbledb.IterOptions{LowerBound: pebbletest.Key(0)}) // behind the counters
	if err != nil {
		return err
	}
	for valid := it.First(); valid; valid = it.Next() {
		found++
	}
	if err := it.Close(); err != nil {
		return err
	}
	if *keys == 0 {
		*keys = found
	}
	if found != *keys {
		c.Wrong = fmt.Sprintf("%d keys, before %d", found, *keys)
	}
	c.Opened++
	return db.Set(key, fmt.Append(nil, c.Opened), pebbledb.Sync)
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
		if c := r.end(t); c.Opened < 2 || c.Busy == 0 {
			t.Errorf("it opened the store %d times and found it locked %d times: too seldom to tell", c.Opened, c.Busy)
		}
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
	if line, err := r.stdout.ReadString('\n'); err != nil {
		t.Fatalf("it said %q: %v", line, err)
	}
	return r
}

func (r *rival) end(t *testing.T) (c contention) {
	t.Helper()
	if err := r.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(r.stdout).Decode(&c); err != nil {
		t.Error(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	return c
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
