package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

// TestPlugin has stores whose keys have versions and whose counters are merged. The
// plugin for all stores refuses them and says what is missing; with this one the host
// compacts them, and they stay what they were.
func TestPlugin(t *testing.T) {
	programs := build(t)
	for name, format := range map[string]pebble.FormatMajorVersion{
		"oldest format": pebble.FormatMinSupported,
		"newest format": pebble.FormatNewest,
	} {
		t.Run(name, func(t *testing.T) {
			path := makeStore(t, format)
			checkStore(t, path, format)
			untouched := filesOf(t, path)
			for _, verb := range []string{"inspect", "compact"} {
				status, said := wring(t, programs, verb, "--json", "--plugin", "pebble", path)
				var answer struct{ Error, Hint string }
				if err := json.Unmarshal(said, &answer); err != nil {
					t.Fatalf("%s says %s: %v", verb, said, err)
				}
				if status != 1 || !strings.Contains(answer.Error, `comparer "example.mvcc"`) || !strings.Contains(answer.Hint, "Config.Comparers") {
					t.Errorf("%s by the plugin for all ends with %d: %s", verb, status, said)
				}
			}
			if !maps.Equal(untouched, filesOf(t, path)) {
				t.Error("the plugin for all changed the store")
			}

			o := applicationOptions(format)
			digest, _, err := pebbletest.Digest(path, o)
			if err != nil {
				t.Fatal(err)
			}
			before := traitsOf(t, path, o)
			spoilt := spoil(t, path, o)

			status, said := wring(t, programs, "compact", "--force", "--json", "--plugin", "pebble-mvcc", path)
			var result struct {
				Outcome, Error string
				Verified       bool
				Items          int64
				ReclaimedBytes int64 `json:"reclaimed_bytes"`
				PredictedBytes int64 `json:"predicted_bytes"`
			}
			if err := json.Unmarshal(said, &result); err != nil {
				t.Fatalf("compact says %s: %v", said, err)
			}
			if status != 0 || result.Outcome != "compacted" || !result.Verified || result.ReclaimedBytes <= 0 {
				t.Fatalf("compact ends with %d: %s", status, said)
			}
			if off := result.ReclaimedBytes - result.PredictedBytes; max(off, -off) > result.ReclaimedBytes/10 {
				t.Errorf("%d bytes were foretold, %d came back", result.PredictedBytes, result.ReclaimedBytes)
			}
			if got, keys, err := pebbletest.Digest(path, o); err != nil || got != digest || int64(keys) > result.Items {
				t.Errorf("the content is another, of %d keys for %d; %v", keys, result.Items, err)
			}
			checkStore(t, path, format)

			after := traitsOf(t, path, o)
			for _, name := range before.Differences(after) {
				t.Errorf("%s: %s %v, before %s %v", name, after.Names[name], after.Sizes[name], before.Names[name], before.Sizes[name])
			}
			if bits := after.Names["filter bits"]; bits != "[14]" {
				t.Errorf("filters have %s bits per key", bits)
			}
			// The comparison would have found what others lose.
			want := []string{"CompressionName", "FilterPolicyName", "OPTIONS", "PropertyCollectorNames", "UserProperties", "filter bits", "data block"}
			for _, name := range want {
				if !slices.Contains(before.Differences(spoilt), name) {
					t.Errorf("without the application's options, %s is not found to be lost", name)
				}
			}
		})
	}
}

// build makes the host and both plugins, which find each other in one directory.
func build(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var builds sync.WaitGroup
	for _, b := range []struct{ from, pkg, name string }{
		{".", ".", "wring-plugin-pebble-mvcc"},
		{"../..", "./plugins/pebble/cmd/wring-plugin-pebble", "wring-plugin-pebble"},
		{"../..", "./cmd/host", "wring"},
	} {
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
	return dir
}

// wring runs the host's command on a path, without a configuration.
func wring(t *testing.T, programs string, args ...string) (status int, stdout []byte) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "wring"), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "WRING_CONFIG=")
	stdout, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout
}

func filesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	files, err := pebbletest.Files(path)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func traitsOf(t *testing.T, path string, o *pebble.Options) pebbletest.Traits {
	t.Helper()
	traits, err := pebbletest.ReadTraits(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return traits
}

// spoil compacts a copy with nothing but the comparer and the merger, without which
// Pebble does not open it.
func spoil(t *testing.T, path string, o *pebble.Options) pebbletest.Traits {
	t.Helper()
	spoilt := filepath.Join(t.TempDir(), "spoilt")
	if err := os.CopyFS(spoilt, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open(spoilt, &pebble.Options{Comparer: o.Comparer, Merger: o.Merger, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(context.Background(), []byte("account/"), []byte("account0"), false); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return traitsOf(t, spoilt, o)
}
