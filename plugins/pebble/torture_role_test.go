package pebble

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/sdk"
)

// envStrike is what roleTorture meets, in JSON.
const envStrike = "PEBBLE_TEST_STRIKE"

// patience is how long anything may take that is to end by itself.
const patience = 90 * time.Second

// strike is what a compaction in another process meets, at one of its operations.
type strike struct {
	// At counts the operations from 1.
	At int
	// Reads are counted, and not what changes something.
	Reads bool
	// Mode of the compaction; "" for a measurement.
	Mode string
	// Kill ends the process.
	Kill moment `json:",omitempty"`
	// Errno fails the operation, and with Lasts each later one.
	Errno syscall.Errno `json:",omitempty"`
	Lasts bool          `json:",omitempty"`
	// Share of the data that is written before, where the operation is a write.
	Share float64 `json:",omitempty"`
}

// moment of a kill.
type moment string

const (
	killBefore moment = "before"
	killWithin moment = "within" // once a part is written
	killAfter  moment = "after"
)

// counts says whether an operation has a number.
func (s strike) counts(op faultfs.Op) bool {
	switch {
	case s.Reads:
		return op.Reads()
	case s.Kill != "":
		return op.Changes()
	default:
		return !op.Reads()
	}
}

// account is what the process tells of itself: Met at once, and all in the end,
// unless it is killed.
type account struct {
	Met     string // the operation that was struck at; "" when it did not come to it
	Failure failed // of the first call
	// After is another compaction in the same process, and Measured a measurement,
	// both with nothing in the way any more.
	After, Measured failed
}

// failed is an error, or "".
type failed struct {
	Message, Hint string
	Kinds         []string
}

func asFailed(err error) failed {
	if err == nil {
		return failed{}
	}
	f := failed{Message: err.Error(), Hint: sdk.HintOf(err)}
	for _, kind := range []error{
		sdk.ErrBusy, sdk.ErrNotFound, sdk.ErrCorrupt, sdk.ErrNoSpace, sdk.ErrPermission, sdk.ErrUnsupported,
		sdk.ErrInvalidOption, sdk.ErrCancelled, sdk.ErrInternal, sdk.ErrConnection,
	} {
		if errors.Is(err, kind) {
			f.Kinds = append(f.Kinds, kind.Error())
		}
	}
	return f
}

// is says whether it is of that kind alone.
func (f failed) is(kind error) bool { return len(f.Kinds) == 1 && f.Kinds[0] == kind.Error() }

// stuck says whether the process has to end before the store is free.
func (f failed) stuck() bool { return strings.Contains(f.Hint, endProcess) }

// playTorture works on a store and meets a strike, in a process of its own.
func playTorture(store string) error {
	var s strike
	if err := json.Unmarshal([]byte(os.Getenv(envStrike)), &s); err != nil {
		return err
	}
	tell := json.NewEncoder(os.Stdout)
	var a account
	var mu sync.Mutex
	counted, lifted := 0, false
	b := backendOn(func(op faultfs.Op, do func() error) error {
		if !s.counts(op) {
			return do()
		}
		mu.Lock()
		counted++
		here, later := counted == s.At && !lifted, counted > s.At && !lifted
		if here {
			a.Met = op.String()
			_ = tell.Encode(a)
		}
		mu.Unlock()
		switch {
		case here && s.Kill != "":
			return s.kill(op, do)
		case here, later && s.Lasts:
			return s.fail(op)
		}
		return do()
	})
	var err error
	if s.Mode == "" {
		err = measureAt(b, store)
	} else {
		_, err = compactAt(b, store, s.Mode)
	}
	mu.Lock()
	a.Failure, lifted = asFailed(err), true
	mu.Unlock()
	a.Measured = asFailed(measureAt(b, store))
	_, err = compactAt(b, store, s.Mode)
	a.After = asFailed(err)
	mu.Lock()
	defer mu.Unlock()
	return tell.Encode(a)
}

// backendOn is the backend as a plugin serves it, on a file system that is watched,
// and with small steps.
func backendOn(around faultfs.Around) sdk.Backend {
	b := newBackend(Config{})
	b.stepBytes, b.joinedBytes = 32<<10, 32<<10
	b.fs = faultfs.New(vfs.Default, around)
	b.hook = func(operation, name string) error {
		op := faultfs.Op{Kind: faultfs.Other, Name: filepath.Join(filepath.Dir(name), operation+" "+filepath.Base(name))}
		return around(op, func() error { return nil }) // it is done next
	}
	return sdk.Guard(b)
}

func compactAt(b sdk.Backend, store, mode string) (sdk.CompactResult, error) {
	return b.Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Path: store}, Mode: mode}, func(sdk.Progress) {})
}

func measureAt(b sdk.Backend, store string) error {
	_, err := b.Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: store}, Depth: sdk.DepthExact})
	return err
}

// kill ends the process without a word. Others of its operations may be done until
// the signal arrives, as always.
func (s strike) kill(op faultfs.Op, do func() error) error {
	var err error
	switch s.Kill {
	case killWithin:
		err = s.writePart(op)
	case killAfter:
		err = do()
	case killBefore:
	}
	return errors.Join(err, syscall.Kill(os.Getpid(), syscall.SIGKILL))
}

func (s strike) fail(op faultfs.Op) error {
	if err := s.writePart(op); err != nil {
		return err
	}
	return &fs.PathError{Op: string(op.Kind), Path: op.Name, Err: s.Errno}
}

func (s strike) writePart(op faultfs.Op) error {
	if op.Kind != faultfs.Write || s.Share == 0 {
		return nil
	}
	return op.WritePart(int(s.Share * float64(len(op.Data))))
}

// errNotMet is a process that ended before it came to the operation.
var errNotMet = errors.New("it did not come to the operation")

// meet lets another process meet a strike, and returns what it says. The error is
// errNotMet where it ended well without.
func (s strike) meet(path string) (a account, err error) {
	text, err := json.Marshal(s)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+roleTorture, envStore+"="+path, envStrike+"="+string(text))
	// One that hangs is made to say where.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }, patience
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	accounts := json.NewDecoder(&stdout)
	for accounts.More() {
		if err := accounts.Decode(&a); err != nil {
			return a, err
		}
	}
	switch {
	case ctx.Err() != nil:
		return a, fmt.Errorf("at %q: it hangs: %s", a.Met, &stderr)
	case stderr.Len() > 0:
		return a, fmt.Errorf("at %q: it ended with %w and said: %s", a.Met, err, &stderr)
	case a.Met != "" && s.Kill != "" && !killed(err):
		return a, fmt.Errorf("at %q: it ended with %w, and not by the signal", a.Met, err)
	case err != nil && !killed(err):
		return a, err
	case a.Met == "":
		return a, errNotMet
	}
	return a, nil
}

// killed says whether a process ended by SIGKILL.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
