package bolt

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// The test binary plays other processes: it does what the variable says to the
// store that its first argument names.
const roleVariable = "WRING_BOLT_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		goleak.VerifyTestMain(m)
		return
	}
	path := "" // of the store; a plugin is not told
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	if err := play(role, path); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func play(role, path string) error {
	name, argument, _ := strings.Cut(role, " ")
	switch name {
	case "hold": // opens the store, says so, and waits for the end of its input
		db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, ReadOnly: argument == "readonly"})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return db.Close()
	case "write": // commits until the end of its input
		return writeOn(path)
	case "wait": // waits for the lock for ever, then writes
		fmt.Println("ready")
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		return errors.Join(put(db, "late", "write"), db.Close())
	case "compact": // and dies before an operation: see killAt
		b := newBackend()
		met := map[replace.OpKind]int{}
		b.hook = func(op replace.Op) error {
			met[op.Kind]++
			if killAt(op.Kind, met[op.Kind]) == role {
				die()
			}
			return nil
		}
		_, err := b.Compact(context.Background(), fullRequest(path), func(p sdk.Progress) {
			if killIn(p.Phase) == role && p.Done > 0 {
				die()
			}
		})
		return err
	case "torture": // a role of the campaign
		return playTorture(argument, path)
	case "unprivileged": // measures and compacts, and says how that fails
		measured := "at every depth"
		for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
			_, err := New().Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth})
			if errors.Is(err, sdk.ErrPermission) {
				measured = "not permitted"
			} else if err != nil {
				measured = err.Error()
			}
		}
		_, compacted := New().Compact(context.Background(), request(path), func(sdk.Progress) {})
		fmt.Println("measured", measured)
		fmt.Printf("compacted permission=%v hint=%v: %v\n", errors.Is(compacted, sdk.ErrPermission), sdk.HintOf(compacted) != "", compacted)
		return nil
	}
	return fmt.Errorf("there is no role %q", role)
}

// killAt is the role that compacts and dies before the nth operation of a kind.
func killAt(kind replace.OpKind, n int) string { return fmt.Sprintf("compact %s %d", kind, n) }

// killIn is the role that compacts and dies in the middle of a phase.
func killIn(phase string) string { return "compact " + phase }

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func put(db *bbolt.DB, key, value string) error {
	return db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("written"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	})
}

func writeOn(path string) error {
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for i := 0; ; i++ {
		if err := put(db, fmt.Sprintf("%03d", i%500), strings.Repeat("x", i%700)); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("ready")
		}
		select {
		case <-ended:
			fmt.Println("commits", i)
			return db.Close()
		default:
		}
	}
}

// process is another process that plays a role.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
}

// start plays a role in another process; with uid > 0 as that user.
func start(t *testing.T, role, path string, uid uint32) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if uid != 0 {
		executable = copyFor(t, executable)
	}
	cmd := exec.Command(executable, path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t, cmd, stdin, bufio.NewReader(stdout)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

// copyFor puts the test binary where any user may run it.
func copyFor(t *testing.T, executable string) string {
	t.Helper()
	// Not t.TempDir: its parent is closed to others.
	dir, err := os.MkdirTemp("", "wring-bolt-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(executable)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(to, b, 0o755), os.Chmod(to, 0o755)); err != nil {
		t.Fatal(err)
	}
	return to
}

// expect reads the next line.
func (p *process) expect(want string) {
	p.t.Helper()
	line, err := p.stdout.ReadString('\n')
	if strings.TrimSpace(line) != want {
		p.t.Fatalf("the other process says %q (%v), want %q", line, err, want)
	}
}

// end waits for the end and returns what remained to be read.
func (p *process) end() (string, error) {
	_ = p.stdin.Close()
	rest, err := io.ReadAll(p.stdout)
	return string(rest), errors.Join(err, p.cmd.Wait())
}

func request(path string) sdk.CompactRequest {
	return sdk.CompactRequest{Store: sdk.Store{Path: path}}
}

// fullRequest asks for a compaction with all verification that there is.
func fullRequest(path string) sdk.CompactRequest {
	r := request(path)
	r.Options = sdk.Options{OptionVerify: VerifyFull}
	return r
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

// fragmented is a spec with much to reclaim.
func fragmented() bolttest.Spec {
	return bolttest.Spec{Seed: 1, LiveBytes: 500 << 10, GarbageRatio: 0.6}
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	sum, err := bolttest.Digest(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// state of a file that must not change: content, size and time.
func state(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]) + " " + info.ModTime().String()
}

func measure(t *testing.T, path string, depth sdk.Depth) sdk.Fragmentation {
	t.Helper()
	f, err := New().Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// compact compacts and checks what must hold for every compaction.
func compact(t *testing.T, path string) sdk.CompactResult {
	t.Helper()
	before := digestOf(t, path)
	result, err := New().Compact(context.Background(), request(path), func(sdk.Progress) {})
	if err != nil {
		t.Fatalf("compact: %v (%s)", err, sdk.HintOf(err))
	}
	checkCompacted(t, path, before, result)
	return result
}

func checkCompacted(t *testing.T, path, before string, result sdk.CompactResult) {
	t.Helper()
	if after := digestOf(t, path); after != before {
		t.Errorf("the content has the digest %s, had %s", after, before)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if size := sizeOf(info); result.After != size {
		t.Errorf("the result says %+v, the file has %+v", result.After, size)
	}
	if got := result.Before.AllocatedBytes - result.After.AllocatedBytes; result.ReclaimedBytes != got {
		t.Errorf("%d bytes reclaimed, want %d", result.ReclaimedBytes, got)
	}
	if !result.NoOp {
		v := result.Verification
		if v == nil || v.DigestBefore != v.DigestAfter || v.ItemsBefore != v.ItemsAfter || v.ItemsBefore == 0 {
			t.Errorf("verification %+v", v)
		}
	}
	onlyTheStore(t, path)
}

// onlyTheStore makes sure that nothing was left in the directory.
func onlyTheStore(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{filepath.Base(path)}) {
		t.Errorf("the directory has %q", names)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}
