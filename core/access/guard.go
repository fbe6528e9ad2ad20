package access

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what a Guard goes by.
type Config struct {
	// Tokens are those that open the interface.
	Tokens Tokens
	// Certificates is set where the handshake lets only clients in that have
	// shown a certificate. Then nobody is asked for a token.
	Certificates bool
	// Hosts are names and addresses by which clients come, beside the address
	// that they have connected to and localhost.
	Hosts  []string
	Logger hclog.Logger
	// Now is the clock; nil is that of the machine.
	Now func() time.Time
	// Recheck is how often the token of an answer that goes on and on, such as
	// events, is looked at again; 0 is every five seconds.
	Recheck time.Duration
	// Patience is how long who has shown nothing may take to read an answer; 0 is
	// ten seconds.
	Patience time.Duration
	// BodyTimeout is how long a request may take to arrive; 0 is ten seconds.
	BodyTimeout time.Duration
}

// Guard stands before the admin interface where others than the host's own user
// can reach it.
type Guard struct {
	Config
	next     http.Handler
	origins  *http.CrossOriginProtection
	sessions sessions
	failures failures
	troubles troubles
}

// NewGuard lets requests through to next that may go there.
func NewGuard(c Config, next http.Handler) *Guard {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Recheck == 0 {
		c.Recheck = 5 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = bodyTimeout
	}
	return &Guard{Config: c, next: next, origins: http.NewCrossOriginProtection()}
}

// sessionPath is where browsers log in and out. Who is not logged in may ask.
const sessionPath = "/v1/session"

// ServeHTTP implements http.Handler. Requests are refused in the order of what
// can be said to a stranger: what is wrong with the address, then who it is,
// then what it may do.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header(), r.URL.Path)
	g.bound(w)
	if r.ContentLength != 0 {
		// Also of what is refused, and read by the server before the next request.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.BodyTimeout))
	}
	if probes(r) {
		g.next.ServeHTTP(w, r)
		return
	}
	if refused := g.checkOrigin(r); refused != nil {
		g.Logger.Debug("refused", "address", r.RemoteAddr, "error", refused.detail)
		refused.write(w)
		return
	}
	visitor, current, refused := g.admit(w, r)
	if refused == nil {
		if visitor.Scope != "" {
			unbound(w)
		}
		r, refused = withBody(w, r)
	}
	if refused != nil {
		g.bound(w) // anew: the time has gone by in which the request did not arrive
		refused.write(w)
		return
	}
	if current != nil && reads(r.Method) {
		ctx, stop := g.whileCurrent(r.Context(), current)
		defer stop()
		r = r.WithContext(ctx)
	}
	g.next.ServeHTTP(w, withVisitor(r, visitor))
}

// bound keeps whoever has not shown who it is from staying: it has so long to
// read the answer, and then the connection ends. There are only so many places,
// and those who do not read, or ask nothing more, would hold them.
func (g *Guard) bound(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(g.Patience))
	w.Header().Set("Connection", "close")
}

// unbound lets a visitor stay. Answers take as long as they take.
func unbound(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	w.Header().Del("Connection")
}

// probes says whether a request asks only for signs of life. There is nothing
// in the answer, so that anybody may ask, by any name.
func probes(r *http.Request) bool {
	return reads(r.Method) && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz")
}

// open says whether a request needs no token: the page that asks for one must
// be seen without. All that is not the page is named here.
func open(r *http.Request) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return reads(r.Method) && first != "v1" && first != "metrics" && !strings.HasPrefix(first, "openapi") ||
		r.URL.Path == sessionPath
}

// checkOrigin keeps other web sites out: those that have given their own name
// our address, and those that let a browser send requests here. What the API
// answers costs work even if the other site cannot read it, so that it may not
// ask for that either.
func (g *Guard) checkOrigin(r *http.Request) *refusal {
	if !g.reachedBy(r) {
		return refuseHost
	}
	checked := r
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		checked = &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
	}
	if g.origins.Check(checked) != nil {
		return refuseOrigin
	}
	return nil
}

// admit finds out who makes a request, and whether it may. The function, if
// any, says whether that still holds.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request) (Visitor, func() bool, *refusal) {
	if g.Certificates {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 { // the handshake has seen to it
			return Visitor{}, nil, refuseNobody
		}
		g.note(r, "certificate", r.TLS.PeerCertificates[0].Subject.CommonName)
		return Visitor{Authentication: Certificate, Scope: Operate}, nil, nil
	}
	visitor := Visitor{Authentication: Token}
	visitor.login = func(token string) (Scope, *http.Cookie, error) { return g.login(r, token) }
	visitor.logout = func() *http.Cookie { return g.logout(r) }
	if open(r) && r.URL.Path != sessionPath {
		return visitor, nil, nil
	}
	shown, refused := proofOf(r)
	if refused == nil && shown == nil {
		refused = refuseNobody
	}
	if refused == nil {
		var token TokenInfo
		if token, refused = g.check(w, r, *shown); refused == nil {
			visitor.Scope = token.Scope
			if r.URL.Path == sessionPath {
				return visitor, nil, nil
			}
			if !token.Scope.allows(r.Method) {
				return visitor, nil, refuseScope
			}
			g.note(r, "token", token.Name)
			return visitor, func() bool { _, err := g.verify(*shown); return err == nil }, nil
		}
	}
	if r.URL.Path == sessionPath && refused.status == http.StatusUnauthorized {
		refused = nil // whoever asks is told that it is nobody
	}
	return visitor, nil, refused
}

