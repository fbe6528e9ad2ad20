package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestRewriteCancel cancels in each phase before the new store takes its place: the old
// one stays as it is, and nothing lies about.
func TestRewriteCancel(t *testing.T) {
	for _, phase := range []string{"open", "copy", "ingest", "sync", "verify", "levels"} {
		t.Run(phase, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{Adjust: smallTables})
			before := files(t, path)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var after atomic.Int64
			b := newBackend(Config{})
			b.hookAll(func(operation, name string) error {
				if ctx.Err() != nil && operation == "write" && isTable(name) {
					after.Add(1)
				}
				return nil
			})
			_, err := b.Compact(ctx, rewriteOf(path), func(p sdk.Progress) {
				if p.Phase == phase {
					cancel()
				}
			})
			if !errors.Is(err, sdk.ErrCancelled) {
				t.Errorf("error %v, want %v", err, sdk.ErrCancelled)
			}
			if n := after.Load(); n > 3 {
				t.Errorf("%d writes of tables after the cancel", n)
			}
			sameFiles(t, before, files(t, path))
			wantAlone(t, path)
		})
	}
	t.Run("replace", func(t *testing.T) { // too late
		path := generate(t, pebbletest.Spec{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		result, err := New(Config{}).Compact(ctx, rewriteOf(path), func(p sdk.Progress) {
			if p.Phase == "replace" {
				cancel()
			}
		})
		if err != nil || result.ReclaimedBytes <= 0 {
			t.Errorf("%+v, %v", result, err)
		}
		wantAlone(t, path)
	})
}

// TestRewriteNoSpace lets the file system run full at one change or another.
func TestRewriteNoSpace(t *testing.T) {
	for name, full := range map[string]func(operation, name string) bool{
		"making the directory": func(operation, _ string) bool { return operation == "mkdir" },
		"marking it": func(operation, name string) bool {
			return operation == "create" && strings.HasSuffix(name, ".wring.temp")
		},
		"making the 2nd table": func(operation, name string) bool {
			return operation == "create" && strings.HasSuffix(name, "table-000001.sst")
		},
		"writing the 2nd table": func(operation, name string) bool {
			return operation == "write" && strings.HasSuffix(name, "table-000001.sst")
		},
		"making the new store": func(operation, name string) bool { return operation == "create" && strings.Contains(name, "MANIFEST-") },
		"ingesting":            func(operation, name string) bool { return operation == "link" && isTable(name) },
		"trying attributes":    func(operation, _ string) bool { return operation == "attributes" },
		"giving it attributes": func(operation, name string) bool { return operation == "attributes" && isTable(name) },
		"sealing it": func(operation, name string) bool {
			return operation == "write" && strings.HasSuffix(name, ".wring.temp")
		},
		"exchanging": func(operation, _ string) bool { return operation == "exchange" },
	} {
		t.Run(name, func(t *testing.T) {
			path := generate(t, pebbletest.Spec{Adjust: smallTables})
			before := files(t, path)
			var hit atomic.Int64
			b := newBackend(Config{})
			b.hookAll(func(operation, name string) error {
				// A link that ingestion cannot make is one it makes a copy for.
				if full(operation, name) || hit.Load() > 0 && operation == "create" {
					hit.Add(1)
					return &os.PathError{Op: operation, Path: name, Err: syscall.ENOSPC}
				}
				return nil
			})
			_, err := b.Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
			if hit.Load() == 0 {
				t.Fatal("the disk was never full")
			}
			if !errors.Is(err, sdk.ErrNoSpace) || !sdk.Retryable(err) {
				t.Errorf("error %v, want a retryable %v", err, sdk.ErrNoSpace)
			}
			sameFiles(t, before, files(t, path))
			wantAlone(t, path)
			if result := rewrite(t, path); result.ReclaimedBytes <= 0 {
				t.Errorf("with space: %+v", result)
			}
		})
	}
}

// TestRewritePreflight has a file system that is full beforehand.
func TestRewritePreflight(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	before := files(t, path)
	b := newBackend(Config{})
	b.fs = fullFS{vfs.Default}
	_, err := b.Compact(t.Context(), rewriteOf(path), func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrNoSpace) || !strings.Contains(err.Error(), "KiB") || !strings.Contains(sdk.HintOf(err), "free space") {
		t.Errorf("error %v (hint %q), want %v", err, sdk.HintOf(err), sdk.ErrNoSpace)
	}
	f, merr := b.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Mode: modeRewrite})
	if merr != nil || f.Obstacle == nil || f.Obstacle.Error() != err.Error() {
		t.Errorf("a measurement announces %v (%v), want %v", f.Obstacle, merr, err)
	}
	sameFiles(t, before, files(t, path))
	wantAlone(t, path)
}

// TestRewritePermission runs as the user that owns the store, and not the directory
// above.
func TestRewritePermission(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	before := files(t, path)
	parent := filepath.Dir(path)
	if os.Getuid() == 0 {
		for name := range before {
			if err := os.Chown(filepath.Join(path, name), nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		// The way to the store must be open, by the directory of the test too.
		if err := errors.Join(os.Chown(path, nobody, nobody), os.Chmod(parent, 0o755), os.Chmod(filepath.Dir(parent), 0o755)); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := os.Chmod(parent, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(parent, 0o700) }) // so that it can be removed
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+roleOwner, envStore+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"permission true", "make a directory in", parent + ", or use mode ranges", "announced true"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it said %q, want %q in it", out, want)
		}
	}
	sameFiles(t, before, files(t, path))
	wantAlone(t, path)
}

// TestRewriteKill ends the process at changes from the first to the last: the store at
// the path is the old one or the new one, whole, and the next compaction, in whatever
// mode, removes what else was left.
func TestRewriteKill(t *testing.T) {
	template := generate(t, pebbletest.Spec{LiveBytes: 100 << 10, LeaveInLog: true, RangeKeys: 3})
	digest, _ := contentOf(t, template)
	die := func(t *testing.T, at int) (path, out string, err error) {
		path = filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(path, os.DirFS(template)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envRole+"="+roleDie, envMode+"="+modeRewrite, envStore+"="+path, envKill+"="+strconv.Itoa(at))
		var stdout bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
		err = cmd.Run()
		return path, strings.TrimSpace(stdout.String()), err
	}
	_, out, err := die(t, -1)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := strconv.Atoi(out)
	if err != nil || changes < 50 {
		t.Fatalf("a rewrite makes %q changes, want a good many", out)
	}
	for at := 1; at <= changes; at++ {
		t.Run(fmt.Sprintf("at change %d of %d", at, changes), func(t *testing.T) {
			t.Parallel()
			path, _, err := die(t, at)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.String() != "signal: killed" {
				t.Fatalf("the process ended with %v, want a kill", err)
			}
			if got, _ := contentOf(t, path); got != digest {
				t.Error("content changed")
			}
			_, err = sdk.Guard(New(Config{})).Compact(t.Context(), sdk.CompactRequest{
				Store: sdk.Store{Path: path}, Mode: []string{modeRanges, modeRewrite}[at%2],
			}, func(sdk.Progress) {})
			if err != nil {
				t.Errorf("the next compaction: %v (%s)", err, sdk.HintOf(err))
			}
			if got, _ := contentOf(t, path); got != digest {
				t.Error("content changed by the next compaction")
			}
			wantAlone(t, path)
			for name := range files(t, path) {
				if strings.HasPrefix(name, ".wring") {
					t.Errorf("%s is left in the store", name)
				}
			}
		})
	}
}
