package punch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// The test binary plays another process when the variable names a store: it
// punches that, and dies by SIGKILL after the second hole.
const victimVariable = "WRING_PUNCH_TEST_VICTIM"

func TestMain(m *testing.M) {
	path := os.Getenv(victimVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	holes := 0
	_, err := punchAll(context.Background(), path, Config{Progress: func(int64) error {
		if holes++; holes == 2 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}})
	fmt.Println("it was to be killed, and ended with", err)
	os.Exit(1)
}

// punchAll does what a compaction does, under the lock.
func punchAll(ctx context.Context, path string, c Config) (Result, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return Result{}, err
	}
	free, err := check(ctx, f, c)
	if err != nil {
		return Result{}, err
	}
	return free.Punch(ctx, f, c)
}

func check(ctx context.Context, f *os.File, c Config) (*Free, error) {
	meta, err := page.ReadMeta(f)
	if err != nil {
		return nil, err
	}
	file := &page.File{R: f, Meta: meta}
	reached, err := Reach(ctx, file)
	if err != nil {
		return nil, err
	}
	return Checked(f, file, reached, c)
}

// punchable is what punching would give back, as a measurement finds it.
func punchable(t *testing.T, path string, c Config) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	free, err := Listed(t.Context(), f, c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := free.Punchable(f)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func generate(t *testing.T, spec bolttest.Spec) string {
	t.Helper()
	return generateIn(t, t.TempDir(), spec)
}

func generateIn(t *testing.T, dir string, spec bolttest.Spec) string {
	t.Helper()
	path := filepath.Join(dir, "a.db")
	if err := bolttest.Generate(path, spec); err != nil {
		t.Fatal(err)
	}
	return path
}

// holey is a spec with many runs of free pages.
func holey() bolttest.Spec {
	return bolttest.Spec{Seed: 1, LiveBytes: 1 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeBigValues}
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	sum, err := bolttest.Digest(path) // which checks the structure
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// onFileSystem is how many bytes a file takes there.
func onFileSystem(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Blocks) * 512 //nolint:unconvert // the type differs between systems
}

// state of a file that must not change: content and blocks.
func state(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x, %d bytes on disk", sha256.Sum256(b), onFileSystem(t, path))
}

// write puts so many keys, in transactions after each of which bbolt checks all
// of the file.
func write(t *testing.T, path string, puts int, noFreelist bool) {
	t.Helper()
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: noFreelist})
	if err != nil {
		t.Fatal(err)
	}
	db.StrictMode = true
	random := rand.New(rand.NewPCG(2, 2))
	const batch = 500
	for done := 0; done < puts; done += batch {
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("later"))
			if err != nil {
				return err
			}
			for range batch {
				value := make([]byte, random.IntN(300))
				if err := b.Put(fmt.Appendf(nil, "%08d", random.IntN(1_000_000)), value); err != nil {
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
