package sdk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// What went wrong, as far as a program decides on it. Test with errors.Is;
// make one with Errorf. Each survives the wire in both directions.
var (
	// ErrBusy: somebody else holds the store.
	ErrBusy = errors.New("store is busy")
	// ErrNotFound: there is no store at the path, or the owner has none by the name.
	ErrNotFound = errors.New("store not found")
	// ErrCorrupt: the store is damaged, or no store of this engine.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrNoSpace: not enough space to compact.
	ErrNoSpace = errors.New("not enough space")
	// ErrUnsupported: the backend cannot do this, or not to this store.
	ErrUnsupported = errors.New("not supported")
	// ErrInvalidOption: an option, mode or limit is wrong.
	ErrInvalidOption = errors.New("invalid option")
	// ErrCancelled: the call was cancelled, and the content is as before.
	ErrCancelled = errors.New("cancelled")
	// ErrPermission: the operating system refuses access.
	ErrPermission = errors.New("permission denied")
	// ErrInternal: the backend failed in itself (a panic, a difference found by
	// verification).
	ErrInternal = errors.New("backend failed")
	// ErrProtocol: host and backend speak no common version of the protocol.
	ErrProtocol = errors.New("protocol mismatch")
	// ErrConnection: the connection was lost, and with it the outcome of the
	// call. Only clients return it; it has no code of its own.
	ErrConnection = errors.New("connection to backend lost")
)

// Error is an error of a known kind with advice for the person who reads it.
type Error struct {
	// Kind is one of the sentinels above.
	Kind error
	// Message says what failed on what: "open /data/a.db: locked by process 12".
	Message string
	// Hint says what the person can do; may be empty.
	Hint string
	// Retryable is set when the same call may succeed a little later.
	Retryable bool

	cause error
}

// Errorf makes an Error of a kind. Busy, space and connection errors start out
// retryable. A cause given with %w stays reachable by errors.Is and As.
func Errorf(kind error, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{
		Kind:      kind,
		Message:   err.Error(),
		Retryable: errors.Is(kind, ErrBusy) || errors.Is(kind, ErrNoSpace) || errors.Is(kind, ErrConnection),
		cause:     err,
	}
}

// WithHint adds advice and returns the error.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the kind and the cause, as far as they are known.
func (e *Error) Unwrap() []error {
	var chain []error
	if e.Kind != nil {
		chain = append(chain, e.Kind)
	}
	if e.cause != nil {
		chain = append(chain, e.cause)
	}
	return chain
}

// HintOf returns the advice that err carries, or "".
func HintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// Retryable says whether the call that returned err may succeed a little later.
// An error of no known kind may: what failed is not known to be lasting.
func Retryable(err error) bool {
	if err == nil || IsCancelled(err) {
		return false
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Retryable
	}
	return true
}

// IsCancelled says whether err is the end of a context or ErrCancelled.
func IsCancelled(err error) bool {
	return errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Kinds lists the sentinels, for programs that carry errors elsewhere.
func Kinds() []error {
	return []error{
		ErrBusy, ErrNotFound, ErrCorrupt, ErrNoSpace, ErrUnsupported, ErrInvalidOption,
		ErrCancelled, ErrPermission, ErrInternal, ErrProtocol, ErrConnection,
	}
}

// KindOf returns the sentinel that err is, the outermost Error deciding, or nil.
func KindOf(err error) error {
	var e *Error
	if errors.As(err, &e) {
		if slices.Contains(Kinds(), e.Kind) {
			return e.Kind
		}
		return nil
	}
	for _, kind := range Kinds() {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

func isKind(err, kind error) bool {
	return errors.Is(KindOf(err), kind)
}

// typed gives an error of a backend a kind. An error that tells nothing is the
// backend's own failure, and may pass.
func typed(ctx context.Context, doing string, err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		if same, ok := err.(*Error); ok && isKind(err, same.Kind) && same.Kind != nil { //nolint:errorlint // is it the outermost?
			return same
		}
		kind := KindOf(err)
		if kind == nil {
			kind = ErrInternal
		}
		return &Error{Kind: kind, Message: err.Error(), Hint: known.Hint, Retryable: known.Retryable, cause: err}
	}
	if kind := KindOf(err); kind != nil {
		return Errorf(kind, "%w", err)
	}
	switch {
	case ctx.Err() != nil && IsCancelled(err):
		return cancelled(ctx, doing)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Errorf(ErrNoSpace, "%s: %w", doing, err).WithHint("free space on that file system or raise the quota")
	case errors.Is(err, syscall.EROFS):
		return Errorf(ErrPermission, "%s: %w", doing, err).
			WithHint("the file system cannot be written to: mount it so that it can, and look at the system's log if it was")
	case errors.Is(err, fs.ErrPermission):
		return Errorf(ErrPermission, "%s: %w", doing, err).
			WithHint("user %d needs access: look at owner and mode of the file and its directories", os.Geteuid())
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return Errorf(ErrNotFound, "%s: %w", doing, err).WithHint("check the path")
	}
	// The cause is kept as text only: a deadline of the backend's own is no
	// cancellation by the caller.
	e := Errorf(ErrInternal, "%s: %v", doing, err)
	e.Retryable = true
	return e
}

// cancelled is the end of ctx as an error that says why it ended.
func cancelled(ctx context.Context, doing string) *Error {
	e := Errorf(ErrCancelled, "%s: %w", doing, ctx.Err())
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
		e = Errorf(ErrCancelled, "%s: %v: %w", doing, ctx.Err(), cause)
	}
	return e
}
