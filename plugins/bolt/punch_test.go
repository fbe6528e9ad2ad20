//go:build linux

package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// punchStore compacts in mode punch.
func punchStore(ctx context.Context, path string, given sdk.Options, report func(sdk.Progress)) (sdk.CompactResult, error) {
	r := request(path)
	r.Mode, r.Options = ModePunch, given
	return New().Compact(ctx, r, report)
}

func TestPunchMode(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		for _, noFreelist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/nofreelist=%v", shape, noFreelist), func(t *testing.T) {
				path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.7, Shape: shape, NoFreelistSync: noFreelist})
				content := digestOf(t, path)
				var phases []string
				result, err := punchStore(t.Context(), path, sdk.Options{OptionVerify: VerifyFull}, func(p sdk.Progress) {
					phases = append(phases, p.Phase)
				})
				if err != nil {
					t.Fatal(err)
				}
				checkCompacted(t, path, content, result)
				if result.Mode != ModePunch || result.Note == "" {
					t.Errorf("%+v", result)
				}
				if shape == bolttest.ShapeEmpty || shape == bolttest.ShapeOneKey {
					return
				}
				if result.NoOp || result.ReclaimedBytes < 64<<10 || result.After.TotalBytes != result.Before.TotalBytes {
					t.Errorf("%+v", result)
				}
				if got, want := slices.Compact(phases), []string{phasePunchCheck, phasePunch, phaseVerify}; !slices.Equal(got, want) {
					t.Errorf("phases %q, want %q", got, want)
				}
				was := state(t, path)
				again, err := punchStore(t.Context(), path, nil, func(sdk.Progress) {})
				if err != nil || !again.NoOp || again.Mode != ModePunch || again.ReclaimedBytes != 0 || again.Note == "" {
					t.Errorf("the second time: %+v, error %v", again, err)
				}
				if now := state(t, path); now != was {
					t.Error("the store has changed the second time")
				}
			})
		}
	}
}

// The sum that punching takes is that which a rewrite takes.
func TestPunchDigestIsThatOfARewrite(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.5, Shape: bolttest.ShapeNested})
	punched, err := punchStore(t.Context(), path, nil, func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	rewritten := compact(t, path)
	if *punched.Verification != *rewritten.Verification {
		t.Errorf("punched %+v, rewritten %+v", punched.Verification, rewritten.Verification)
	}
}

func TestPunchMinRunOption(t *testing.T) {
	option := minRunOption()
	for value, want := range map[string]int64{"": punch.DefaultMinRun, "4KiB": 4 << 10} {
		given := map[string]any{}
		if value != "" {
			given[OptionMinRun] = value
		}
		resolved, err := sdk.Schema{option}.Resolve(given)
		if err != nil || optionsOf(resolved).minRun != want {
			t.Errorf("%q is %d, error %v", value, optionsOf(resolved).minRun, err)
		}
	}
	if n := optionsOf(nil).minRun; n != punch.DefaultMinRun {
		t.Errorf("unresolved it is %d", n)
	}
	path := generate(t, fragmented())
	result, err := punchStore(t.Context(), path, sdk.Options{OptionMinRun: int64(1 << 30)}, func(sdk.Progress) {})
	if err != nil || !result.NoOp || !strings.Contains(result.Note, "1.0 GiB") {
		t.Errorf("%+v, error %v", result, err)
	}
}

