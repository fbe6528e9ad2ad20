package pebble

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// failedOver makes a store with a second directory for its log, to which that has moved.
// Both are in dir.
func failedOver(t *testing.T, dir, secondary string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "store")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(path, strings.TrimPrefix(secondary, "{store_path}"))
	if filepath.IsAbs(secondary) {
		second = secondary
	}
	if err := os.MkdirAll(second, 0o700); err != nil {
		t.Fatal(err)
	}
	err := pebbletest.Generate(path, pebbletest.Spec{LeaveInLog: true, Shape: pebbletest.Overwrites, Adjust: func(o *pebbledb.Options) {
		o.WALFailover = &pebbledb.WALFailoverOptions{Secondary: wal.Dir{FS: vfs.Default, Dirname: secondary}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(path, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("the logs are %q, error %v", logs, err)
	}
	for _, log := range logs {
		if err := os.Rename(log, filepath.Join(second, filepath.Base(log))); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever has Pebble open the store with it writes this anew.
	if err := os.Remove(filepath.Join(second, "failover_source")); err != nil {
		t.Fatal(err)
	}
	return path
}

// contentWithLog is what Pebble reads with the store's own settings, from a copy.
func contentWithLog(t *testing.T, dir, secondary string) string {
	t.Helper()
	options, err := plainOptions(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if filepath.IsAbs(secondary) { // the copy has one of its own
		second := wal.Dir{FS: vfs.Default, Dirname: filepath.Join(copied, filepath.Base(secondary))}
		options.WALFailover, options.WALRecoveryDirs = nil, []wal.Dir{second}
		options.Unsafe.AllowMissingWALDirs = true // the original's
	}
	digest, keys, err := pebbletest.Digest(filepath.Join(copied, "store"), options)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(digest, keys)
}

// TestFailover has stores whose latest writes are in a second log: a measurement sees
// them and writes nothing there, and a compaction takes them along.
func TestFailover(t *testing.T) {
	for _, where := range []string{"elsewhere", "in the store"} {
		t.Run(where, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			secondary := filepath.Join(dir, "second")
			second := secondary
			if where != "elsewhere" {
				secondary, second = "{store_path}/second", filepath.Join(dir, "store", "second")
			}
			path := failedOver(t, dir, secondary)
			content, options := contentWithLog(t, dir, secondary), optionsOf(t, path)
			before, beforeLog := topFiles(t, path), topFiles(t, second)
			predicted := map[sdk.Depth]int64{}
			for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
				f := measure(t, path, depth)
				predicted[depth] = f.ReclaimableBytes
				if f.Metrics["log_bytes"] == 0 {
					t.Errorf("%s: there is no log", depth)
				}
			}
			if now, log := topFiles(t, path), topFiles(t, second); !maps.Equal(now, before) || !maps.Equal(log, beforeLog) {
				t.Errorf("measuring has left %v and %v, before %v and %v", now, log, before, beforeLog)
			}
			// What a kill leaves of a log that was being made.
			if err := os.WriteFile(filepath.Join(second, "temporary.000099.dbtmp"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			result := compact(t, path)
			if off := result.ReclaimedBytes - predicted[sdk.DepthExact]; result.NoOp || off < -64<<10 || off > 64<<10 {
				t.Errorf("gave back %d bytes, foretold were %d", result.ReclaimedBytes, predicted[sdk.DepthExact])
			}
			if got := contentWithLog(t, dir, secondary); got != content {
				t.Errorf("the content is %s, before %s", got, content)
			}
			if got := optionsOf(t, path); got != options {
				t.Errorf("the OPTIONS are\n%s", got)
			}
			if log := topFiles(t, second); len(log) != 0 {
				t.Errorf("the second log has %v", log)
			}
		})
	}
}

// topFiles are the files of a directory, and when they were written to.
func topFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if !entry.IsDir() {
			found[entry.Name()] = fmt.Sprint(info.Size(), info.ModTime())
		}
	}
	return found
}

// TestFailoverKill ends a compaction of such a store at any change.
func TestFailoverKill(t *testing.T) {
	put := func(t *testing.T) (dir, path string) {
		dir = t.TempDir()
		return dir, failedOver(t, dir, "{store_path}/second")
	}
	dir, path := put(t)
	want := contentWithLog(t, dir, "")
	changes := dieAsRoot(t, path, modeRanges, -1)
	const steps = 40
	for at := 1; at <= changes; at += 1 + changes/steps {
		t.Run(fmt.Sprintf("at change %d of %d", at, changes), func(t *testing.T) {
			t.Parallel()
			dir, path := put(t)
			dieAsRoot(t, path, modeRanges, at)
			if got := contentWithLog(t, dir, ""); got != want {
				t.Errorf("the content is %s, before %s", got, want)
			}
			compact(t, path)
			if got := contentWithLog(t, dir, ""); got != want {
				t.Errorf("after the next compaction the content is %s, before %s", got, want)
			}
		})
	}
}

// TestLogWithinStore has a log in a directory that is named by the store's own path,
// which Pebble resolves by itself.
func TestLogWithinStore(t *testing.T) {
	path := generate(t, pebbletest.Spec{LeaveInLog: true, Shape: pebbletest.Overwrites, Adjust: func(o *pebbledb.Options) { o.WALDir = "{store_path}/wal" }})
	options, err := plainOptions(path)
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := pebbletest.Digest(path, options)
	if err != nil {
		t.Fatal(err)
	}
	if f := measure(t, path, sdk.DepthExact); f.Metrics["log_bytes"] == 0 || f.ReclaimableBytes <= 0 {
		t.Errorf("measured %+v", f)
	}
	if result := compact(t, path); result.ReclaimedBytes <= 0 {
		t.Errorf("gave back %d bytes", result.ReclaimedBytes)
	}
	if after, _, err := pebbletest.Digest(path, options); err != nil || after != digest {
		t.Errorf("the content is another, error %v", err)
	}
}
