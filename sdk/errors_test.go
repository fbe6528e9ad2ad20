package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestErrorf(t *testing.T) {
	err := error(Errorf(ErrBusy, "open a.db: %w", io.ErrUnexpectedEOF).WithHint("wait for %d", 7))
	wrapped := fmt.Errorf("compact a: %w", err)
	if !errors.Is(wrapped, ErrBusy) || !errors.Is(wrapped, io.ErrUnexpectedEOF) || errors.Is(wrapped, ErrCorrupt) {
		t.Error("kind and cause are not reachable")
	}
	if wrapped.Error() != "compact a: open a.db: unexpected EOF" || HintOf(wrapped) != "wait for 7" {
		t.Errorf("%q, hint %q", wrapped, HintOf(wrapped))
	}
	both := Errorf(ErrCorrupt, "%w and %w", io.EOF, io.ErrClosedPipe)
	if !errors.Is(both, io.EOF) || !errors.Is(both, io.ErrClosedPipe) {
		t.Error("two causes are not reachable")
	}
	if HintOf(io.EOF) != "" || HintOf(nil) != "" {
		t.Error("an error without hint has one")
	}
}

func TestRetryable(t *testing.T) {
	for _, kind := range Kinds() {
		want := errors.Is(kind, ErrBusy) || errors.Is(kind, ErrNoSpace) || errors.Is(kind, ErrConnection)
		if got := Retryable(Errorf(kind, "x")); got != want {
			t.Errorf("%v is retryable: %v", kind, got)
		}
	}
	if Retryable(nil) || Retryable(context.Canceled) || !Retryable(io.EOF) {
		t.Error("nothing failed, cancelled or unknown")
	}
}

func TestTyped(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		kind error
		hint string // part of it
	}{
		{"missing", t.Context(), &fs.PathError{Op: "open", Path: "/a", Err: syscall.ENOENT}, ErrNotFound, "check the path"},
		{"not a directory", t.Context(), &fs.PathError{Op: "open", Path: "/a/b", Err: syscall.ENOTDIR}, ErrNotFound, "check the path"},
		{"access", t.Context(), &fs.PathError{Op: "open", Path: "/a", Err: syscall.EACCES}, ErrPermission, fmt.Sprintf("user %d", os.Geteuid())},
		{"not permitted", t.Context(), syscall.EPERM, ErrPermission, "owner and mode"},
		{"read-only", t.Context(), syscall.EROFS, ErrPermission, "mount it so that it can"},
		{"no space", t.Context(), &fs.PathError{Op: "write", Path: "/a", Err: syscall.ENOSPC}, ErrNoSpace, "free space"},
		{"quota", t.Context(), syscall.EDQUOT, ErrNoSpace, "quota"},
		{"cancelled", over, fmt.Errorf("copy: %w", context.Canceled), ErrCancelled, ""},
		{"a deadline of its own", t.Context(), context.DeadlineExceeded, ErrInternal, ""},
		{"failure while cancelled", over, io.ErrUnexpectedEOF, ErrInternal, ""},
		{"odd", t.Context(), io.ErrUnexpectedEOF, ErrInternal, ""},
		{"bare sentinel", t.Context(), fmt.Errorf("lock: %w", ErrBusy), ErrBusy, ""},
		{"wrapped", t.Context(), fmt.Errorf("lock: %w", Errorf(ErrCorrupt, "x").WithHint("y")), ErrCorrupt, "y"},
		{"kind of nobody's", t.Context(), &Error{Kind: io.EOF, Message: "x", Hint: "y"}, ErrInternal, "y"},
		{"no kind", t.Context(), &Error{Message: "x"}, ErrInternal, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := typed(c.ctx, "do it", c.err)
			if !errors.Is(got, c.kind) || !errors.Is(got.Kind, c.kind) {
				t.Errorf("kind = %v, want %v", got.Kind, c.kind)
			}
			if !strings.Contains(got.Hint, c.hint) {
				t.Errorf("hint = %q, want %q", got.Hint, c.hint)
			}
			if !errors.Is(c.kind, ErrCancelled) && !strings.Contains(got.Message, c.err.Error()) {
				t.Errorf("message = %q", got.Message)
			}
		})
	}
	if got := typed(t.Context(), "x", context.DeadlineExceeded); IsCancelled(got) || !got.Retryable {
		t.Errorf("a deadline of the backend's own: %+v", got)
	}
	same := Errorf(ErrBusy, "x")
	if typed(t.Context(), "y", same) != same {
		t.Error("an Error of a known kind is changed")
	}
}