// A freelist that lists a page in use must not make us punch that.
func TestPunchDamagedFreelist(t *testing.T) {
	d := damagedStore(t, 500<<10)
	_, children := d.branch()
	binary.NativeEndian.PutUint64(d.at(d.meta.Freelist)[page.HeaderSize:], uint64(children[1]))
	if err := os.WriteFile(d.path, d.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	was := state(t, d.path)
	result, err := punchStore(t.Context(), d.path, sdk.Options{OptionMinRun: int64(1)}, func(p sdk.Progress) {
		if p.Phase == phasePunch {
			t.Error("began to punch")
		}
	})
	checkCorrupt(t, fmt.Sprintf("%+v", result), err, fmt.Sprintf("page %d is in use and on the freelist", children[1]))
	if now := state(t, d.path); now != was {
		t.Error("the file has changed")
	}
	onlyTheStore(t, d.path)
}

func TestPunchCancelled(t *testing.T) {
	for _, phase := range []string{phasePunchCheck, phasePunch, phaseVerify} {
		path := generate(t, fragmented())
		content := digestOf(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := punchStore(ctx, path, nil, func(p sdk.Progress) {
			if p.Phase == phase {
				cancel()
			}
		})
		if !errors.Is(err, sdk.ErrCancelled) {
			t.Errorf("in phase %s: error %v", phase, err)
		}
		if now := digestOf(t, path); now != content {
			t.Errorf("in phase %s: the content differs", phase)
		}
		onlyTheStore(t, path)
	}
}

func TestPunchUnsupported(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		bolttest.Skip(t, "mounting is refused here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := generateIn(t, dir, fragmented())
	was := state(t, path)
	_, err := punchStore(t.Context(), path, nil, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrUnsupported) || sdk.Retryable(err) || !strings.Contains(sdk.HintOf(err), `mode "rewrite"`) {
		t.Errorf("error %v (hint %q)", err, sdk.HintOf(err))
	}
	f, m := probed(t, path)
	if n, err := punchable(t.Context(), f, m, 0, false); n != 0 || !errors.Is(err, punch.ErrUnsupported) {
		t.Errorf("%d bytes can be punched, error %v", n, err)
	}
	if now := state(t, path); now != was {
		t.Error("the file has changed")
	}
	onlyTheStore(t, path)
}

// probed measures a store as Fragmentation does.
func probed(t *testing.T, path string) (*os.File, probe.Measurement) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	m, err := probe.Measure(t.Context(), f, func() (int64, error) { return fileSize(f) }, probeConfig(defaultFill))
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

// What is foretold is what punching gives back, but for the file system's own
// blocks.
func TestPunchableIsWhatIsGivenBack(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		for _, exact := range []bool{false, true} {
			path := generate(t, bolttest.Spec{
				Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeBigValues, NoFreelistSync: noFreelist,
			})
			f, m := probed(t, path)
			foretold, err := punchable(t.Context(), f, m, 1, exact)
			if err != nil {
				t.Fatal(err)
			}
			result, err := punchStore(t.Context(), path, sdk.Options{OptionMinRun: int64(1)}, func(sdk.Progress) {})
			if err != nil {
				t.Fatal(err)
			}
			if off := foretold - result.ReclaimedBytes; off < 0 || off > 8<<10 || foretold == 0 {
				t.Errorf("foretold were %d bytes, given back %d", foretold, result.ReclaimedBytes)
			}
			if left, err := punchable(t.Context(), f, m, 1, exact); left != 0 || err != nil {
				t.Errorf("%d bytes are left, error %v", left, err)
			}
		}
	}
}

// On a full file system there is no room for a new file, and punching makes
// room for many more writes.
func TestPunchOnAFullFileSystem(t *testing.T) {
	dir := tmpfs(t, "128m")
	path := generateIn(t, dir, bolttest.Spec{Seed: 1, LiveBytes: 6 << 20, GarbageRatio: 0.8, Shape: bolttest.ShapeAppend})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fillUp(t, filler)
	content := digestOf(t, path)

	f, m := probed(t, path)
	free, err := replace.FreeSpace(f)
	if err != nil || free != 0 {
		t.Fatalf("%d bytes are free, error %v", free, err)
	}
	r := room{packed: m.PackedBytes, free: free, punchable: func() (int64, error) {
		return punchable(t.Context(), f, m, punch.DefaultMinRun, false)
	}}
	if c, err := choose(path, ModeRewrite, r); err != nil || !errors.Is(c.lacking, sdk.ErrNoSpace) {
		t.Errorf("%+v, error %v", c, err)
	}
	if c, err := choose(path, ModeAuto, r); err != nil || c.mode != ModePunch || c.lacking != nil {
		t.Errorf("%+v, error %v", c, err)
	}
	result, err := punchStore(t.Context(), path, nil, func(sdk.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil { // the file system is to be unmounted
		t.Fatal(err)
	}
	if result.ReclaimedBytes < 48<<20 {
		t.Errorf("%+v", result)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
	writeStrictly(t, path, 100_000)
	digestOf(t, path)
}

// fillUp makes a file as large as can be.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4<<10); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// writeStrictly puts keys at random, and has bbolt check the whole file after
// each transaction.
func writeStrictly(t *testing.T, path string, puts int) {
	t.Helper()
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	db.StrictMode = true
	random := rand.New(rand.NewPCG(2, 2))
	const batch = 1_000
	for done := 0; done < puts; done += batch {
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("later"))
			if err != nil {
				return err
			}
			for range batch {
				if err := b.Put(fmt.Appendf(nil, "%08d", random.IntN(50_000)), make([]byte, random.IntN(100))); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.Sync(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// A file with two names cannot be replaced. Once its free pages are given back there
// is nothing more to do, which is no failure however often it is asked for.
func TestPunchWhatCannotBeReplaced(t *testing.T) {
	dir := t.TempDir()
	path := generateIn(t, dir, bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend})
	if err := os.Link(path, filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		result, err := New().Compact(t.Context(), request(path), func(sdk.Progress) {})
		if err != nil || result.Mode != ModePunch || result.NoOp != (n > 0) {
			t.Errorf("compaction %d: %+v, error %v", n, result, err)
		}
	}
	f, err := New().Fragmentation(t.Context(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}})
	if err != nil || f.ReclaimableBytes != 0 || f.Obstacle != nil {
		t.Errorf("%+v, error %v", f, err)
	}
}
