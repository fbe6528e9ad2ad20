package access

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// refusal is a request that is not answered, and why. Neither the message nor
// the hint has anything of a secret in it.
type refusal struct {
	status       int
	detail, hint string
	// challenge says in WWW-Authenticate what to show instead.
	challenge string
	retry     time.Duration
}

// challenges of RFC 6750.
const (
	challengeNothing = `Bearer realm="wring"`
	challengeInvalid = `Bearer realm="wring", error="invalid_token"`
	challengeScope   = `Bearer realm="wring", error="insufficient_scope", scope="operate"`
)

var (
	refuseHost = &refusal{
		status: http.StatusMisdirectedRequest, detail: "this host is not reached by that name",
		hint: "add the name to hosts in the listen block of the configuration, if it is one of yours",
	}
	refuseOrigin = &refusal{
		status: http.StatusForbidden, detail: "the request comes from another web site",
		hint: "open wring itself in the browser; a program needs no Origin header",
	}
	refuseNobody = &refusal{
		status: http.StatusUnauthorized, detail: "a token is needed", challenge: challengeNothing,
		hint: "make one with: wring token create NAME --scope read, and send it as Authorization: Bearer TOKEN",
	}
	refuseScheme = &refusal{
		status: http.StatusUnauthorized, detail: "the Authorization header has no bearer token", challenge: challengeInvalid,
		hint: "send it as Authorization: Bearer TOKEN",
	}
	refuseScope = &refusal{
		status: http.StatusForbidden, detail: "the token is for reading only", challenge: challengeScope,
		hint: "use one of scope operate: wring token create NAME --scope operate",
	}
	refuseLarge = &refusal{
		status: http.StatusRequestEntityTooLarge, detail: "the request is too large",
		hint: "name fewer stores at a time",
	}
	refuseSlow = &refusal{
		status: http.StatusRequestTimeout, detail: "the request did not arrive whole in time",
	}
)

// errNoSession is a session that has ended, or never was.
var errNoSession = errors.New("the session has ended")

// refuseProof is the answer to a token or session that is of no use.
func refuseProof(err error) *refusal {
	r := &refusal{status: http.StatusUnauthorized, detail: err.Error(), challenge: challengeInvalid}
	switch {
	case errors.Is(err, errNoSession):
		r.hint = "log in again"
	case errors.Is(err, errUnknown):
		r.hint = "it may be mistyped or revoked; see: wring token list"
	case errors.Is(err, errExpired):
		r.hint = "make another with: wring token create"
	default:
		// Paths and the like are for the log alone.
		r = &refusal{status: http.StatusInternalServerError, detail: "the tokens cannot be read", hint: "the log of the host says why"}
	}
	return r
}

// refuseTooMany is the answer to whoever was wrong too often.
func refuseTooMany(wait time.Duration) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, detail: "too many wrong tokens came from this address",
		hint: "wait, and use a right one: wring token list", retry: wait,
	}
}

// problem says to programs and people what is wrong, as every error of the
// interface does.
func (r *refusal) problem() *huma.ErrorModel {
	p := &huma.ErrorModel{Status: r.status, Title: http.StatusText(r.status), Detail: r.detail}
	if r.hint != "" {
		p.Errors = append(p.Errors, &huma.ErrorDetail{Message: r.hint, Location: "hint"})
	}
	return p
}

func (r *refusal) header() http.Header {
	h := make(http.Header)
	if r.challenge != "" {
		h.Set("WWW-Authenticate", r.challenge)
	}
	if r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.retry.Seconds()))))
	}
	return h
}

// err is the refusal as handlers of the interface return one.
func (r *refusal) err() error { return huma.ErrorWithHeaders(r.problem(), r.header()) }

func (r *refusal) write(w http.ResponseWriter) {
	for name, values := range r.header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(r.problem()) // a client that has gone is no error
}
