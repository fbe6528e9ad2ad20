// Package access decides who may use the admin interface over TCP: it knows
// tokens with their scopes, sessions of browsers, and client certificates, and
// keeps out other web sites, guessers and requests beyond bounds.
package access

import (
	"context"
	"net/http"
)

// Scope is what somebody may do.
type Scope string

// Read is for looking, Operate for everything.
const (
	Read    Scope = "read"
	Operate Scope = "operate"
)

// Valid says whether s is one of the scopes.
func (s Scope) Valid() bool { return s == Read || s == Operate }

// allows says whether a request with that method is within the scope.
func (s Scope) allows(method string) bool {
	return s == Operate || s == Read && reads(method)
}

// reads says whether a method changes nothing.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// Authentication is how a visitor shows who it is.
type Authentication string

// None is for the unix socket, whose file mode decides; Token and Certificate
// for TCP.
const (
	None        Authentication = "none"
	Token       Authentication = "token"
	Certificate Authentication = "certificate"
)

// Visitor is who makes a request, as far as that is known.
type Visitor struct {
	Authentication Authentication
	// Scope is empty as long as the visitor has not shown who it is.
	Scope Scope

	// Both are nil where there is nothing to log in to.
	login  func(token string) (Scope, *http.Cookie, error)
	logout func() *http.Cookie
}

// Login begins a session for whoever has a token. The cookie is nil where no
// token is asked for; the error is an answer for the client.
func (v Visitor) Login(token string) (Scope, *http.Cookie, error) {
	if v.login == nil {
		return v.Scope, nil, nil
	}
	return v.login(token)
}

// Logout ends the session, if there is one. The cookie, if any, takes it from
// the browser.
func (v Visitor) Logout() *http.Cookie {
	if v.logout == nil {
		return nil
	}
	return v.logout()
}

// visitorKey finds the visitor in the context of a request.
type visitorKey struct{}

// VisitorOf returns who makes the request that ctx belongs to; one without any
// scope where nobody has looked.
func VisitorOf(ctx context.Context) Visitor {
	v, _ := ctx.Value(visitorKey{}).(Visitor)
	return v
}

func withVisitor(r *http.Request, v Visitor) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), visitorKey{}, v))
}
