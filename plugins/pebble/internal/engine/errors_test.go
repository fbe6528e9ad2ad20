package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/wringdb/wring/sdk"
)

// TestErrorKinds gives errors of reading and of working their kinds. Only what the
// operating system is not to blame for is damage.
func TestErrorKinds(t *testing.T) {
	failed := func(errno syscall.Errno) error {
		return fmt.Errorf("pebble: %w", &fs.PathError{Op: "read", Path: "000007.sst", Err: errno})
	}
	for _, c := range []struct {
		err           error
		reads, works  error
		hint          string // of both
		retryableBoth bool
	}{
		{failed(syscall.ENOSPC), sdk.ErrNoSpace, sdk.ErrNoSpace, "free space", true},
		{failed(syscall.EDQUOT), sdk.ErrNoSpace, sdk.ErrNoSpace, "free space", true},
		{failed(syscall.EACCES), sdk.ErrPermission, sdk.ErrPermission, "run as the user", false},
		{failed(syscall.EROFS), sdk.ErrPermission, sdk.ErrPermission, "cannot be written to", false},
		{failed(syscall.EIO), sdk.ErrInternal, sdk.ErrInternal, "the disk fails", false},
		{failed(syscall.EMFILE), sdk.ErrInternal, sdk.ErrInternal, "too many files", true},
		{context.Canceled, sdk.ErrCancelled, sdk.ErrCancelled, "", false},
		{errors.New("checksum mismatch"), sdk.ErrCorrupt, sdk.ErrInternal, "", false},
		{sdk.Errorf(sdk.ErrBusy, "held").WithHint("wait"), sdk.ErrBusy, sdk.ErrBusy, "wait", true},
	} {
		for doing, pair := range map[string][2]error{"read": {ReadError("read", "/store", c.err), c.reads}, "compact": {WorkError("compact", "/store", c.err), c.works}} {
			got, want := pair[0], pair[1]
			if !errors.Is(got, want) || !strings.Contains(sdk.HintOf(got), c.hint) {
				t.Errorf("%s: %v: %v with hint %q, want %v with %q", doing, c.err, got, sdk.HintOf(got), want, c.hint)
			}
			if sdk.Retryable(got) != c.retryableBoth {
				t.Errorf("%s: %v: retryable %v", doing, c.err, sdk.Retryable(got))
			}
		}
	}
}
