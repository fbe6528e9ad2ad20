package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

func TestCompactOfALockedStore(t *testing.T) {
	for _, role := range []string{"hold", "hold readonly"} {
		t.Run(role, func(t *testing.T) {
			path := generate(t, fragmented())
			was := state(t, path)
			other := start(t, role, path, 0)
			other.expect("ready")
			began := time.Now()
			_, err := New().Compact(context.Background(), request(path), func(sdk.Progress) {})
			if !errors.Is(err, sdk.ErrBusy) || !sdk.Retryable(err) || sdk.HintOf(err) == "" {
				t.Fatalf("error %v (hint %q), want ErrBusy", err, sdk.HintOf(err))
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("said so after %v", took)
			}
			if pid := fmt.Sprintf("process %d (", other.cmd.Process.Pid); !strings.Contains(err.Error(), pid) {
				t.Errorf("error %q does not name %q", err, pid)
			}
			if now := state(t, path); now != was {
				t.Error("the store has changed")
			}
			onlyTheStore(t, path)
			if f := measure(t, path, sdk.DepthExact); f.ReclaimableBytes == 0 {
				t.Error("measured nothing while the store was locked")
			}
			if _, err := other.end(); err != nil {
				t.Fatal(err)
			}
			compact(t, path)
		})
	}
}

// Under a writer the measurement answers, and agrees with what is true.
func TestMeasureUnderAWriter(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 4 << 20, GarbageRatio: 0.5})
	quiet := measure(t, path, sdk.DepthSampled)
	other := start(t, "write", path, 0)
	other.expect("ready")
	retries, answers := 0.0, 0
	txids := map[float64]bool{}
	for range 60 {
		for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled} {
			f := measure(t, path, depth)
			retries += f.Metrics["retries"]
			txids[f.Metrics["txid"]] = true
			if len(f.Map) == 0 {
				t.Errorf("%s: no picture", depth)
			}
			if depth == sdk.DepthQuick {
				continue
			}
			answers++
			if ratio := float64(f.LiveBytes) / float64(quiet.LiveBytes); ratio < 0.8 || ratio > 1.25 {
				t.Errorf("%d live bytes, %d before the writer began", f.LiveBytes, quiet.LiveBytes)
			}
		}
	}
	rest, err := other.end()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d answers at %d different transactions, %g retries; the writer: %s", answers, len(txids), retries, rest)
	if len(txids) < 5 {
		t.Errorf("only %d different transactions were seen: the writer did not write", len(txids))
	}
	digestOf(t, path)
}

// At depth exact a store that never rests is either measured truly or busy.
func TestMeasureExactUnderAWriter(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 8 << 20, GarbageRatio: 0.5})
	other := start(t, "write", path, 0)
	other.expect("ready")
	for range 10 {
		f, err := New().Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: sdk.DepthExact})
		switch {
		case err == nil:
			if f.Metrics["lost_pages"] != 0 {
				t.Errorf("%g pages are neither free nor in use: two states were mixed", f.Metrics["lost_pages"])
			}
		case !errors.Is(err, sdk.ErrBusy) || !sdk.Retryable(err) || sdk.HintOf(err) == "":
			t.Fatalf("error %v (hint %q), want ErrBusy", err, sdk.HintOf(err))
		}
	}
	if _, err := other.end(); err != nil {
		t.Fatal(err)
	}
}

// A process that waits for the lock while the file is replaced gets an error:
// what it would write would be lost.
func TestWaiterLearnsOfTheSwap(t *testing.T) {
	path := generate(t, fragmented())
	before := digestOf(t, path)
	b := newBackend()
	var waiter *process
	b.hook = func(op replace.Op) error {
		if op.Kind != replace.OpExchange {
			return nil
		}
		waiter = start(t, "wait", path, 0)
		waiter.expect("ready")
		eventually(t, "the waiter has the file open", func() bool { return hasOpen(t, waiter, path) })
		return nil
	}
	result, err := b.Compact(context.Background(), request(path), func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	said, err := waiter.end()
	if err == nil || !strings.Contains(said, "error: open: ") || !strings.Contains(said, "invalid database") {
		t.Errorf("the waiter says %q (%v), want that the database is invalid", said, err)
	}
	checkCompacted(t, path, before, result)
	// It finds the new file when it tries again.
	again := start(t, "wait", path, 0)
	again.expect("ready")
	if said, err := again.end(); err != nil {
		t.Errorf("the second try says %q (%v)", said, err)
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket([]byte("written")).Get([]byte("late")); string(got) != "write" {
			return fmt.Errorf("the late write is %q", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func hasOpen(t *testing.T, p *process, path string) bool {
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if got, err := os.Stat(link); err == nil && os.SameFile(got, want) {
			return true
		}
	}
	return false
}

// A file that is replaced between opening and locking is not compacted by its
// old inode.
func TestOpenSourceLooksAtThePathAgain(t *testing.T) {
	path := generate(t, fragmented())
	held, err := newBackend().openSource(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.close()
	b := newBackend()
	b.lockWait = 10 * time.Second
	result := make(chan error, 1)
	go func() {
		s, err := b.openSource(context.Background(), path)
		if err == nil {
			s.close()
		}
		result <- err
	}()
	// Once the file is open twice here, the second one waits for its lock.
	eventually(t, "the second open", func() bool { return opened(t, path) == 2 })
	restored := generate(t, fragmented())
	if err := os.Rename(restored, path); err != nil {
		t.Fatal(err)
	}
	if err := held.release(time.Now); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, replace.ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
}

// opened is how often this process has the file open.
func opened(t *testing.T, path string) int {
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, link := range links {
		if got, err := os.Stat(link); err == nil && os.SameFile(got, want) {
			n++
		}
	}
	return n
}

// A store that is being compacted and replaced can be measured all the while.
func TestMeasureDuringACompaction(t *testing.T) {
	path := generate(t, fragmented())
	b := newBackend()
	kinds := map[replace.OpKind]bool{}
	b.hook = func(op replace.Op) error {
		kinds[op.Kind] = true
		if f := measure(t, path, sdk.DepthSampled); f.LiveBytes == 0 {
			t.Errorf("before the operation %s: nothing measured", op.Kind)
		}
		return nil
	}
	if _, err := b.Compact(context.Background(), request(path), func(sdk.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if !kinds[replace.OpCreate] || !kinds[replace.OpPoison] || !kinds[replace.OpRelease] {
		t.Errorf("measured before %v only", kinds)
	}
}
