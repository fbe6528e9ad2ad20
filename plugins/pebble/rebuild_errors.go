package pebble

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
	"github.com/wringdb/wring/sdk"
)

// writeError is for what kept a copy from being written.
func writeError(path string, err error) error {
	e := engine.WorkError("rewrite", path, err)
	if errors.Is(e.Kind, sdk.ErrNoSpace) {
		return e.WithHint("free space on the store's file system; the store is as it was")
	}
	return e
}

// copyError is for a copy that is not what it should be: it goes, and the store stays.
func copyError(path string, err error) *sdk.Error {
	var errno syscall.Errno
	for _, kind := range []error{sdk.ErrCancelled, sdk.ErrNoSpace, sdk.ErrPermission} {
		if errors.Is(err, kind) {
			return engine.WorkError("verify", path, err)
		}
	}
	if errors.As(err, &errno) { // nothing is known of the copy
		return engine.WorkError("verify the copy of", path, err)
	}
	return sdk.Errorf(sdk.ErrInternal, "%s was written anew, and the copy is another: %s; the store itself is as it was", path, engine.FirstLine(err)).
		WithHint("check the machine's memory and disk; if they are sound please report it, and %s", useRanges)
}

// swapError is for what keeps a new directory from the store's place.
func swapError(path string, err error) *sdk.Error {
	switch {
	case errors.Is(err, swap.ErrUnfit):
		return sdk.Errorf(sdk.ErrUnsupported, "rewrite %s: %w", path, err).WithHint("%s", useRanges)
	case errors.Is(err, swap.ErrChanged):
		return sdk.Errorf(sdk.ErrBusy, "rewrite %s: %w", path, err).WithHint("find out who moves the directory about")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return sdk.Errorf(sdk.ErrPermission, "rewrite %s: %w", path, err).
			WithHint("user %d must be able to write to %s, or %s", os.Geteuid(), filepath.Dir(path), useRanges)
	}
	return engine.WorkError("rewrite", path, err)
}
