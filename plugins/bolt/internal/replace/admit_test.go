package replace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// Nobody can write to the new file before its name is sure to last.
func TestNewFileIsLockedUntilItsNameIsSynced(t *testing.T) {
	var path string
	free := func() bool {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return err == nil
	}
	swapped, syncs := false, 0
	r := hookedSwap(t, func(op replace.Op) error {
		switch op.Kind {
		case replace.OpExchange, replace.OpRename:
			swapped = swapped || path != "" && op.To == path
		case replace.OpSyncDir:
			if !swapped {
				return nil
			}
			if syncs++; syncs == 1 && free() {
				t.Error("the new file has no lock before its name is synced")
			}
		case replace.OpPoison:
			if !free() {
				t.Error("the new file is locked yet after its name was synced")
			}
		default:
		}
		return nil
	})
	path = r.Path
	if replaced, err := r.Run(context.Background()); err != nil || !replaced {
		t.Fatalf("replaced %v, error %v", replaced, err)
	}
	if syncs == 0 || !free() {
		t.Errorf("%d directory syncs after the swap; free in the end: %v", syncs, free())
	}
}

// A new file that was the store for a moment, until a power cut took its name
// back, stays if somebody wrote to it.
func TestSweepKeepsANewFileThatWasWrittenTo(t *testing.T) {
	for _, test := range []struct {
		content string
		kept    bool
	}{{"version 3", false}, {"version 4", true}, {"not whole", false}} {
		path := filepath.Join(t.TempDir(), "a.db")
		write(t, path, "version 2")
		unnamed := filepath.Join(filepath.Dir(path), "unnamed")
		write(t, unnamed, test.content)
		name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".a.db.wring-0123456789abcdef-1-2-%x.tmp", inodeOf(t, unnamed)))
		if err := os.Rename(unnamed, name); err != nil {
			t.Fatal(err)
		}
		removed, err := replace.Sweep(path, state, nil)
		if kept := len(removed) == 0 && errors.Is(err, replace.ErrWritten); kept != test.kept || !kept && err != nil {
			t.Errorf("%s: removed %q, error %v, want it kept: %v", test.content, removed, err, test.kept)
		}
		if _, err := os.Stat(name); (err == nil) != test.kept {
			t.Errorf("%s: the file: %v, want it kept: %v", test.content, err, test.kept)
		}
	}
}
