package notify

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Whatever keeps a target from being told, it is said what to do about it.
func TestFailuresHaveHints(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Post", URL: "http://hooks.example.org/s3cret", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"refused":      {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "start the receiver"},
		"unknown host": {dial(&net.DNSError{Err: "no such host", Name: "hooks.example.org", IsNotFound: true}), "is the name right"},
		"no answer":    {dial(os.ErrDeadlineExceeded), "firewall"},
		"unreachable":  {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "can be reached"},
		"not TLS":      {dial(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "http or https"},
		"certificate":  {dial(&tls.CertificateVerificationError{Err: errors.New("expired")}), "trusts"},
	} {
		if a := undelivered(c.err); !strings.Contains(a.Hint, c.want) || a.Error == "" || strings.Contains(a.Error, "s3cret") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	n := newPlace(t).start()
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusGone} {
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if a := n.deliver(t.Context(), webhook("ops", r.address()), Notice{}); a.OK || a.Hint == "" {
			t.Errorf("%d: %+v", status, a)
		}
	}
}
