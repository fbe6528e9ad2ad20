package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	pebblev1 "github.com/cockroachdb/pebble"
	bloomv1 "github.com/cockroachdb/pebble/bloom"

	"github.com/wringdb/wring/plugins/pebble"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// nodeOptions are what an Ethereum node opens its store with, by Pebble v1. The
// thresholds leave overlapping tables for wring to compact.
func nodeOptions(format pebblev1.FormatMajorVersion) *pebblev1.Options {
	o := &pebblev1.Options{
		FormatMajorVersion:          format,
		MaxOpenFiles:                500,
		MemTableSize:                512 << 10,
		MemTableStopWritesThreshold: 4,
		MaxConcurrentCompactions:    runtime.NumCPU,
		Levels:                      make([]pebblev1.LevelOptions, 7),
		L0CompactionThreshold:       500,
		L0StopWritesThreshold:       1000,
		Logger:                      silent{},
	}
	for i := range o.Levels {
		o.Levels[i] = pebblev1.LevelOptions{TargetFileSize: 2 << 20, FilterPolicy: bloomv1.FilterPolicy(10)}
	}
	o.Experimental.ReadSamplingMultiplier = -1
	return o
}

// chainStore lets a chain be written to a store of Pebble v1.
type chainStore struct{ *pebblev1.DB }

func (s chainStore) Set(key, value []byte) error { return s.DB.Set(key, value, pebblev1.NoSync) }
func (s chainStore) Delete(key []byte) error     { return s.DB.Delete(key, pebblev1.NoSync) }
func (s chainStore) DeleteRange(start, end []byte) error {
	return s.DB.DeleteRange(start, end, pebblev1.NoSync)
}
func (s chainStore) Settle(start, end []byte) error { return s.Compact(start, end, false) }

func makeChain(t *testing.T, format pebblev1.FormatMajorVersion) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chaindata")
	options := nodeOptions(format)
	options.DisableAutomaticCompactions = true // so that there is something to do
	db, err := pebblev1.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := pebbletest.WriteChain(uint64(format), 200, chainStore{db}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openV1(t *testing.T, path string, format pebblev1.FormatMajorVersion) *pebblev1.DB {
	t.Helper()
	db, err := pebblev1.Open(path, nodeOptions(format))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// readV1 sums a copy of the store up as Pebble v1 reads it, and says its format.
func readV1(t *testing.T, path string) (digest string, format pebblev1.FormatMajorVersion) {
	t.Helper()
	db := openV1(t, copyOf(t, path), pebblev1.FormatMostCompatible)
	defer db.Close()
	if err := db.CheckLevels(nil); err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	sum, keys := sha256.New(), 0
	for it.First(); it.Valid(); it.Next() {
		fmt.Fprintf(sum, "%x: %x\n", it.Key(), it.Value())
		keys++
	}
	if err := it.Close(); err != nil || keys < 1000 {
		t.Fatalf("%d keys; %v", keys, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), db.FormatMajorVersion()
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// compactV1 compacts a store of Pebble v1 that is of no older format than v2 opens, and
// has Pebble v1 open it again.
func compactV1(t *testing.T, path string) {
	t.Helper()
	digest, format := readV1(t, path)
	options, err := pebbletest.Options(path)
	if err != nil {
		t.Fatal(err)
	}
	result, err := pebble.New(pebble.Config{}).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if result.NoOp || result.ReclaimedBytes < result.Before.AllocatedBytes/10 || !strings.Contains(result.Note, "10 bits per key, as in the tables") {
		t.Errorf("gave back %d of %d bytes; %s", result.ReclaimedBytes, result.Before.AllocatedBytes, result.Note)
	}
	if after, err := pebbletest.Options(path); err != nil || after != options {
		t.Errorf("the OPTIONS file reads\n%s\nbefore\n%s", after, options)
	}
	if after, stays := readV1(t, path); after != digest || stays != format {
		t.Errorf("Pebble v1 reads format %s with digest %s, before %s with %s", stays, after, format, digest)
	}
}

// TestFormerFormats has stores of Pebble v1 in formats that v2 does not open. They are
// recognised, refused and not touched; whoever does what the error says has a store
// that is compacted, and that Pebble v1 opens as before.
func TestFormerFormats(t *testing.T) {
	programs := buildPrograms(t)
	for _, format := range []pebblev1.FormatMajorVersion{
		pebblev1.FormatMostCompatible, pebblev1.FormatVersioned, pebblev1.FormatBlockPropertyCollector,
		pebblev1.FormatRangeKeys, pebblev1.FormatSSTableValueBlocks,
	} {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			path := makeChain(t, format)
			digest, is := readV1(t, path)
			if is != format {
				t.Fatalf("made a store of format %s", is)
			}
			untouched := filesOf(t, path)
			says := fmt.Sprintf("format major version %d, of Pebble v1", format)
			b := pebble.New(pebble.Config{})
			_, measured := b.Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}})
			_, compacted := b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
			for _, err := range []error{measured, compacted} {
				if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), says) {
					t.Errorf("error %v, want %v that says %q", err, sdk.ErrUnsupported, says)
				}
				checkHint(t, sdk.HintOf(err))
			}
			for _, verb := range []string{"inspect", "compact"} {
				answer, status := runWring(t, programs, verb, path)
				if status != 1 || !strings.Contains(answer.Error, says) {
					t.Errorf("%s ends with %d: %+v", verb, status, answer)
				}
				checkHint(t, answer.Hint)
			}
			if now := filesOf(t, path); !maps.Equal(now, untouched) {
				t.Errorf("the store has the files %v, before %v", slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(untouched)))
			}
			if got, _ := readV1(t, path); got != digest {
				t.Error("the content is another")
			}

			for _, up := range []pebblev1.FormatMajorVersion{pebblev1.FormatFlushableIngest, pebblev1.FormatNewest} {
				raised := copyOf(t, path)
				if err := openV1(t, raised, up).Close(); err != nil {
					t.Fatal(err)
				}
				if got, is := readV1(t, raised); got != digest || is != up {
					t.Fatalf("raised to format %s it is of %s, and its content the same: %t", up, is, got == digest)
				}
				compactV1(t, raised)
			}
		})
	}
}

