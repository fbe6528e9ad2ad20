package pebble

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// readFS calls hook before each read of a table.
type readFS struct {
	vfs.FS
	hook func()
}

func (f *readFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !isTable(name) {
		return file, err
	}
	return &readFile{File: file, hook: f.hook}, nil
}

type readFile struct {
	vfs.File
	hook func()
}

func (f *readFile) ReadAt(p []byte, offset int64) (int, error) {
	f.hook()
	return f.File.ReadAt(p, offset)
}

// TestCheckLevelsIsHeard lets the check of the levels wait, once it has read
// something, until that was told of.
func TestCheckLevelsIsHeard(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	var reads, told atomic.Int64
	begun, heard := make(chan struct{}), make(chan struct{})
	b := newBackend(Config{})
	b.cacheBytes = 0 // it reads what was read for the digest again
	b.checkLevels = func(v *view, _ map[uint64]bool) error {
		<-begun
		return v.db.CheckLevels(nil)
	}
	b.fs = &readFS{FS: vfs.Default, hook: func() {
		if told.Load() == 0 || reads.Add(1) != 3 {
			return
		}
		select {
		case <-heard:
		case <-time.After(atOnce):
			t.Error("nobody heard of the check of the levels")
		}
	}}
	_, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
		if p.Phase == "levels" {
			switch told.Add(1) {
			case 1:
				close(begun)
			case 2:
				close(heard)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if reads.Load() < 3 {
		t.Fatalf("the levels were checked with %d reads; the test needs more", reads.Load())
	}
}

// TestLevelsAreWrong lets the check of the levels find something, or fail itself.
func TestLevelsAreWrong(t *testing.T) {
	for name, c := range map[string]struct {
		found error
		kind  error
		says  string
		hint  string
	}{
		"out of order": {errors.New("000012.sst: keys out of order\nstack of Pebble's"), sdk.ErrInternal,
			"inconsistent levels: 000012.sst: keys out of order", "restore the store from a backup"},
		"unread": {&fs.PathError{Op: "read", Path: "000012.sst", Err: syscall.ENOSPC}, sdk.ErrNoSpace, "check the levels of", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{})
			b := newBackend(Config{})
			var checked int
			b.checkLevels = func(v *view, old map[uint64]bool) error {
				if checked++; v.db == nil || len(old) == 0 {
					t.Error("no store is open for the check")
				}
				return c.found
			}
			result, err := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			if checked != 1 {
				t.Fatalf("checked %d times", checked)
			}
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %v that says %q in a line", err, c.kind, c.says)
			}
			if hint := sdk.HintOf(err); !strings.Contains(hint, c.hint) {
				t.Errorf("hint %q, want %q in it", hint, c.hint)
			}
			if result.Verification != nil {
				t.Error("it is verified all the same")
			}
		})
	}
}

// TestCancelWhileCheckingLevels cancels at a read of that check.
func TestCancelWhileCheckingLevels(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	digest, _ := contentOf(t, path)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var checking atomic.Bool
	var reads, after atomic.Int64
	b := newBackend(Config{})
	b.cacheBytes = 0
	b.checkLevels = func(v *view, _ map[uint64]bool) error {
		checking.Store(true)
		return v.db.CheckLevels(nil)
	}
	b.fs = &readFS{FS: vfs.Default, hook: func() {
		switch {
		case !checking.Load():
		case ctx.Err() != nil:
			after.Add(1)
		case reads.Add(1) == 3:
			cancel()
		}
	}}
	_, err := b.Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrCancelled) {
		t.Fatalf("error %v, want %v", err, sdk.ErrCancelled)
	}
	// The content is read meanwhile, and may be at a read.
	if n := after.Load(); n > 1 {
		t.Errorf("%d reads after the cancel", n)
	}
	if got, _ := contentOf(t, path); got != digest {
		t.Error("content changed")
	}
}

// TestLevelsAreCheckedWhereNeeded has tables above others: what lies so is read, unless
// all of it was there before.
func TestLevelsAreCheckedWhereNeeded(t *testing.T) {
	v := view4test(t, generate(t, pebbletest.Spec{}))
	read := func(old map[uint64]bool) int64 {
		began := v.fs.traffic.read.Load()
		if err := checkLevels(v, old); err != nil {
			t.Fatal(err)
		}
		return v.fs.traffic.read.Load() - began
	}
	if n := read(engine.Numbers(v.levels)); n != 0 {
		t.Errorf("%d bytes were read of old tables", n)
	}
	if n := read(nil); n == 0 {
		t.Error("nothing was read of new tables")
	}
}
