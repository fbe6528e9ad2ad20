package engine

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

// ReadError gives an error from reading a store its kind: where the operating
// system is not to blame, the content is.
func ReadError(doing, path string, err error) *sdk.Error {
	if known := knownError(doing, path, err); known != nil {
		return known
	}
	return sdk.Errorf(sdk.ErrCorrupt, "%s %s: %s", doing, path, FirstLine(err)).
		WithHint("restore the store from a backup; the pebble tool's `db check` tells more")
}

// WorkError gives an error from compacting a store its kind.
func WorkError(doing, path string, err error) *sdk.Error {
	if known := knownError(doing, path, err); known != nil {
		return known
	}
	if pebbledb.IsCorruptionError(err) {
		return ReadError(doing, path, err)
	}
	return sdk.Errorf(sdk.ErrInternal, "%s %s: %w", doing, path, err)
}

// knownError returns nil where the error has no kind of its own.
func knownError(doing, path string, err error) *sdk.Error {
	var typed *sdk.Error
	switch {
	case errors.As(err, &typed):
		return typed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.Errorf(sdk.ErrCancelled, "%s %s: %w", doing, path, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sdk.Errorf(sdk.ErrNoSpace, "%s %s: %s", doing, path, FirstLine(err)).
			WithHint("free space on the store's file system")
	case errors.Is(err, fs.ErrPermission):
		return sdk.Errorf(sdk.ErrPermission, "%s %s: %s", doing, path, FirstLine(err)).
			WithHint("run as the user that owns the store")
	case errors.Is(err, syscall.EROFS):
		return sdk.Errorf(sdk.ErrPermission, "%s %s: %s", doing, path, FirstLine(err)).
			WithHint("the store's file system cannot be written to: mount it so that it can, and look at the system's log if it was")
	case errors.Is(err, syscall.EIO):
		return sdk.Errorf(sdk.ErrInternal, "%s %s: %s", doing, path, FirstLine(err)).
			WithHint("the disk fails to read or to write: look at its health and at the system's log")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		full := sdk.Errorf(sdk.ErrInternal, "%s %s: %s", doing, path, FirstLine(err)).
			WithHint("too many files are open; raise the limit (`ulimit -n`) or try again later")
		full.Retryable = true
		return full
	}
	return nil
}

// FirstLine keeps a list of a thousand missing tables from filling the screen.
func FirstLine(err error) string {
	line, _, more := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if more {
		line += " (and more)"
	}
	return line
}