// checkHint makes sure that it says what the test does.
func checkHint(t *testing.T, hint string) {
	t.Helper()
	for _, want := range []string{
		"github.com/cockroachdb/pebble " + versionOfV1(t),
		fmt.Sprintf("FormatMajorVersion: pebble.FormatFlushableIngest (%d) or higher", pebblev1.FormatFlushableIngest),
		"automatic compactions", "backup", "no way back",
	} {
		if !strings.Contains(hint, want) {
			t.Errorf("hint %q, want %q in it", hint, want)
		}
	}
}

// versionOfV1 is that of the Pebble v1 which this test is built with.
func versionOfV1(t *testing.T) string {
	t.Helper()
	said, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/cockroachdb/pebble").Output()
	version := strings.TrimSpace(string(said))
	if err != nil || !strings.HasPrefix(version, "v1.") {
		t.Fatalf("version %q, %v", version, err)
	}
	return version
}

// TestDocumentation holds the way out that is documented against the one that is
// tested.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/pebble.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Stores of Pebble v1\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, want := range []string{
		"`github.com/cockroachdb/pebble` " + versionOfV1(t),
		fmt.Sprintf("`FormatMajorVersion: pebble.FormatFlushableIngest` (%d) or higher", pebblev1.FormatFlushableIngest),
		fmt.Sprintf("Formats %d to %d", pebblev1.FormatFlushableIngest, pebblev1.FormatNewest),
	} {
		if !strings.Contains(section, want) {
			t.Errorf("docs/pebble.md does not say %q", want)
		}
	}
}

// TestLaterFormats has stores of Pebble v1 in formats that v2 opens too. They are
// compacted, and remain what they were.
func TestLaterFormats(t *testing.T) {
	for format := pebblev1.FormatFlushableIngest; format <= pebblev1.FormatNewest; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			path := makeChain(t, format)
			before, err := pebbletest.ReadTraits(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			compactV1(t, path)
			after, err := pebbletest.ReadTraits(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			// Version 2 writes these no more, and version 1 does not read them.
			for _, former := range []string{"prefix.filtering", "whole.key.filtering"} {
				before.Names["UserProperties"] = withoutProperty(t, before.Names["UserProperties"], "rocksdb.block.based.table."+former)
			}
			before.Names["UserProperties"] = withoutProperty(t, before.Names["UserProperties"], "rocksdb.prefix.extractor.name")
			if before.Names["filter bits"] != "[10]" || before.Names["CompressionName"] != "Snappy" {
				t.Errorf("filters of %s bits, compression %s", before.Names["filter bits"], before.Names["CompressionName"])
			}
			for _, name := range before.Differences(after) {
				t.Errorf("%s: %s %v, before %s %v", name, after.Names[name], after.Sizes[name], before.Names[name], before.Sizes[name])
			}
		})
	}
}

func withoutProperty(t *testing.T, all, name string) string {
	t.Helper()
	names := strings.Split(all, " | ")
	i := slices.Index(names, name)
	if i < 0 {
		t.Fatalf("the tables have no property %s, but %s", name, all)
	}
	return strings.Join(slices.Delete(names, i, i+1), " | ")
}

// TestInterruptedOnTheWay has a store that lost power between two steps from format 1
// to format 2: Pebble v1 takes it for one of format 1.
func TestInterruptedOnTheWay(t *testing.T) {
	path := makeChain(t, 2)
	markers, err := filepath.Glob(filepath.Join(path, "marker.format-version.*"))
	if err != nil || len(markers) != 1 {
		t.Fatalf("markers %v, %v", markers, err)
	}
	if err := os.Remove(markers[0]); err != nil {
		t.Fatal(err)
	}
	if _, format := readV1(t, path); format != pebblev1.FormatMostCompatible {
		t.Fatalf("Pebble v1 takes it for format %s", format)
	}
	untouched := filesOf(t, path)
	_, err = pebble.New(pebble.Config{}).Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), "format major version 1,") {
		t.Errorf("error %v, want %v", err, sdk.ErrUnsupported)
	}
	checkHint(t, sdk.HintOf(err))
	if !maps.Equal(filesOf(t, path), untouched) {
		t.Error("the store was changed")
	}
}

func filesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	files, err := pebbletest.Files(path)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// buildPrograms makes the host and the plugin, which it finds beside it.
func buildPrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./cmd/host", "./plugins/pebble/cmd/wring-plugin-pebble")
	build.Dir = "../.."
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, said)
	}
	return dir
}

type answer struct{ Error, Hint string }

// runWring runs the host's command on a path, whose engine it recognises.
func runWring(t *testing.T, programs, verb, path string) (a answer, status int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "host"), verb, "--json", path)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "WRING_CONFIG=")
	said, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(said, &a); err != nil {
		t.Fatalf("%s says %q: %v", verb, said, err)
	}
	return a, cmd.ProcessState.ExitCode()
}
