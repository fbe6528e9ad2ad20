package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// exchanges says whether the old file outlives the swap under the temp's name.
const exchanges = runtime.GOOS == "linux"

// Killed at any step, a compaction leaves a whole store, and at most a temp
// that a sweep removes.
func TestKilledAtEachStep(t *testing.T) {
	for _, test := range []struct {
		at    string // the role
		temp  bool   // one is left
		swept bool   // the new file is in place
	}{
		{killAt(replace.OpCreate, 1), false, false},
		{killAt(replace.OpRename, 1), true, false},
		{killAt(replace.OpAttributes, 1), true, false},
		{killAt(replace.OpWrite, 1), true, false},
		{killIn("copy"), true, false},
		{killAt(replace.OpSync, 1), true, false},
		{killIn(phaseVerify), true, false},
		{killAt(replace.OpSyncDir, 1), true, false},
		{killAt(replace.OpExchange, 1), true, false},
		{killAt(replace.OpSyncDir, 2), exchanges, true}, // the old file has its name
		{killAt(replace.OpPoison, 1), exchanges, true},
		{killAt(replace.OpPoison, 2), exchanges, true},
		{killAt(replace.OpRelease, 1), false, true},
	} {
		t.Run(test.at, func(t *testing.T) {
			path := generate(t, fragmented())
			want := digestOf(t, path)
			was := state(t, path)
			said, err := start(t, test.at, path, 0).end()
			if !wasKilled(err) {
				t.Fatalf("the compaction ended with %v, said %q: it was to be killed", err, said)
			}
			temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
			if err != nil {
				t.Fatal(err)
			}
			if left := len(temps) > 0; left != test.temp {
				t.Errorf("left were %q, want a temp: %v", temps, test.temp)
			}
			if unchanged := state(t, path) == was; unchanged == test.swept {
				t.Errorf("the store is the old one: %v, want %v", unchanged, !test.swept)
			}
			if got := digestOf(t, path); got != want { // and Check is clean
				t.Errorf("the content has the digest %s, had %s", got, want)
			}
			removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path})
			if err != nil || len(removed) != len(temps) {
				t.Errorf("swept %q of %q, error %v", removed, temps, err)
			}
			onlyTheStore(t, path)
			if result := compact(t, path); result.NoOp != test.swept {
				t.Errorf("the next compaction was a no-op: %v", result.NoOp)
			}
		})
	}
}

// A process may have opened the store before it was replaced, and get its lock
// when the compaction is killed, before the old file is spoilt. It gets an
// error, or what it writes is kept.
func TestKilledWhileSomebodyWaits(t *testing.T) {
	if !exchanges {
		bolttest.Skip(t, "files cannot be exchanged here")
	}
	for _, test := range []struct {
		name string
		// late uses the old file and gives it back.
		late func(t *testing.T, old *bbolt.Options)
		kept bool
	}{
		{"and comes last", nil, false},
		{"and only opens it", func(t *testing.T, old *bbolt.Options) { useOld(t, old, false) }, false},
		{"and writes", func(t *testing.T, old *bbolt.Options) { useOld(t, old, true) }, true},
		{"and writes to what is half spoilt", func(t *testing.T, old *bbolt.Options) {
			f, err := old.OpenFile("", 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			state, err := readState(f)
			if err != nil {
				t.Fatal(err)
			}
			span := state.Poison[0]
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xFF}, int(span.Length)), span.Offset); err != nil {
				t.Fatal(err)
			}
			useOld(t, old, true)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := generate(t, fragmented())
			want := digestOf(t, path)
			waiting := waiter(t, path)
			second := waiter(t, path)
			said, err := start(t, killAt(replace.OpSyncDir, 2), path, 0).end()
			if !wasKilled(err) {
				t.Fatalf("the compaction ended with %v, said %q: it was to be killed", err, said)
			}
			old := tempOf(t, path)
			if test.late != nil {
				test.late(t, second)
			}
			removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path})
			if got := digestOf(t, path); got != want {
				t.Errorf("the store has the digest %s, had %s", got, want)
			}
			if !test.kept {
				if err != nil || !slices.Equal(removed, []string{old}) {
					t.Errorf("swept %q, error %v", removed, err)
				}
				onlyTheStore(t, path)
				if _, err := bbolt.Open(path, 0, waiting); !errors.Is(err, berrors.ErrInvalid) {
					t.Errorf("whoever waits gets error %v, want that the database is invalid", err)
				}
				return
			}
			if len(removed) != 0 || !errors.Is(err, sdk.ErrInternal) || sdk.Retryable(err) || sdk.HintOf(err) == "" || !strings.Contains(err.Error(), old) {
				t.Errorf("swept %q, error %v (hint %q), want that it was written to", removed, err, sdk.HintOf(err))
			}
			// The write is there for whoever looks.
			db, err := bbolt.Open(old, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
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
		})
	}
}