// proof is what a request shows: a token, or the session that was begun with one.
type proof struct {
	digest
	session bool
}

// proofOf returns nil for a request that shows nothing.
func proofOf(r *http.Request) (*proof, *refusal) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, refuseScheme
		}
		return &proof{digest: digestOf(strings.TrimSpace(token))}, nil
	}
	if cookie, err := r.Cookie(cookieName(r)); err == nil {
		return &proof{digest: digestOf(cookie.Value), session: true}, nil
	}
	return nil, nil
}

// verify returns the token that is behind a proof.
func (g *Guard) verify(p proof) (TokenInfo, error) {
	now, token := g.Now(), p.digest
	if p.session {
		var found bool
		if token, found = g.sessions.find(p.digest, now); !found {
			return TokenInfo{}, errNoSession
		}
	}
	info, err := g.Tokens.find(token, now)
	if p.session && (errors.Is(err, errUnknown) || errors.Is(err, errExpired)) {
		g.sessions.end(p.digest)
		err = errNoSession
	}
	return info, err
}

// check is verify for a request. What is right is let in however often others at
// the same address were wrong: 256 bits are not guessed at any rate, and
// whoever shares an address with a guesser is not to be locked out by it.
func (g *Guard) check(w http.ResponseWriter, r *http.Request, p proof) (TokenInfo, *refusal) {
	token, err := g.verify(p)
	if err == nil {
		return token, nil
	}
	if p.session && errors.Is(err, errNoSession) {
		http.SetCookie(w, g.cookie(r, "", -1))
	}
	return TokenInfo{}, g.fail(r, err)
}

// fail counts a failure and makes the answer to it.
func (g *Guard) fail(r *http.Request, err error) *refusal {
	refused := refuseProof(err)
	if refused.status != http.StatusUnauthorized {
		// Whoever shows anything at all comes here: it is not said each time.
		if g.troubles.say(g.Now()) {
			g.Logger.Error("tokens cannot be looked up, nobody who needs one is let in", "error", err, "hint", troubleHint(err))
		}
		return refused
	}
	wait, last := g.failures.take(addressOf(r), g.Now())
	switch {
	case wait > 0: // said when it began: the log is not for guessers to fill
		return refuseTooMany(wait)
	case last:
		g.Logger.Warn("refused too often: what follows from this address is refused without a word here", "address", r.RemoteAddr, "error", err)
	default:
		g.Logger.Warn("refused", "address", r.RemoteAddr, "error", err)
	}
	return refused
}

func addressOf(r *http.Request) netip.Addr {
	address, _ := netip.ParseAddrPort(r.RemoteAddr)
	return address.Addr()
}

// note logs who changes something.
func (g *Guard) note(r *http.Request, kind, name string) {
	if !reads(r.Method) {
		g.Logger.Info("asked over the network", "request", r.Method+" "+r.URL.Path, kind, name, "address", r.RemoteAddr)
	}
}

// whileCurrent ends a context once what a request has shown is of no use any
// more. What has been begun with it is not undone.
func (g *Guard) whileCurrent(ctx context.Context, current func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		ticker := time.NewTicker(g.Recheck)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !current() {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

// login begins a session for whoever has a token.
func (g *Guard) login(r *http.Request, token string) (Scope, *http.Cookie, error) {
	hash := digestOf(strings.TrimSpace(token))
	info, err := g.verify(proof{digest: hash})
	if err != nil {
		return "", nil, g.fail(r, err).err()
	}
	secret := g.sessions.begin(hash, g.Now())
	g.Logger.Info("logged in", "token", info.Name, "scope", info.Scope, "address", r.RemoteAddr)
	return info.Scope, g.cookie(r, secret, int(sessionLife.Seconds())), nil
}

func (g *Guard) logout(r *http.Request) *http.Cookie {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	g.sessions.end(digestOf(cookie.Value))
	return g.cookie(r, "", -1)
}

// cookieName binds the cookie to this very host where TLS lets it.
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-wring_session"
	}
	return "wring_session"
}

func (g *Guard) cookie(r *http.Request, secret string, age int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(r), Value: secret, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}
