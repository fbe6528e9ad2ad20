// Package replace puts a new file in the place of one that other processes may
// know of, so that a crash at any moment leaves the old file or the new one
// whole, and a process that waits for the old one's lock learns that it is
// gone.
package replace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnfit says that no rename can put another file at the path.
var ErrUnfit = errors.New("cannot be replaced")

// ErrChanged says that another file lies at the path now.
var ErrChanged = errors.New("was replaced by somebody else")

// Resolve follows symbolic links to the file itself and makes sure that a
// rename can put another one in its place. The error is of kind ErrUnfit or
// the operating system's.
func Resolve(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(resolved)
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return "", fmt.Errorf("%s is a directory: %w", resolved, ErrUnfit)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no regular file: %w", resolved, ErrUnfit)
	case links(info) > 1:
		return "", fmt.Errorf("%s has %d hard links: %w", resolved, links(info), ErrUnfit)
	case isMountPoint(resolved):
		return "", fmt.Errorf("%s is a mount point of its own: %w", resolved, ErrUnfit)
	}
	return resolved, nil
}

func links(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink) //nolint:unconvert // the type differs between systems
	}
	return 1
}

// Same makes sure that path still leads to the open file. The error is of kind
// ErrChanged or the operating system's.
func Same(path string, f *os.File) error {
	open, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(open, now) {
		return fmt.Errorf("%s: %w", path, ErrChanged)
	}
	return nil
}

// Step names a moment of a replacement, for tests that crash there.
type Step string

// The steps in order. Until StepRenamed the old file is the store.
const (
	StepTempCreated Step = "temp_created"
	StepWritten     Step = "written"
	StepSynced      Step = "synced"
	StepVerified    Step = "verified"
	StepRenamed     Step = "renamed"
	StepDirSynced   Step = "dir_synced"
	StepPoisoned    Step = "poisoned"
	StepReleased    Step = "released"
)

// Span is a part of a file, in bytes.
type Span struct{ Offset, Length int64 }

// Replacement is the swap of two files.
type Replacement struct {
	// Path of the store, resolved. Old is open there for writing and locked.
	Path string
	Old  *os.File
	// Temp is the new file beside it, written but not yet synced.
	Temp *Temp
	// Sync makes the new file durable; nil for fsync.
	Sync func(ctx context.Context) error
	// Verify compares the new file with the old one.
	Verify func(ctx context.Context) error
	// SyncDir makes a change of names durable; nil for fsync.
	SyncDir func(dir *os.File) error
	// Poison are the parts of the old file without which nobody opens it.
	Poison []Span
	// Release gives the old file's lock back.
	Release func() error
	// Step is called at each step; nil in production.
	Step func(Step)
}

// Run makes the swap. When it fails before the rename the store is as it was
// and replaced is false; the temp is for the caller to discard. Once renamed,
// the end of ctx no longer matters.
//
// The order is what makes it safe. The lock is held until after the rename, so
// nobody writes to the old file meanwhile. The directory is synced before the
// old file is spoilt, so a crash cannot bring a spoilt file back. The old file
// is spoilt before its lock is given back, so that whoever waited for the lock
// finds no database and says so, where it would else have written into a file
// without a name. That holds for a directory that cannot be synced, too: what
// was lost then would be lost now and silently, and not only by a power cut
// and loudly. Only a kill between the rename and that, while somebody
// waits, lets go of the lock too early; both moments are a directory's sync
// apart.
func (r *Replacement) Run(ctx context.Context) (replaced bool, err error) {
	step := r.Step
	if step == nil {
		step = func(Step) {}
	}
	sync := r.Sync
	if sync == nil {
		sync = func(context.Context) error { return r.Temp.File.Sync() }
	}
	if err := sync(ctx); err != nil {
		return false, fmt.Errorf("sync %s: %w", r.Temp.Path, err)
	}
	step(StepSynced)
	if err := r.Verify(ctx); err != nil {
		return false, err
	}
	step(StepVerified)
	// A directory that cannot be synced is better known now than afterwards.
	if err := r.syncDir(); err != nil {
		return false, err
	}
	if err := Same(r.Path, r.Old); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := os.Rename(r.Temp.Path, r.Path); err != nil {
		if errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%w: %w", ErrUnfit, err)
		}
		return false, fmt.Errorf("put the new file in place: %w", err)
	}
	step(StepRenamed)
	unsynced := r.syncDir()
	if unsynced != nil {
		unsynced = r.syncDir()
	}
	step(StepDirSynced)
	if err := errors.Join(unsynced, r.poison()); err != nil {
		return true, errors.Join(err, r.Release())
	}
	step(StepPoisoned)
	if err := r.Release(); err != nil {
		return true, fmt.Errorf("release the lock of the old %s: %w", r.Path, err)
	}
	step(StepReleased)
	return true, nil
}

// poison makes the old file useless, if it has no name any more.
func (r *Replacement) poison() error {
	info, err := r.Old.Stat()
	if err != nil {
		return fmt.Errorf("look at the old %s: %w", r.Path, err)
	}
	if links(info) > 0 {
		return nil
	}
	for _, span := range r.Poison {
		junk := make([]byte, span.Length)
		for i := range junk {
			junk[i] = 0xFF
		}
		if _, err := r.Old.WriteAt(junk, span.Offset); err != nil {
			return fmt.Errorf("invalidate the old %s: %w", r.Path, err)
		}
	}
	return nil
}

func (r *Replacement) syncDir() error {
	sync := r.SyncDir
	if sync == nil {
		sync = (*os.File).Sync
	}
	if err := sync(r.Temp.dir); err != nil {
		return fmt.Errorf("sync directory of %s: %w", r.Path, err)
	}
	return nil
}
