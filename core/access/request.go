package access

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// maxBody bounds a request: room for the names of some ten thousand stores.
	maxBody = 1 << 20
	// maxLogin bounds what somebody sends who has not shown who it is.
	maxLogin = 4 << 10
	// bodyTimeout is how long a request may take to arrive.
	bodyTimeout = 10 * time.Second
)

// withBody reads the body of a request, within bounds of size and time.
func withBody(w http.ResponseWriter, r *http.Request) (*http.Request, *refusal) {
	if r.ContentLength == 0 {
		return r, nil
	}
	most := int64(maxBody)
	if r.URL.Path == sessionPath {
		most = maxLogin
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return r, refuseLarge
	case err != nil:
		return r, refuseSlow
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the answer may take long
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(content))
	return r, nil
}

// reachedBy says whether a request names a host that is this one. A site that
// has its own name lead to this address comes with its name. An address cannot
// lead elsewhere, but is a name like others for whoever is in between, so that
// only the one that the client has connected to, and those of this machine, are
// taken without being listed. Ports are free: tunnels change them.
func (g *Guard) reachedBy(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		if ip.IsLoopback() || ip == localAddress(r) {
			return true
		}
		host = ip.String()
	}
	return slices.Contains(g.Hosts, host)
}

// localAddress is the one that a client has connected to.
func localAddress(r *http.Request) netip.Addr {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	address, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap().WithZone("")
}

// contentPolicy lets a page load and ask nothing that is not this host's own.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// protect sets what browsers are to keep to. Pages may be kept by them, and
// nothing else.
func protect(h http.Header, path string) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if strings.HasPrefix(path, "/v1/") || path == "/metrics" {
		h.Set("Cache-Control", "no-store")
	}
}

// Local lets every request through, within the same bounds: the mode of the
// socket's file has decided who can make one.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header(), r.URL.Path)
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		r, refused := withBody(w, r)
		if refused != nil {
			refused.write(w)
			return
		}
		next.ServeHTTP(w, withVisitor(r, Visitor{Authentication: None, Scope: Operate}))
	})
}

// NewServer makes a server with bounds on what a client may send before anybody
// has looked at it, and on how long. Answers take as long as they take; a Guard
// bounds those to strangers.
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		// A connection of HTTP/2 can be open without any request that has a deadline.
		HTTP2: &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second, WriteByteTimeout: time.Minute},
	}
}
