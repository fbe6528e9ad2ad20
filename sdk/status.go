package sdk

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// wireKinds pairs each kind with its number and code on the wire, as the
// .proto says. ErrConnection is not among them: it is what a client says when
// nothing comes over the wire any more.
func wireKinds() []wireKind {
	return []wireKind{
		{ErrBusy, wringv1.ErrorKind_ERROR_KIND_BUSY, codes.Aborted},
		{ErrNotFound, wringv1.ErrorKind_ERROR_KIND_NOT_FOUND, codes.NotFound},
		{ErrCorrupt, wringv1.ErrorKind_ERROR_KIND_CORRUPT, codes.DataLoss},
		{ErrNoSpace, wringv1.ErrorKind_ERROR_KIND_NO_SPACE, codes.ResourceExhausted},
		{ErrUnsupported, wringv1.ErrorKind_ERROR_KIND_UNSUPPORTED, codes.Unimplemented},
		{ErrInvalidOption, wringv1.ErrorKind_ERROR_KIND_INVALID_OPTION, codes.InvalidArgument},
		{ErrCancelled, wringv1.ErrorKind_ERROR_KIND_CANCELLED, codes.Canceled},
		{ErrPermission, wringv1.ErrorKind_ERROR_KIND_PERMISSION, codes.PermissionDenied},
		{ErrInternal, wringv1.ErrorKind_ERROR_KIND_INTERNAL, codes.Internal},
		{ErrProtocol, wringv1.ErrorKind_ERROR_KIND_PROTOCOL, codes.FailedPrecondition},
	}
}

type wireKind struct {
	kind   error
	number wringv1.ErrorKind
	code   codes.Code
}

// Bounds of an error on the wire, in bytes; it travels in HTTP/2 headers.
const (
	maxErrorMessage = 8 << 10
	maxErrorHint    = 2 << 10
)

// toStatus is err as a gRPC status error.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	code, detail := detailOf(err)
	s, err2 := status.New(code, bounded(err.Error(), maxErrorMessage)).WithDetails(detail)
	if err2 != nil {
		return status.Error(code, bounded(err.Error(), maxErrorMessage))
	}
	return s.Err()
}

// detailOf is what the wire carries of err beside its message.
func detailOf(err error) (codes.Code, *wringv1.ErrorDetail) {
	code, detail := codes.Unavailable, &wringv1.ErrorDetail{
		Hint:      bounded(HintOf(err), maxErrorHint),
		Retryable: Retryable(err),
	}
	kind := KindOf(err)
	for _, w := range wireKinds() {
		if errors.Is(kind, w.kind) {
			code, detail.Kind = w.code, w.number
		}
	}
	if kind == nil {
		code = codes.Unknown
	}
	return code, detail
}

// wireKindOf finds the kind of a detail; ok is false for one of a later protocol.
func wireKindOf(detail *wringv1.ErrorDetail) (w wireKind, ok bool) {
	for _, w := range wireKinds() {
		if w.number == detail.GetKind() {
			return w, true
		}
	}
	return wireKind{}, false
}

// fromStatus is what a call's error means to its caller. peer says who was
// called; lost adds what is known of a peer that went away, and may be nil.
func fromStatus(ctx context.Context, doing, peer string, err error, lost func() string) *Error {
	s, ok := status.FromError(err)
	if !ok {
		return Errorf(ErrInternal, "%s: call %s: %v", doing, peer, err)
	}
	for _, d := range s.Details() {
		detail, ok := d.(*wringv1.ErrorDetail)
		if !ok {
			continue
		}
		if w, ok := wireKindOf(detail); ok {
			return &Error{Kind: w.kind, Message: s.Message(), Hint: detail.GetHint(), Retryable: detail.GetRetryable()}
		}
		// A kind of a later protocol: the code stands in for it.
		e := fromCode(doing, peer, s, lost)
		e.Hint, e.Retryable = detail.GetHint(), detail.GetRetryable()
		return e
	}
	if ctx.Err() != nil && (s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded) {
		return cancelled(ctx, doing)
	}
	return fromCode(doing, peer, s, lost)
}

// fromCode explains a status without detail: one of gRPC's own, or of a
// backend that does not use this package.
func fromCode(doing, peer string, s *status.Status, lost func() string) *Error {
	// gRPC calls it cancelled when this side has closed the connection.
	closed := s.Code() == codes.Canceled && strings.Contains(s.Message(), "connection is closing")
	switch code := s.Code(); {
	case code == codes.Unavailable || closed:
		message := s.Message()
		if lost != nil {
			if why := lost(); why != "" {
				message = why
			}
		}
		return Errorf(ErrConnection, "%s: connection to %s lost: %s", doing, peer, message).
			WithHint("whether the call had an effect is not known: look at the store again before repeating it")
	case strings.Contains(s.Message(), "message larger than max"):
		return Errorf(ErrInternal, "%s: %s and the host exchange messages of at most %s: %s", doing, peer, FormatBytes(maxMessage), s.Message()).
			WithHint("the backend answers with too much at once: report this to its author")
	case code == codes.Unimplemented:
		return Errorf(ErrUnsupported, "%s: %s does not know this call: %s", doing, peer, s.Message()).
			WithHint("it may be older than this host: update it")
	default:
		for _, w := range wireKinds() {
			if w.code == code {
				return Errorf(w.kind, "%s: %s", doing, s.Message())
			}
		}
		e := Errorf(ErrInternal, "%s: %s: %s", doing, s.Code(), s.Message())
		e.Retryable = true
		return e
	}
}

// bounded is s as valid UTF-8 of at most limit bytes.
func bounded(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// errDraining refuses calls that come while a server ends.
var errDraining = errors.New("backend is shutting down")
