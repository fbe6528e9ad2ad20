package pebble

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// atOnce is the most that a call may take that has to return at once, on a
// machine that is busy with other tests.
const atOnce = 5 * time.Second

// TestFlushFails has writes that cannot be flushed: those in the log of a store that
// is opened, and what forces a table to be rewritten. Pebble tries again for ever.
func TestFlushFails(t *testing.T) {
	logged := pebbletest.Spec{LeaveInLog: true}
	held := pebbletest.Spec{Shape: pebbletest.Held}
	cases := []struct {
		name  string
		spec  pebbletest.Spec
		errno syscall.Errno
		kind  error
	}{
		{"full disk", logged, syscall.ENOSPC, sdk.ErrNoSpace},
		{"quota", logged, syscall.EDQUOT, sdk.ErrNoSpace},
		{"failing disk", logged, syscall.EIO, sdk.ErrInternal},
		{"full disk, to force a table", held, syscall.ENOSPC, sdk.ErrNoSpace},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			path := generate(t, c.spec)
			digest, _ := contentOf(t, path)
			var failing atomic.Bool
			failing.Store(true)
			b := newBackend(Config{})
			b.fs = &hookFS{FS: vfs.Default, hook: func(operation, name string) error {
				if failing.Load() && operation == "create" && isTable(name) {
					return &os.PathError{Op: "open", Path: name, Err: c.errno}
				}
				return nil
			}}
			t.Cleanup(func() { failing.Store(false) })
			err := returns(t, func() error { return compactWith(context.Background(), b, path) })
			if !errors.Is(err, c.kind) {
				t.Fatalf("error %v, want %v", err, c.kind)
			}
			wantStuck(t, b, path, err)
			failing.Store(false)
			wantFree(t, b, path)
			if got, _ := contentOf(t, path); got != digest {
				t.Error("content changed")
			}
		})
	}
}

// TestBlobRewriteFails has blob files that cannot be rewritten. Pebble tries again for
// ever, and tells of it as of nothing else.
func TestBlobRewriteFails(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Overwrites, Separate: 128})
	digest, _ := contentOf(t, path)
	var openings atomic.Int64
	var failed atomic.Bool
	b := newBackend(Config{})
	b.fs = faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if strings.Contains(op.To, "OPTIONS-") {
			openings.Add(1)
		}
		if openings.Load() == 2 && op.Kind == faultfs.Create && strings.HasSuffix(op.Name, ".blob") {
			failed.Store(true)
			return &os.PathError{Op: "open", Path: op.Name, Err: syscall.ENOSPC}
		}
		return do()
	})
	err := returns(t, func() error { return compactWith(context.Background(), b, path) })
	if !failed.Load() || !errors.Is(err, sdk.ErrNoSpace) {
		t.Errorf("failed %v, error %v, want %v", failed.Load(), err, sdk.ErrNoSpace)
	}
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
	if result := compact(t, path); result.ReclaimedBytes <= 0 {
		t.Errorf("%+v", result)
	}
}

// TestCancelWhileOpening cancels while Pebble flushes the log, which nothing
// interrupts.
func TestCancelWhileOpening(t *testing.T) {
	path := generate(t, pebbletest.Spec{LeaveInLog: true})
	digest, _ := contentOf(t, path)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	free := make(chan struct{})
	freeOnce := sync.OnceFunc(func() { close(free) })
	t.Cleanup(freeOnce)
	b := newBackend(Config{})
	b.fs = &hookFS{FS: vfs.Default, hook: func(operation, name string) error {
		if operation == "create" && isTable(name) {
			<-free
		}
		return nil
	}}
	err := returns(t, func() error {
		var told int
		_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
			if p.Phase == "flush" {
				told++
			}
			// The second tells of what was read of the log by then.
			if told == 2 {
				cancel()
			}
		})
		return err
	})
	if !errors.Is(err, sdk.ErrCancelled) {
		t.Fatalf("error %v, want %v", err, sdk.ErrCancelled)
	}
	wantStuck(t, b, path, err)
	freeOnce()
	wantFree(t, b, path)
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
}

