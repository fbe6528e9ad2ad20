// Package replace puts a new file in the place of one that other processes may
// know of, so that a crash at any moment leaves the old file or the new one
// whole, and a process that waits for the old one's lock learns that it is
// gone.
package replace

import (
	"bytes"
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

// Resolve follows symbolic links to the file itself. The error is of kind
// ErrUnfit, for what is no regular file, or the operating system's.
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
	}
	return resolved, nil
}

// Fit makes sure that a rename can put another file in the place of the one at
// path, which is resolved. The error is of kind ErrUnfit or the operating
// system's.
func Fit(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case links(info) > 1:
		return fmt.Errorf("the file has %d hard links: %w", links(info), ErrUnfit)
	case isMountPoint(path):
		return fmt.Errorf("the file is a mount point of its own: %w", ErrUnfit)
	}
	return nil
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

// Span is a part of a file, in bytes.
type Span struct{ Offset, Length int64 }

// Replacement is the swap of two files.
type Replacement struct {
	// Path of the store, resolved. Old is open there for writing and locked.
	Path string
	Old  *os.File
	// Temp is the new file beside it, written but not yet synced.
	Temp *Temp
	// Sync makes the new file durable, by Temp.Sync; nil for that alone.
	Sync func(ctx context.Context) error
	// Verify compares the new file with the old one.
	Verify func(ctx context.Context) error
	// Exchange swaps the files at two paths in one step; nil for the system's
	// call. Where its error is of kind errors.ErrUnsupported the new file is
	// renamed over the old one.
	Exchange func(a, b string) error
	// SyncDir makes a change of names durable; nil for fsync.
	SyncDir func(dir *os.File) error
	// Poison are the parts of the old file without which nobody opens it: see
	// State.
	Poison []Span
	// Release gives the old file's lock back.
	Release func() error
	// Hook hears of all that is done; nil in production.
	Hook Hook

	exchanged bool  // the old file has the temp's name
	unsynced  error // what kept the names from lasting
}

// Run makes the swap, by Prepare, Swap and Finish. When it fails before the swap the store is as it was and
// replaced is false; the temp is for the caller to discard. From then on the
// end of ctx no longer matters.
//
// The order is what makes it safe. The lock is held until after the swap, so
// nobody writes to the old file meanwhile; and the new file's until its name is
// sure to last, so nobody writes to a file that a power cut takes from the path
// again. The directory is synced before the
// old file is spoilt, so a crash cannot bring a spoilt file back. The old file
// is spoilt before its lock is given back, so that whoever waited for the lock
// finds no database and says so, where it would else have written into a file
// that is no longer the store. That holds for a directory that cannot be
// synced, too: what was lost then would be lost now and silently, and not only
// by a power cut and loudly.
//
// A kill between the swap and the spoiling lets go of the lock too early.
// Whoever waited then writes to the old file. Where files can be exchanged that
// has the temp's name meanwhile, so what was written is there, and Sweep says
// so. Where they cannot, it is lost.
func (r *Replacement) Run(ctx context.Context) (replaced bool, err error) {
	if err := r.Prepare(ctx); err != nil {
		return false, err
	}
	admit, err := r.Temp.Hold()
	if err != nil {
		return false, err
	}
	defer admit()
	if err := r.Swap(); err != nil {
		return false, err
	}
	admit()
	return true, r.Finish()
}

// Prepare does all that can be done before the swap.
func (r *Replacement) Prepare(ctx context.Context) error {
	sync := r.Sync
	if sync == nil {
		sync = func(context.Context) error { return r.Temp.Sync() }
	}
	if err := sync(ctx); err != nil {
		return fmt.Errorf("sync %s: %w", r.Temp.Path, err)
	}
	if err := r.Verify(ctx); err != nil {
		return err
	}
	// A directory that cannot be synced is better known now than afterwards.
	if err := r.syncDir(); err != nil {
		return err
	}
	if err := Same(r.Path, r.Old); err != nil {
		return err
	}
	return ctx.Err()
}

// Swap puts the new file in place and makes that last. When it fails the store
// is as it was. A directory that cannot be synced is no such failure, as there is
// no sure way back: Finish tells.
//
// The new file must be locked by then, until Swap has returned.
func (r *Replacement) Swap() (err error) {
	if r.exchanged, err = r.swap(); err != nil {
		return err
	}
	if r.unsynced = r.syncDir(); r.unsynced != nil {
		r.unsynced = r.syncDir()
	}
	return nil
}