func TestCancelledSaysWhy(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the window has closed"))
	err := cancelled(ctx, "compact a")
	if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) && !IsCancelled(err) {
		t.Errorf("err = %v", err)
	}
	if !strings.Contains(err.Error(), "the window has closed") {
		t.Errorf("err = %v", err)
	}
}

func TestStatusThereAndBack(t *testing.T) {
	seen := make(map[codes.Code]bool)
	for _, w := range wireKinds() {
		for _, retryable := range []bool{true, false} {
			err := Errorf(w.kind, "message")
			err.Hint, err.Retryable = "hint", retryable
			wire := toStatus(fmt.Errorf("call: %w", err))
			if status.Code(wire) != w.code {
				t.Errorf("%v travels as %v, not %v", w.kind, status.Code(wire), w.code)
			}
			back := fromStatus(t.Context(), "doing", "peer", wire, nil)
			if !errors.Is(back.Kind, w.kind) || back.Message != "call: message" || back.Hint != "hint" {
				t.Errorf("%v comes back as %+v", w.kind, back)
			}
			if !errors.Is(w.kind, ErrCancelled) && back.Retryable != retryable {
				t.Errorf("%v comes back retryable: %v", w.kind, back.Retryable)
			}
		}
		if seen[w.code] {
			t.Errorf("code %v stands for two kinds", w.code)
		}
		seen[w.code] = true
	}
	if toStatus(nil) != nil {
		t.Error("no error is one on the wire")
	}
}

func TestStatusWithoutDetail(t *testing.T) {
	for _, c := range []struct {
		code    codes.Code
		message string
		kind    error
		say     string
	}{
		{codes.Unavailable, "error reading from server: EOF", ErrConnection, "connection to peer lost"},
		{codes.Canceled, "grpc: the client connection is closing", ErrConnection, "connection to peer lost"},
		{codes.Canceled, "stopped", ErrCancelled, "stopped"},
		{codes.Unimplemented, "unknown method Sweep", ErrUnsupported, "does not know this call"},
		{codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)", ErrInternal, "at most 4.0 MiB"},
		{codes.ResourceExhausted, "disk full", ErrNoSpace, "disk full"},
		{codes.DataLoss, "bad page", ErrCorrupt, "bad page"},
		{codes.Unknown, "boom", ErrInternal, "boom"},
		{codes.Code(99), "later", ErrInternal, "later"},
	} {
		err := fromStatus(t.Context(), "doing", "peer", status.Error(c.code, c.message), nil)
		if !errors.Is(err.Kind, c.kind) || !strings.Contains(err.Message, c.say) {
			t.Errorf("%v %q comes as %v: %q", c.code, c.message, err.Kind, err.Message)
		}
	}
}

func TestStatusIsBounded(t *testing.T) {
	err := Errorf(ErrCorrupt, "%s\xff", strings.Repeat("é", 1<<20)).WithHint("%s", strings.Repeat("h", 1<<20))
	back := fromStatus(t.Context(), "doing", "peer", toStatus(err), nil)
	if len(back.Message) > maxErrorMessage || len(back.Hint) > maxErrorHint || !strings.HasSuffix(back.Message, "é…") {
		t.Errorf("message of %d bytes ending in %q, hint of %d", len(back.Message), back.Message[len(back.Message)-8:], len(back.Hint))
	}
	if !errors.Is(back.Kind, ErrCorrupt) {
		t.Errorf("kind = %v", back.Kind)
	}
}