func compactWith(ctx context.Context, b sdk.Backend, path string) error {
	_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	return err
}

// returns fails the test when the call does not return at once.
func returns(t *testing.T, call func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- call() }()
	select {
	case err := <-result:
		return err
	case <-time.After(atOnce):
		t.Fatal("the call does not return")
		return nil
	}
}

// wantStuck checks that a store stays locked that Pebble does not let go of, and
// that people hear what to do.
func wantStuck(t *testing.T, b sdk.Backend, path string, err error) {
	t.Helper()
	if hint := sdk.HintOf(err); !strings.Contains(hint, "end this plugin's process") {
		t.Errorf("hint %q does not say that the process must end", hint)
	}
	if err := holdElsewhere(path); err == nil {
		t.Error("another process got the store")
	}
	again := compactWith(context.Background(), b, path)
	if !errors.Is(again, sdk.ErrBusy) || !strings.Contains(sdk.HintOf(again), "end this plugin's process") {
		t.Errorf("another compaction: %v (hint %q), want %v", again, sdk.HintOf(again), sdk.ErrBusy)
	}
}

// wantFree waits until the work that was left has cleared up after itself.
func wantFree(t *testing.T, b sdk.Backend, path string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		result, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
		if err == nil {
			if result.NoOp {
				t.Error("the work compacted the store after its call had returned")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store was not given back: %v", err)
		}
	}
}

// answers are what a process says that lets Pebble fail for good.
type answers struct {
	NoSpace, AgainBusy, Measured bool
	Message, Hint                string
}

// envBreak says which operations fail, as faultfs names them, and after a bar the
// operation, and of which file, from which on they do so.
const envBreak = "PEBBLE_TEST_BREAK"

// compactAndBreak compacts a store, and lets something fail that Pebble cannot go on
// from.
func compactAndBreak(store string) error {
	failing, after, _ := strings.Cut(os.Getenv(envBreak), "|")
	kind, of, _ := strings.Cut(after, " ")
	mode := os.Getenv(envMode)
	var broken atomic.Bool
	b := newBackend(Config{})
	b.fs = faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if broken.Load() && strings.HasPrefix(op.String(), failing) {
			return &os.PathError{Op: string(op.Kind), Path: op.Name, Err: syscall.ENOSPC}
		}
		err := do()
		if string(op.Kind) == kind && strings.Contains(op.Name, of) {
			broken.Store(true)
		}
		return err
	})
	ctx := context.Background()
	compact := func() error {
		_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: store}, Mode: mode}, func(sdk.Progress) {})
		return err
	}
	err := compact()
	a := answers{NoSpace: errors.Is(err, sdk.ErrNoSpace), Message: fmt.Sprint(err), Hint: sdk.HintOf(err)}
	a.AgainBusy = errors.Is(compact(), sdk.ErrBusy)
	_, err = b.Fragmentation(ctx, sdk.FragmentationRequest{Store: sdk.Store{Path: store}})
	a.Measured = err == nil
	return json.NewEncoder(os.Stdout).Encode(a)
}

