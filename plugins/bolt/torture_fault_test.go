//go:build linux

package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// failure is how the disk fails.
type failure struct {
	name string
	// error of the operation.
	errno syscall.Errno
	// lasts says that every later operation fails, too.
	lasts bool
	// short says that a part of what is to be written gets written.
	short bool
}

func (c *campaign) allFaults() []failure {
	faults := []failure{
		{"ENOSPC", unix.ENOSPC, false, false},
		{"EIO", unix.EIO, false, false},
		{"EDQUOT", unix.EDQUOT, false, false},
		{"ENOSPC from then on", unix.ENOSPC, true, false},
		{"EIO from then on", unix.EIO, true, false},
		{"EROFS from then on", unix.EROFS, true, false},
		{"a short write", unix.ENOSPC, false, true},
	}
	if !c.whole {
		return []failure{faults[0], faults[4], faults[6]}
	}
	return faults
}

// faults lets each operation fail in each way.
func (c *campaign) faults() {
	c.each(func(s *subject, mode string, ops []replace.Op) (cases []func()) {
		random := rand.New(rand.NewPCG(c.seed, 0))
		for _, at := range indices(len(ops), mostOperations, random) {
			for _, f := range c.allFaults() {
				if f.short && ops[at].Kind != replace.OpWrite {
					continue
				}
				kind := "fault: " + f.name
				name := fmt.Sprintf("%s, %s, at %d %s", s.name, mode, at, ops[at].Kind)
				cases = append(cases, func() {
					c.one(kind, name, func(dir string, random *rand.Rand) error { return c.fault(dir, s, mode, at, f, random) })
				})
			}
		}
		return cases
	})
}

func (c *campaign) fault(dir string, s *subject, mode string, at int, f failure, random *rand.Rand) error {
	path, err := s.put(dir)
	if err != nil {
		return err
	}
	var (
		done   atomic.Int64
		failed atomic.Bool
		met    struct {
			op      replace.Op
			swapped bool
		}
	)
	swapped := false
	err = compactHooked(path, mode, func(op replace.Op) error {
		n := int(done.Add(1)) - 1
		if n == at {
			failed.Store(true)
			met.op, met.swapped = op, swapped
		}
		if n == at && f.short {
			if err := writePart(op, random); err != nil {
				return err
			}
		}
		if n == at || n > at && f.lasts {
			return fmt.Errorf("%s %s: %w", op.Kind, op.Path, f.errno)
		}
		swapped = swapped || op.Kind == replace.OpExchange || op.Kind == replace.OpRename && op.To == path
		return nil
	})
	if !failed.Load() {
		return fmt.Errorf("it did not come to the operation; error %w", err)
	}
	if err := c.checkError(err, met.op, met.swapped, f); err != nil {
		return err
	}
	if err := c.checkStore(path, s, mode, met.swapped, f); err != nil {
		return err
	}
	return c.check(path, s)
}

// writePart writes the beginning of what is to be written.
func writePart(op replace.Op, random *rand.Rand) error {
	temp, err := os.OpenFile(op.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = temp.WriteAt(op.Data[:random.IntN(len(op.Data))], op.Offset)
	return errors.Join(err, temp.Close())
}

// checkError makes sure that what failed is said, in a kind that fits.
func (c *campaign) checkError(err error, op replace.Op, swapped bool, f failure) error {
	if err == nil {
		// What is tried again may succeed.
		if again := op.Kind == replace.OpSyncDir && swapped || op.Kind == replace.OpPunch && f.errno == unix.ENOSPC; again && !f.lasts {
			return nil
		}
		return errors.New("the fault made no error")
	}
	if !strings.Contains(err.Error(), f.errno.Error()) {
		return fmt.Errorf("the error does not say the fault: %w", err)
	}
	want := sdk.ErrInternal
	switch {
	case swapped:
	case f.errno == unix.EROFS:
		want = sdk.ErrPermission
	case f.errno != unix.EIO:
		want = sdk.ErrNoSpace
	}
	if !errors.Is(err, want) || !errors.Is(want, sdk.ErrInternal) && sdk.HintOf(err) == "" {
		return fmt.Errorf("the error is not of kind %w, or has no hint (%q): %w", want, sdk.HintOf(err), err)
	}
	return nil
}

// checkStore looks at the directory before anything is swept.
func (c *campaign) checkStore(path string, s *subject, mode string, swapped bool, f failure) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if same := slices.Equal(now, s.content); !swapped && mode != ModePunch && !same {
		return errors.New("the store has changed")
	} else if swapped && same {
		return errors.New("the new file is not in place")
	}
	if swapped || f.lasts {
		return nil // something may be left for a sweep
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) != 0 {
		return fmt.Errorf("left were %q, error %w", left, err)
	}
	return nil
}

// fullDisks lets a real file system be full, at one point or another.
func (c *campaign) fullDisks() {
	const kind = "a file system that is full"
	if os.Getuid() != 0 {
		bolttest.Skip(c.t, "only root can mount a file system")
	}
	disk := tmpfs(c.t, "128m")
	steps := 40
	if !c.whole {
		steps = 4
	}
	for _, s := range c.subjects {
		ops, err := c.operations(s, ModeRewrite)
		if err != nil || len(ops) == 0 {
			continue
		}
		for step := range steps {
			c.one(kind, fmt.Sprintf("%s, step %d", s.name, step), func(_ string, random *rand.Rand) error {
				return c.fullDisk(disk, s, kind, random)
			})
		}
	}
}

// fullDisk fills the disk up to a number of bytes, before a compaction begins or
// when it has just begun.
func (c *campaign) fullDisk(disk string, s *subject, kind string, random *rand.Rand) error {
	path, err := s.put(disk)
	if err != nil {
		return err
	}
	hog := filepath.Join(disk, "hog")
	defer func() { _ = os.Remove(hog); _ = os.Remove(path) }()
	room := random.Int64N(int64(len(s.content)) + 2*spare)
	fill := func() error {
		free, err := freeIn(disk)
		if err != nil {
			return err
		}
		return os.WriteFile(hog, make([]byte, max(0, free-room)), 0o600)
	}
	first := random.IntN(2) == 0
	if first {
		if err := fill(); err != nil {
			return err
		}
	}
	err = compactHooked(path, ModeRewrite, func(op replace.Op) error {
		if !first && op.Kind == replace.OpAttributes {
			return fill()
		}
		return nil
	})
	switch {
	case err == nil:
		c.note(kind, "had room")
	case !errors.Is(err, sdk.ErrNoSpace) || sdk.HintOf(err) == "":
		return fmt.Errorf("with %d bytes free: %w", room, err)
	default:
		c.note(kind, "had no room")
		if now, err := os.ReadFile(path); err != nil || !slices.Equal(now, s.content) {
			return fmt.Errorf("the store has changed, error %w", err)
		}
	}
	if err := os.Remove(hog); err != nil {
		return err
	}
	return c.check(path, s)
}

func freeIn(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
