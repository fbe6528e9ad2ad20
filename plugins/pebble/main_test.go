package pebble

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// The test binary starts itself again as another process that has a store open.
const (
	envRole  = "PEBBLE_TEST_ROLE"
	envStore = "PEBBLE_TEST_STORE"
	envKill  = "PEBBLE_TEST_KILL_AT"
	envMode  = "PEBBLE_TEST_MODE" // of compactions that are to be killed or to break

	roleHold  = "hold"  // opens the store and says so
	roleWrite = "write" // overwrites keys until it is killed
	// roleStranger looks at the store as a user without any rights.
	roleStranger = "stranger"
	// roleOwner rewrites the store as the user that it belongs to.
	roleOwner = "owner"
	// roleApplication opens the store for writing, as that user too.
	roleApplication = "application"
	roleBreak       = "break" // compacts and lets Pebble fail for good
	roleDie         = "die"   // compacts and kills itself at the change numbered envKill
	// roleContend opens the store and closes it, again and again, until its standard
	// input ends.
	roleContend = "contend"
	roleTorture = "torture" // compacts and meets envStrike
)

func TestMain(m *testing.M) {
	role, store := os.Getenv(envRole), os.Getenv(envStore)
	var err error
	switch role {
	case "":
		goleak.VerifyTestMain(m)
		return
	case roleHold:
		err = hold(store)
	case roleWrite:
		err = write(store)
	case roleStranger:
		err = lookAsStranger(store)
	case roleDie:
		err = compactAndDie(store)
	case roleOwner:
		err = rewriteAsOwner(store)
	case roleApplication:
		err = openAsApplication(store)
	case roleContend:
		err = contend(store)
	case roleTorture:
		err = playTorture(store)
	case roleBreak:
		err = compactAndBreak(store)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func hold(store string) error {
	db, err := pebbledb.Open(store, &pebbledb.Options{Logger: &events{}})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent closes it
	return db.Close()
}

func write(store string) error {
	db, err := pebbledb.Open(store, &pebbledb.Options{
		Logger:        &events{},
		MemTableSize:  256 << 10,
		LBaseMaxBytes: 1 << 20,
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	rng := rand.New(rand.NewPCG(7, 7))
	value := make([]byte, 512)
	for {
		for i := range value {
			value[i] = byte(rng.Uint32())
		}
		if err := db.Set(pebbletest.Key(rng.IntN(5000)), value, pebbledb.NoSync); err != nil {
			return err
		}
	}
}

// nobody is a user without any rights.
const nobody = 65534

func becomeNobody() error {
	if os.Getuid() != 0 { // who may read everything
		return nil
	}
	return errors.Join(syscall.Setgid(nobody), syscall.Setuid(nobody))
}

func rewriteAsOwner(store string) error {
	if err := becomeNobody(); err != nil {
		return err
	}
	_, err := New(Config{}).Compact(context.Background(), rewriteOf(store), func(sdk.Progress) {})
	fmt.Printf("permission %v: %v; %s\n", errors.Is(err, sdk.ErrPermission), err, sdk.HintOf(err))
	f, merr := New(Config{}).Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: store}, Mode: modeRewrite})
	if merr != nil {
		return merr
	}
	fmt.Printf("announced %v\n", f.Obstacle != nil && err != nil && f.Obstacle.Error() == err.Error())
	return nil
}

func lookAsStranger(store string) error {
	if err := becomeNobody(); err != nil {
		return err
	}
	answers := refusals(New(Config{}), store)
	for _, name := range []string{"fragmentation", "compact"} {
		fmt.Printf("%s: %v\n", name, errors.Is(answers[name], sdk.ErrPermission))
	}
	return nil
}

func compactAndDie(store string) error {
	syscall.Umask(0o077) // as that of a service may be
	at, err := strconv.Atoi(os.Getenv(envKill))
	if err != nil {
		return err
	}
	var changes, blocks atomic.Int64
	b := newBackend(Config{})
	b.hookAll(func(operation, name string) error {
		if mode := os.Getenv(envMode); mode == modeRewrite && operation == "write" && isTable(name) && blocks.Add(1)%64 != 1 {
			return nil // there are too many of them
		}
		if changes.Add(1) == int64(at) {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	_, err = sdk.Guard(b).Compact(context.Background(), sdk.CompactRequest{
		Store: sdk.Store{Path: store}, Mode: os.Getenv(envMode),
	}, func(sdk.Progress) {})
	fmt.Println(changes.Load())
	return err
}

// hookAll puts a hook before all changes that the backend makes.
func (b *backend) hookAll(hook func(operation, name string) error) {
	b.fs, b.hook = &hookFS{FS: vfs.Default, hook: hook}, hook
}

// helper is another process with a store.
type helper struct {
	cmd   *exec.Cmd
	stdin interface{ Close() error }
}

// start runs the helper and waits until it says that it is ready.
func start(t *testing.T, role, store string) *helper {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+role, envStore+"="+store)
	cmd.Stderr = os.Stderr
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
	h := &helper{cmd: cmd, stdin: stdin}
	t.Cleanup(h.kill)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("helper %s said %q: %v", role, line, err)
	}
	return h
}

func (h *helper) kill() {
	_ = h.cmd.Process.Kill() // may have ended
	_ = h.cmd.Wait()
}

// release lets a holder close the store and end.
func (h *helper) release(t *testing.T) {
	t.Helper()
	if err := h.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// hookFS calls hook before each change of the file system, and lets it fail.
type hookFS struct {
	vfs.FS
	hook func(operation, name string) error
	// garble may change what is written; nil for no change.
	garble func(name string, p []byte)
}

func (f *hookFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.hook("create", name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return &hookFile{File: file, fs: f, name: name}, nil
}

func (f *hookFS) Link(from, to string) error {
	if err := f.hook("link", to); err != nil {
		return err
	}
	return f.FS.Link(from, to)
}

func (f *hookFS) Remove(name string) error {
	if err := f.hook("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *hookFS) Rename(from, to string) error {
	if err := f.hook("rename", to); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

type hookFile struct {
	vfs.File
	fs   *hookFS
	name string
}

func (f *hookFile) Write(p []byte) (int, error) {
	if err := f.fs.hook("write", f.name); err != nil {
		return 0, err
	}
	if f.fs.garble != nil {
		f.fs.garble(f.name, p)
	}
	return f.File.Write(p)
}

func (f *hookFile) Sync() error {
	if err := f.fs.hook("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}