// Finish spoils the old file, removes it and gives its lock back. Nobody may
// begin to read it any more.
func (r *Replacement) Finish() error {
	if err := errors.Join(r.unsynced, r.invalidate(r.unsynced != nil)); err != nil {
		// The temp's name may be all that the new file has after a crash.
		return errors.Join(err, r.release())
	}
	var kept error
	if r.exchanged && Same(r.Temp.Path, r.Old) == nil {
		kept = r.Hook.unlink(r.Temp.Path)
	}
	if err := r.release(); err != nil {
		return err
	}
	return kept
}

// swap puts the new file in place. When the files were exchanged the old one
// has the temp's name.
func (r *Replacement) swap() (exchanged bool, err error) {
	err = r.exchange()
	if errors.Is(err, errors.ErrUnsupported) {
		return false, r.unfit(r.Temp.gone(r.rename()))
	}
	if err != nil {
		return false, r.unfit(r.Temp.gone(err))
	}
	if err := Same(r.Temp.Path, r.Old); errors.Is(err, ErrChanged) {
		// Somebody put another file there in the last moment: it is theirs.
		return false, errors.Join(fmt.Errorf("%s: %w", r.Path, ErrChanged), r.exchange())
	}
	return true, nil
}

func (r *Replacement) exchange() error {
	swap := r.Exchange
	if swap == nil {
		swap = exchange
	}
	return r.Hook.Do(Op{Kind: OpExchange, Path: r.Temp.Path, To: r.Path}, func() error {
		return swap(r.Temp.Path, r.Path)
	})
}

func (r *Replacement) rename() error {
	return r.Hook.Do(Op{Kind: OpRename, Path: r.Temp.Path, To: r.Path}, func() error {
		return os.Rename(r.Temp.Path, r.Path)
	})
}

func (r *Replacement) unfit(err error) error {
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return fmt.Errorf("put the new file in place: %w", err)
	}
	return nil
}

// invalidate spoils the old file, unless it has a name beside the temp's. When
// it may get its name back, by a power cut, it must be found as it was or not
// open at all: see Hook.poison.
func (r *Replacement) invalidate(returns bool) error {
	info, err := r.Old.Stat()
	if err != nil {
		return fmt.Errorf("look at the old %s: %w", r.Path, err)
	}
	ours := uint64(0)
	if Same(r.Temp.Path, r.Old) == nil {
		ours = 1
	}
	if links(info) > ours {
		return nil
	}
	if err := r.Hook.poison(r.Old, r.Poison, returns); err != nil {
		return fmt.Errorf("invalidate the old %s: %w", r.Path, err)
	}
	return nil
}

// poison overwrites parts of a file, one after the other: see State. In order
// means that this is the order on the disk, too.
func (h Hook) poison(f *os.File, spans []Span, inOrder bool) error {
	var unsynced error
	for i, span := range spans {
		if i > 0 && inOrder {
			// Whoever waits for the lock comes first: what fails here is told
			// when the rest is spoilt.
			unsynced = errors.Join(unsynced, h.Do(Op{Kind: OpSyncOld, Path: f.Name()}, f.Sync))
		}
		spoilt := bytes.Repeat([]byte{0xFF}, int(span.Length))
		if err := h.Do(Op{Kind: OpPoison, Path: f.Name(), Offset: span.Offset, Data: spoilt}, func() error {
			_, err := f.WriteAt(spoilt, span.Offset)
			return err
		}); err != nil {
			return errors.Join(unsynced, err)
		}
	}
	return unsynced
}

func (r *Replacement) syncDir() error {
	sync := r.SyncDir
	if sync == nil {
		sync = (*os.File).Sync
	}
	if err := r.Hook.Do(Op{Kind: OpSyncDir, Path: r.Path}, func() error { return sync(r.Temp.dir) }); err != nil {
		return fmt.Errorf("sync directory of %s: %w", r.Path, err)
	}
	return nil
}

func (r *Replacement) release() error {
	if err := r.Hook.Do(Op{Kind: OpRelease, Path: r.Path}, r.Release); err != nil {
		return fmt.Errorf("release the lock of the old %s: %w", r.Path, err)
	}
	return nil
}
