package punch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

func TestPunch(t *testing.T) {
	if err := SupportedIn(t.TempDir()); err != nil {
		bolttest.Skip(t, "%v", err)
	}
	for _, shape := range bolttest.Shapes() {
		for _, size := range []int{1 << 10, 4 << 10, 64 << 10} {
			for _, noFreelist := range []bool{false, true} {
				if noFreelist && size != 4<<10 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/nofreelist=%v", shape, size, noFreelist), func(t *testing.T) {
					t.Parallel()
					testPunch(t, bolttest.Spec{
						Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.7,
						Shape: shape, PageSize: size, NoFreelistSync: noFreelist,
					})
				})
			}
		}
	}
}

func testPunch(t *testing.T, spec bolttest.Spec) {
	path := generate(t, spec)
	content, held := digestOf(t, path), onFileSystem(t, path)
	foretold := punchable(t, path, Config{})
	result, err := punchAll(t.Context(), path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if now := digestOf(t, path); now != content {
		t.Errorf("the content has the digest %s, had %s", now, content)
	}
	now := onFileSystem(t, path)
	if result.GivenBack != held-now || result.Bytes < foretold || !about(result.GivenBack, foretold) {
		t.Errorf("%+v: the file has %d bytes, had %d, and %d were foretold", result, now, held, foretold)
	}
	small := spec.Shape == bolttest.ShapeEmpty || spec.Shape == bolttest.ShapeOneKey
	if result.GivenBack < 64<<10 && !small {
		t.Errorf("%+v", result)
	}
	again, err := punchAll(t.Context(), path, Config{})
	if err != nil || again != (Result{}) || punchable(t, path, Config{}) != 0 {
		t.Errorf("the second time: %+v, error %v, and %d bytes are left", again, err, punchable(t, path, Config{}))
	}
	puts := 1_000
	if spec.PageSize == 4<<10 {
		puts = 5_000
	}
	write(t, path, puts, spec.NoFreelistSync)
	digestOf(t, path)
}

// about allows for the blocks in which the file system maps the file.
func about(given, foretold int64) bool {
	off := given - foretold
	return max(off, -off) <= 8<<10+foretold/64
}

// What single pages give back is for whoever asks for it.
func TestMinRun(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 2 << 20, GarbageRatio: 0.6})
	content := digestOf(t, path)
	var runs int64
	for _, least := range []int64{64 << 10, 16 << 10, 8 << 10, 4 << 10} {
		c := Config{MinRun: least}
		foretold := punchable(t, path, c)
		result, err := punchAll(t.Context(), path, c)
		if err != nil || result.Bytes < result.Runs*least || !about(result.GivenBack, foretold) {
			t.Errorf("runs of at least %d: %+v, foretold %d, error %v", least, result, foretold, err)
		}
		if left := punchable(t, path, c); left != 0 {
			t.Errorf("%d bytes are left in runs of at least %d", left, least)
		}
		runs += result.Runs
	}
	if runs < 10 {
		t.Errorf("only %d holes", runs)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta, err := page.ReadMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	free, err := Listed(t.Context(), f, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if held, used := onFileSystem(t, path), meta.Bytes()-free.Pages*int64(meta.PageSize); !about(held, used) {
		t.Errorf("%d bytes are held, want the %d that are in use", held, used)
	}
}

// A hole in which pages were used and freed again is left until there is enough
// to give back.
func TestHolesAreLeft(t *testing.T) {
	path := generate(t, bolttest.Spec{Seed: 1, LiveBytes: 100 << 10, GarbageRatio: 0.9, Shape: bolttest.ShapeAppend})
	if _, err := punchAll(t.Context(), path, Config{}); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // each frees the pages of the one before
		if err := db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("append")).Put([]byte("key"), []byte("value"))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := punchable(t, path, Config{MinRun: 64 << 10}); n != 0 {
		t.Errorf("%d bytes would be punched", n)
	}
	if n := punchable(t, path, Config{MinRun: 1}); n == 0 || n >= 64<<10 {
		t.Errorf("the transactions left %d bytes on free pages", n)
	}
}

