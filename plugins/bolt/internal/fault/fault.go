// Package fault gives the errors of the bolt backend their kinds and advice.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// HintCorrupt is for a store that cannot be read.
const HintCorrupt = "nothing was changed; look at it with `bbolt check FILE`, and restore it from a backup or see `bbolt surgery`"

// Explain gives an error its kind and advice. An error that has them, and nil,
// are returned as they are.
func Explain(doing string, err error) error {
	var typed *sdk.Error
	var damage *page.Error
	var number syscall.Errno
	_ = errors.As(err, &number)
	switch {
	case err == nil || errors.As(err, &typed):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.Errorf(sdk.ErrCancelled, "%s: %w", doing, err)
	case errors.As(err, &damage):
		return sdk.Errorf(sdk.ErrCorrupt, "%s: %w", doing, err).WithHint(HintCorrupt)
	case errors.Is(err, replace.ErrWritten):
		return sdk.Errorf(sdk.ErrInternal, "%s: %w", doing, err).
			WithHint("a process that waited for the store during a compaction that was killed wrote to the file named above, and the store has none of it; copy what it lacks, then remove the file")
	case errors.Is(err, replace.ErrForeign):
		return sdk.Errorf(sdk.ErrInternal, "%s: %w", doing, err).
			WithHint("decide which is the store: the file named above, or the one that lies at the path now, which was compacted from an older one; then move it into place, or remove it")
	case errors.Is(err, replace.ErrHeld):
		return sdk.Errorf(sdk.ErrBusy, "%s: %w", doing, err).
			WithHint("it waited for the store during a compaction that was killed, and what it writes goes to the file named above; stop it, and it finds the store when it starts again")
	case errors.Is(err, replace.ErrInvalid):
		return sdk.Errorf(sdk.ErrCorrupt, "%s: %w", doing, err).
			WithHint("nothing was removed: a file of a compaction that was killed may have the content still; look at a copy of it with `bbolt check`, or restore a backup")
	case errors.Is(err, page.ErrNoMeta):
		return sdk.Errorf(sdk.ErrCorrupt, "%s: %w: it is no bbolt file, or both its metas are broken", doing, err).WithHint(HintCorrupt)
	case errors.Is(err, probe.ErrMoving):
		busy := sdk.Errorf(sdk.ErrBusy, "%s: %w", doing, err)
		return busy.WithHint("try again when there is less to write; a smaller depth (exact, sampled, quick) reads less at a time")
	case errors.Is(err, replace.ErrChanged):
		return sdk.Errorf(sdk.ErrBusy, "%s: %w", doing, err).WithHint("somebody else puts files in its place; try again when that is done")
	case errors.Is(err, replace.ErrGone):
		gone := sdk.Errorf(sdk.ErrInternal, "%s: %w", doing, err).
			WithHint("the store is as it was; find what removes files beside it, such as a job that cleans up, and try again")
		gone.Retryable = true
		return gone
	case errors.Is(err, replace.ErrUnfit):
		return sdk.Errorf(sdk.ErrUnsupported, "%s: %w", doing, err).
			WithHint("compaction renames a new file over the old one: the store must be a regular file with one name, in a directory that is mounted as a whole; mode \"punch\" needs none of this")
	case number == syscall.ENAMETOOLONG:
		return sdk.Errorf(sdk.ErrUnsupported, "%s: %w", doing, err).WithHint("compaction creates a file with a longer name beside the store; give the store a shorter one")
	case errors.Is(err, fs.ErrNotExist):
		return sdk.Errorf(sdk.ErrNotFound, "%s: %w", doing, err).WithHint("check the path; nothing was created")
	case number == syscall.ENOSPC || number == syscall.EDQUOT:
		return sdk.Errorf(sdk.ErrNoSpace, "%s: %w", doing, err).WithHint("the store is as it was; free some space where it lies and try again")
	case errors.Is(err, fs.ErrPermission), number == syscall.EROFS:
		return sdk.Errorf(sdk.ErrPermission, "%s: %w", doing, err).
			WithHint("compaction needs to read and write the file, to read its directory and to create files in it, with the file's own owner")
	case number == syscall.EIO:
		return sdk.Errorf(sdk.ErrInternal, "%s: %w", doing, err).WithHint("the disk fails to read or to write: look at its health and at the system's log")
	case number == syscall.EMFILE || number == syscall.ENFILE:
		full := sdk.Errorf(sdk.ErrInternal, "%s: %w", doing, err).WithHint("too many files are open; raise the limit (`ulimit -n`) or try again later")
		full.Retryable = true
		return full
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Contain runs code that reads mapped files, which faults where a file cannot be
// read: it has been cut short, or its disk is failing.
func Contain(doing string, call func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // the runtime's, of a fault
			err = sdk.Errorf(sdk.ErrCorrupt, "%s: a page cannot be read: the file has been cut short, or the disk is failing", doing).WithHint(HintCorrupt)
		default:
			// Perhaps in a goroutine where nobody else would catch it.
			err = sdk.Errorf(sdk.ErrInternal, "%s: panic: %v\n%s", doing, p, debug.Stack()).
				WithHint("the store is as it was; please report this")
		}
	}()
	return call()
}

// Unsound is what an audit of a new file finds.
func Unsound(path string, err error) error {
	var damage *page.Error
	if !errors.As(err, &damage) && !errors.Is(err, page.ErrNoMeta) {
		return err
	}
	return sdk.Errorf(sdk.ErrInternal, "compact %s: the new file is not sound: %w", path, err).
		WithHint("the store is as it was; please report this, with the output of `bbolt check FILE`")
}