// As long as somebody uses the old file it is left alone.
func TestSweepWhileTheOldFileIsUsed(t *testing.T) {
	if !exchanges {
		bolttest.Skip(t, "files cannot be exchanged here")
	}
	path := generate(t, fragmented())
	waiting := waiter(t, path)
	if said, err := start(t, killAt(replace.OpSyncDir, 2), path, 0).end(); !wasKilled(err) {
		t.Fatalf("the compaction ended with %v, said %q: it was to be killed", err, said)
	}
	old := tempOf(t, path)
	db, err := bbolt.Open(path, 0, waiting)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path})
	if len(removed) != 0 || !errors.Is(err, sdk.ErrBusy) || sdk.HintOf(err) == "" {
		t.Errorf("swept %q, error %v (hint %q), want ErrBusy", removed, err, sdk.HintOf(err))
	}
	if want := fmt.Sprintf("keep %s: process %d (", old, os.Getpid()); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
	if err := errors.Join(put(db, "late", "write"), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path}); !errors.Is(err, replace.ErrWritten) {
		t.Errorf("error %v, want ErrWritten", err)
	}
}

// A store that is broken may have its content in what a compaction left.
func TestSweepBesideABrokenStore(t *testing.T) {
	path := generate(t, fragmented())
	if said, err := start(t, killAt(replace.OpExchange, 1), path, 0).end(); !wasKilled(err) {
		t.Fatalf("the compaction ended with %v, said %q: it was to be killed", err, said)
	}
	left := tempOf(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path})
	if len(removed) != 0 || !errors.Is(err, sdk.ErrCorrupt) || sdk.HintOf(err) == "" {
		t.Errorf("swept %q, error %v (hint %q), want ErrCorrupt", removed, err, sdk.HintOf(err))
	}
	digestOf(t, left)
}

// waiter opens the store as bbolt does before it waits for the lock.
func waiter(t *testing.T, path string) *bbolt.Options {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &bbolt.Options{
		Timeout:  time.Second,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	}
}

// useOld is what a waiter does once it has the lock.
func useOld(t *testing.T, old *bbolt.Options, write bool) {
	t.Helper()
	db, err := bbolt.Open("", 0, old)
	if err != nil {
		t.Fatal(err)
	}
	if write {
		err = put(db, "late", "write")
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// tempOf returns the one temp of the store.
func tempOf(t *testing.T, path string) string {
	t.Helper()
	temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(temps) != 1 {
		t.Fatalf("left were %q, error %v, want one temp", temps, err)
	}
	return temps[0]
}

func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// A mapped file that is cut short faults where it is read.
func TestFaultIsAnError(t *testing.T) {
	path := generate(t, fragmented())
	b := newBackend()
	b.hook = func(op replace.Op) error {
		if op.Kind == replace.OpAttributes {
			return os.Truncate(path, 8192)
		}
		return nil
	}
	_, err := b.Compact(context.Background(), request(path), func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrCorrupt) || sdk.HintOf(err) == "" {
		t.Errorf("error %v (hint %q), want ErrCorrupt", err, sdk.HintOf(err))
	}
}
