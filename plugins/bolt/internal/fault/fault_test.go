package fault_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// What the operating system refuses gets a kind, and advice.
func TestExplainTheSystem(t *testing.T) {
	for _, test := range []struct {
		number    syscall.Errno
		kind      error
		retryable bool
	}{
		{syscall.ENOSPC, sdk.ErrNoSpace, true},
		{syscall.EDQUOT, sdk.ErrNoSpace, true},
		{syscall.EACCES, sdk.ErrPermission, false},
		{syscall.EROFS, sdk.ErrPermission, false},
		{syscall.ENOENT, sdk.ErrNotFound, false},
		{syscall.ENAMETOOLONG, sdk.ErrUnsupported, false},
		{syscall.EMFILE, sdk.ErrInternal, true},
		{syscall.ENFILE, sdk.ErrInternal, true},
		{syscall.EIO, sdk.ErrInternal, false},
	} {
		err := fault.Explain("compact a.db", &os.PathError{Op: "open", Path: "/data", Err: test.number})
		if !errors.Is(err, test.kind) || !errors.Is(err, test.number) || sdk.Retryable(err) != test.retryable {
			t.Errorf("%v: error %v, retryable: %v; want %v, %v", test.number, err, sdk.Retryable(err), test.kind, test.retryable)
		}
		if sdk.HintOf(err) == "" || !strings.HasPrefix(err.Error(), "compact a.db: open /data: ") {
			t.Errorf("%v: error %v, hint %q", test.number, err, sdk.HintOf(err))
		}
	}
}

// A new file that is away is no store that is away.
func TestExplainATempThatIsGone(t *testing.T) {
	err := fault.Explain("compact a.db", fmt.Errorf("put it in place: %w: %w", replace.ErrGone, os.ErrNotExist))
	if errors.Is(err, sdk.ErrNotFound) || !errors.Is(err, sdk.ErrInternal) || !sdk.Retryable(err) || !strings.Contains(sdk.HintOf(err), "as it was") {
		t.Errorf("error %v, hint %q, retryable: %v", err, sdk.HintOf(err), sdk.Retryable(err))
	}
}
