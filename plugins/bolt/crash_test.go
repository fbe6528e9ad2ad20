package bolt

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// Killed at any step, a compaction leaves a whole store, and at most a temp
// that a sweep removes.
func TestKilledAtEachStep(t *testing.T) {
	for _, test := range []struct {
		at    string // a step of the replacement, or a phase in its middle
		temp  bool   // one is left
		swept bool   // the new file is in place
	}{
		{phaseCheck, false, false},
		{string(replace.StepTempCreated), true, false},
		{phaseCopy, true, false},
		{string(replace.StepWritten), true, false},
		{string(replace.StepSynced), true, false},
		{phaseVerify, true, false},
		{string(replace.StepVerified), true, false},
		{string(replace.StepRenamed), false, true},
		{string(replace.StepDirSynced), false, true},
		{string(replace.StepPoisoned), false, true},
		{string(replace.StepReleased), false, true},
	} {
		t.Run(test.at, func(t *testing.T) {
			path := generate(t, fragmented())
			want := digestOf(t, path)
			was := state(t, path)
			said, err := start(t, "compact "+test.at, path, 0).end()
			if !wasKilled(err) {
				t.Fatalf("the compaction ended with %v, said %q: it was to be killed", err, said)
			}
			temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
			if err != nil {
				t.Fatal(err)
			}
			if left := len(temps) > 0; left != test.temp {
				t.Errorf("left were %q, want a temp: %v", temps, test.temp)
			}
			if unchanged := state(t, path) == was; unchanged == test.swept {
				t.Errorf("the store is the old one: %v, want %v", unchanged, !test.swept)
			}
			if got := digestOf(t, path); got != want { // and Check is clean
				t.Errorf("the content has the digest %s, had %s", got, want)
			}
			removed, err := newBackend().Sweep(context.Background(), sdk.Store{Path: path})
			if err != nil || len(removed) != len(temps) {
				t.Errorf("swept %q of %q, error %v", removed, temps, err)
			}
			onlyTheStore(t, path)
			if result := compact(t, path); result.NoOp != test.swept {
				t.Errorf("the next compaction was a no-op: %v", result.NoOp)
			}
		})
	}
}

func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// A mapped file that is cut short faults where it is read.
func TestFaultIsAnError(t *testing.T) {
	path := generate(t, fragmented())
	s, err := newBackend().openSource(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.openDB(atOnce); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	err = s.walk(discard{})
	if !errors.Is(err, sdk.ErrCorrupt) || sdk.HintOf(err) == "" {
		t.Errorf("error %v (hint %q), want ErrCorrupt", err, sdk.HintOf(err))
	}
}

type discard struct{}

func (discard) Enter([]byte, uint64) error { return nil }
func (discard) Leave() error               { return nil }
func (discard) Put([]byte, []byte) error   { return nil }