// So much room to grow is left as the next transactions use.
func TestTail(t *testing.T) {
	path := generate(t, bolttest.Spec{Shape: bolttest.ShapeOneKey})
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta, err := page.ReadMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	const more = 3<<20 + 700 // not whole blocks
	if _, err := f.WriteAt(make([]byte, GrowthRoom(meta)+more), meta.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	c := Config{MinRun: 64 << 10}
	content, foretold := digestOf(t, path), punchable(t, path, c)
	result, err := punchAll(t.Context(), path, c)
	if err != nil {
		t.Fatal(err)
	}
	if result.Runs != 1 || !about(result.GivenBack, more) || foretold < more-4096 || foretold > more {
		t.Errorf("%+v, foretold %d, want about %d", result, foretold, more)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != meta.Bytes()+GrowthRoom(meta)+more {
		t.Errorf("the file's size is %d (%v)", info.Size(), err)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
	if n := punchable(t, path, c); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestAtMost(t *testing.T) {
	for _, noFreelist := range []bool{false, true} {
		spec := holey()
		spec.NoFreelistSync = noFreelist
		path := generate(t, spec)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		atMost := func() int64 {
			free, err := Listed(t.Context(), f, Config{})
			if err != nil {
				t.Fatal(err)
			}
			n, err := AtMost(f, free.Meta, free.Pages)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if most, all := atMost(), punchable(t, path, Config{MinRun: 1}); most != all || all == 0 {
			t.Errorf("%d bytes at most, %d where every page counts", most, all)
		}
		if _, err := punchAll(t.Context(), path, Config{MinRun: 1}); err != nil {
			t.Fatal(err)
		}
		if most := atMost(); most != 0 {
			t.Errorf("%d bytes at most once all are holes", most)
		}
	}
}

func TestCancel(t *testing.T) {
	path := generate(t, holey())
	content := digestOf(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	result, err := punchAll(ctx, path, Config{Progress: func(int64) error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) || result.Runs != 1 || result.GivenBack == 0 {
		t.Errorf("%+v, error %v", result, err)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
	if _, err := punchAll(ctx, path, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	stop := errors.New("stop")
	result, err = punchAll(t.Context(), path, Config{Progress: func(int64) error { return stop }})
	if !errors.Is(err, stop) || result.GivenBack == 0 {
		t.Errorf("%+v, error %v", result, err)
	}
}

func TestKilled(t *testing.T) {
	path := generate(t, holey())
	content, foretold := digestOf(t, path), punchable(t, path, Config{})
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(executable)
	cmd.Env = append(os.Environ(), victimVariable+"="+path)
	said, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("ended with %v: %s", err, said)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
	left := punchable(t, path, Config{})
	if left == 0 || left >= foretold {
		t.Errorf("%d bytes are left to be punched, of %d", left, foretold)
	}
	if result, err := punchAll(t.Context(), path, Config{}); err != nil || !about(result.GivenBack, left) {
		t.Errorf("%+v, error %v, want %d", result, err, left)
	}
	write(t, path, 2_000, false)
}

// A file system may need a block to cut an extent in two.
func TestNoSpaceForAHole(t *testing.T) {
	path := generate(t, holey())
	content, foretold := digestOf(t, path), punchable(t, path, Config{})
	_, err := punchAll(t.Context(), path, Config{hole: func(*os.File, span) error { return unix.ENOSPC }})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	refused := 0
	result, err := punchAll(t.Context(), path, Config{hole: func(f *os.File, part span) error {
		if refused < 3 {
			refused++
			return unix.ENOSPC
		}
		return hole(f, part)
	}})
	if err != nil || !about(result.GivenBack, foretold) || refused != 3 {
		t.Errorf("%+v, error %v, want %d", result, err, foretold)
	}
	if now := digestOf(t, path); now != content {
		t.Error("the content differs")
	}
}

func TestErrors(t *testing.T) {
	path := generate(t, holey())
	was := state(t, path)
	broken := errors.New("broken disk")
	if result, err := punchAll(t.Context(), path, Config{Sync: func() error { return broken }}); !errors.Is(err, broken) || result.Runs != 0 {
		t.Errorf("not synced: %+v, error %v", result, err)
	}
	if _, err := punchAll(t.Context(), path, Config{hole: func(*os.File, span) error { return unix.EIO }}); !errors.Is(err, unix.EIO) {
		t.Errorf("error %v, want EIO", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listed, err := Listed(t.Context(), f, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listed.Punch(t.Context(), f, Config{}); err == nil {
		t.Error("punched what was not checked")
	}
	if now := state(t, path); now != was {
		t.Error("the file has changed")
	}
	free, err := check(t.Context(), f, Config{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, 500, false)
	was = state(t, path)
	if _, err := free.Punch(t.Context(), f, Config{}); !errors.Is(err, ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
	if now := state(t, path); now != was {
		t.Error("the file has changed")
	}
}

// BenchmarkPunch shows what runs of different lengths cost and give back. Its
// file lies where temporary files do.
func BenchmarkPunch(b *testing.B) {
	for _, least := range []int64{4 << 10, 8 << 10, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("least=%d", least), func(b *testing.B) {
			var given, runs int64
			for b.Loop() {
				b.StopTimer()
				path := b.TempDir() + "/a.db"
				if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 20 << 20, GarbageRatio: 0.5}); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				result, err := punchAll(b.Context(), path, Config{MinRun: least})
				if err != nil {
					b.Fatal(err)
				}
				given, runs = given+result.GivenBack, runs+result.Runs
			}
			b.ReportMetric(float64(given)/float64(b.N)/(1<<20), "MiB-given/op")
			b.ReportMetric(float64(runs)/float64(b.N), "holes/op")
		})
	}
}