// TestFatal has an error of the file system that Pebble cannot go on from, in a
// goroutine of its own: in a flush while the store is opened, in a compaction, and
// in a new store, which nobody needs any more; and one that ends the opening, with goroutines that Pebble has begun.
func TestFatal(t *testing.T) {
	const manifest, directory, options = "write MANIFEST|create .sst", "sync of directory|create marker.manifest", "create temporary|create .sst"
	separate := pebbletest.Spec{Shape: pebbletest.Overwrites, Separate: 128}
	for _, c := range []struct {
		name    string
		mode    string
		spec    pebbletest.Spec
		failing string
		says    string
		stuck   bool
	}{
		{"a manifest in a flush", modeRanges, pebbletest.Spec{LeaveInLog: true}, manifest, "MANIFEST", true},
		{"a manifest in a compaction", modeRanges, pebbletest.Spec{}, manifest, "MANIFEST", true},
		{"a directory in a flush", modeRanges, pebbletest.Spec{LeaveInLog: true}, directory, "sync directory", true},
		{"a directory in a compaction", modeRanges, pebbletest.Spec{}, directory, "sync directory", true},
		{"options after a flush", modeRanges, pebbletest.Spec{LeaveInLog: true}, options, "temporary", false},
		{"a blob file that is rewritten", modeRanges, separate, "sync 0|create .blob", ".blob", true},
		{"options while blob files may be rewritten", modeRanges, separate, "create temporary|remove .sst", "temporary", true},
		{"a manifest of a new store", modeRewrite, pebbletest.Spec{}, "write MANIFEST|link .sst", "MANIFEST", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := generate(t, c.spec)
			digest, _ := contentOf(t, path)
			ctx, cancel := context.WithTimeout(context.Background(), 2*atOnce)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), envRole+"="+roleBreak, envMode+"="+c.mode, envStore+"="+path, envBreak+"="+c.failing)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("the process ended with %v", err)
			}
			var a answers
			if err := json.Unmarshal(out, &a); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !a.NoSpace || !strings.Contains(a.Message, c.says) || strings.Contains(a.Hint, "end this plugin's process") != c.stuck {
				t.Errorf("error %q with hint %q, want one of %v", a.Message, a.Hint, sdk.ErrNoSpace)
			}
			if a.AgainBusy != c.stuck || !a.Measured {
				t.Errorf("afterwards: busy %v, measured %v; want %v and true", a.AgainBusy, a.Measured, c.stuck)
			}
			wantAlone(t, path)
			// The end of the process gives the store back, whole.
			if got, _ := contentOf(t, path); got != digest {
				t.Error("content changed")
			}
			compact(t, path)
			if got, _ := contentOf(t, path); got != digest {
				t.Error("content changed by the next compaction")
			}
		})
	}
}

// TestLogCannotBegin lets no log be begun but the one of each opening: Pebble ends
// the process when it cannot begin another.
func TestLogCannotBegin(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Held, LiveBytes: 512 << 10, Adjust: tablesOf(64 << 10)})
	digest, _ := contentOf(t, path)
	var compacting atomic.Bool
	b := newBackend(Config{})
	b.fs = faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		begins := op.Kind == faultfs.Create && strings.HasSuffix(op.Name, ".log") || op.Kind == faultfs.Reuse
		if begins && compacting.Load() {
			t.Errorf("%s while tables are forced", op)
		}
		return do()
	})
	result, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
		compacting.Store(p.Phase == "compact")
	})
	if err != nil || result.ReclaimedBytes <= 0 {
		t.Errorf("%+v, error %v", result, err)
	}
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
}

// TestPanic has code of an application that panics: the call fails, and not the
// process.
func TestPanic(t *testing.T) {
	var armed atomic.Bool
	shaky := *renamed
	shaky.Compare = func(a, b []byte) int {
		if armed.Load() {
			panic("broken comparer")
		}
		return renamed.Compare(a, b)
	}
	path := generate(t, pebbletest.Spec{Adjust: func(o *pebbledb.Options) { o.Comparer = renamed }})
	b := newBackend(Config{Comparers: []*pebbledb.Comparer{&shaky}})
	armed.Store(true)
	var log bytes.Buffer
	ctx := hclog.WithContext(context.Background(), hclog.New(&hclog.LoggerOptions{Output: &log}))
	_, err := b.Fragmentation(ctx, sdk.FragmentationRequest{Store: sdk.Store{Path: path}})
	if !strings.Contains(log.String(), "TestPanic") {
		t.Errorf("the log has no stack: %s", &log)
	}
	if !errors.Is(err, sdk.ErrInternal) || !strings.Contains(err.Error(), "broken comparer") {
		t.Errorf("error %v, want %v", err, sdk.ErrInternal)
	}
	armed.Store(false)
	if err := compactWith(context.Background(), b, path); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
