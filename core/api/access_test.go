package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
)

// fort is the admin interface as it is over TCP, on a real socket.
type fort struct {
	t      *testing.T
	host   *host
	tokens access.Tokens
	// now is the clock of the guard.
	now     time.Time
	address string
	scheme  string
	client  *http.Client
	log     *logs
	// secrets must be in no log and in no answer but the one that makes them.
	secrets []string
}

// logs collects what is logged.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newFort serves a host that compacts without delay. Adjust, if any, changes
// how.
func newFort(t *testing.T, adjust func(*access.Config, *http.Server)) *fort {
	t.Helper()
	f := &fort{
		t: t, host: newHost(), tokens: access.NewTokens(t.TempDir()), scheme: "http",
		now: time.Now(), log: &logs{}, client: &http.Client{Transport: &http.Transport{}},
	}
	f.host.compact = func(context.Context, api.CompactRequest) (history.Run, error) { return history.Run{ID: "r1"}, nil }
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: f.log})
	c := access.Config{
		Tokens: f.tokens, Hosts: []string{"wring.example.org", "192.0.2.7"}, Logger: logger,
		Now: func() time.Time { return f.now }, Recheck: time.Millisecond,
	}
	server := access.NewServer(nil)
	server.ErrorLog = logger.StandardLogger(nil)
	if adjust != nil {
		adjust(&c, server)
	}
	server.Handler = access.NewGuard(c, api.NewHandler(f.host, "1.2.3"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
		} else {
			served <- server.Serve(listener)
		}
	}()
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		f.host.bus.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ends with %v", err)
		}
		for _, secret := range f.secrets {
			if strings.Contains(f.log.String(), secret) {
				t.Errorf("the log has the secret %s in it:\n%s", secret, f.log)
			}
		}
	})
	return f
}

// token makes a token.
func (f *fort) token(name string, scope access.Scope, expires time.Time) string {
	f.t.Helper()
	secret, _, err := f.tokens.Create(name, scope, f.now, expires)
	if err != nil {
		f.t.Fatal(err)
	}
	f.secrets = append(f.secrets, strings.TrimPrefix(secret, "wring_"))
	return secret
}

// answer is what came of a request.
type answer struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    string
	// Of an error:
	detail, hint string
}

// ask makes a request; headers are pairs, and Host is one of them. A secret that
// is in the answer is a failure.
func (f *fort) ask(method, path, body string, headers ...string) answer {
	f.t.Helper()
	return f.askBy(f.client, method, path, body, headers...)
}

func (f *fort) askBy(client *http.Client, method, path, body string, headers ...string) answer {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.scheme+"://"+f.address+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(headers, 2) {
		if pair[0] == "Host" {
			request.Host = pair[1]
		} else {
			request.Header.Set(pair[0], pair[1])
		}
	}
	response, err := client.Do(request)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, cookies: response.Cookies(), body: string(content)}
	for _, secret := range f.secrets {
		if strings.Contains(a.body, secret) {
			f.t.Errorf("%s %s: a secret is in the answer %s", method, path, a.body)
		}
	}
	if a.status >= 400 {
		a.readProblem(f.t)
	}
	return a
}

func (a *answer) readProblem(t *testing.T) {
	t.Helper()
	var problem struct {
		Status int
		Detail string
		Errors []struct{ Message, Location string }
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Status != a.status || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d is no problem document (%s): %v, %s", a.status, a.header.Get("Content-Type"), err, a.body)
	}
	a.detail = problem.Detail
	for _, e := range problem.Errors {
		if e.Location == "hint" {
			a.hint = e.Message
		}
	}
}

func bearer(token string) string { return "Bearer " + token }

func TestWhoIsLetInOverTCP(t *testing.T) {
	f := newFort(t, nil)
	read := f.token("reader", access.Read, time.Time{})
	operate := f.token("operator", access.Operate, time.Time{})
	expired := f.token("old", access.Operate, f.now.Add(time.Hour))
	revoked := f.token("gone", access.Operate, time.Time{})
	if err := f.tokens.Revoke("gone"); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Hour)
	const all = `{"all":true}`
	for _, test := range []struct {
		name               string
		method, path, body string
		headers            []string
		want               int
		detail             string // part of it
	}{
		{"no token", "GET", "/v1/status", "", nil, 401, "a token is needed"},
		{"no token, to operate", "POST", "/v1/compact", all, nil, 401, "a token is needed"},
		{"wrong token", "GET", "/v1/status", "", []string{"Authorization", bearer("wring_wrong")}, 401, "not known"},
		{"empty token", "GET", "/v1/status", "", []string{"Authorization", "Bearer"}, 401, "not known"},
		{"hash as token", "GET", "/v1/status", "", []string{"Authorization", bearer(strings.Repeat("0", 64))}, 401, "not known"},
		{"expired token", "GET", "/v1/status", "", []string{"Authorization", bearer(expired)}, 401, "has expired"},
		{"revoked token", "POST", "/v1/compact", all, []string{"Authorization", bearer(revoked)}, 401, "not known"},
		{"password", "GET", "/v1/status", "", []string{"Authorization", "Basic d3Jpbmc6" + "eA=="}, 401, "no bearer token"},
		{"token in the address", "GET", "/v1/status?token=" + read, "", nil, 401, "a token is needed"},
		{"token as cookie", "GET", "/v1/status", "", []string{"Cookie", "wring_session=" + read}, 401, "session has ended"},

		{"read token reads", "GET", "/v1/status", "", []string{"Authorization", bearer(read)}, 200, ""},
		{"scheme in lower case", "HEAD", "/v1/status", "", []string{"Authorization", "bearer " + read}, 200, ""},
		{"read token operates", "POST", "/v1/compact", all, []string{"Authorization", bearer(read)}, 403, "for reading only"},
		{"read token reloads", "POST", "/v1/reload", "", []string{"Authorization", bearer(read)}, 403, "for reading only"},
		{"read token, unknown call", "DELETE", "/v1/stores", "", []string{"Authorization", bearer(read)}, 403, "for reading only"},
		{"operate token reads", "GET", "/v1/status", "", []string{"Authorization", bearer(operate)}, 200, ""},
		{"operate token operates", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate)}, 200, ""},

		{"another site posts", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate), "Origin", "https://evil.example"}, 403, "another web site"},
		{"another site posts, new browser", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate), "Sec-Fetch-Site", "cross-site"}, 403, "another web site"},
		{"a sibling site posts", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate), "Sec-Fetch-Site", "same-site"}, 403, "another web site"},
		{"another site reads", "GET", "/v1/inspect?store=a", "", []string{"Authorization", bearer(operate), "Sec-Fetch-Site", "cross-site"}, 403, "another web site"},
		{"another site logs in", "POST", "/v1/session", `{"token":"` + read + `"}`, []string{"Origin", "https://evil.example"}, 403, "another web site"},
		{"another port of this machine posts", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate), "Origin", "http://127.0.0.1:1"}, 403, "another web site"},
		{"its own page posts", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate), "Origin", "http://" + f.address, "Sec-Fetch-Site", "same-origin"}, 200, ""},

		{"foreign name", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "evil.example"}, 421, "not reached by that name"},
		{"foreign name, post", "POST", "/v1/compact", all, []string{"Authorization", bearer(operate), "Host", "evil.example:7333"}, 421, "not reached by that name"},
		{"foreign name for the page", "GET", "/", "", []string{"Host", "evil.example"}, 421, "not reached by that name"},
		{"foreign name that ends as ours", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "x.wring.example.org"}, 421, "not reached by that name"},
		{"foreign name that begins as ours", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "127.0.0.1.evil.example"}, 421, "not reached by that name"},
		{"foreign address", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "192.0.2.8"}, 421, "not reached by that name"},
		{"our name", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "Wring.Example.ORG.:80"}, 200, ""},
		{"our listed address", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "192.0.2.7:7333"}, 200, ""},
		{"localhost by a tunnel", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "localhost:9999"}, 200, ""},
		{"loopback of the other kind", "GET", "/v1/status", "", []string{"Authorization", bearer(operate), "Host", "[::1]:7333"}, 200, ""},

		{"metrics without a token", "GET", "/metrics", "", nil, 401, "a token is needed"},
		{"description without a token", "GET", "/openapi.json", "", nil, 401, "a token is needed"},
		{"description in another form", "GET", "/openapi-3.0.yaml", "", nil, 401, "a token is needed"},
		{"description with a token", "GET", "/openapi.json", "", []string{"Authorization", bearer(read)}, 200, ""},
		{"written otherwise", "GET", "/%76%31/status", "", nil, 401, "a token is needed"},
		{"post to a page", "POST", "/", "", nil, 401, "a token is needed"},
		{"signs of life", "GET", "/healthz", "", []string{"Host", "10.1.2.3"}, 200, ""},
		{"signs of readiness", "GET", "/readyz", "", nil, 200, ""},
	} {
		got := f.ask(test.method, test.path, test.body, test.headers...)
		if got.status != test.want || !strings.Contains(got.detail, test.detail) {
			t.Errorf("%s: status %d, want %d: %s", test.name, got.status, test.want, got.body)
			continue
		}
		if got.status >= 400 && got.hint == "" {
			t.Errorf("%s: no hint: %s", test.name, got.body)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (got.status == 401) != strings.HasPrefix(challenge, "Bearer") && got.detail != "the token is for reading only" {
			t.Errorf("%s: status %d has the challenge %q", test.name, got.status, challenge)
		}
		if h := got.header; h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Access-Control-Allow-Origin") != "" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s: the headers are %v", test.name, h)
		}
		if strings.HasPrefix(test.path, "/v1/") && got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the answer may be kept: %v", test.name, got.header)
		}
	}
	// Whoever changes something is in the log by name.
	if said := f.log.String(); !strings.Contains(said, `request="POST /v1/compact" token=operator`) {
		t.Errorf("the log does not say who compacted:\n%s", said)
	}
}

// A call that is added later is not open by mistake.
func TestEveryDescribedCallNeedsAToken(t *testing.T) {
	f := newFort(t, nil)
	description := f.ask("GET", "/openapi.json", "", "Authorization", bearer(f.token("reader", access.Read, time.Time{})))
	var document struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string
		}
	}
	if err := json.Unmarshal([]byte(description.body), &document); err != nil || len(document.Paths) < 10 {
		t.Fatalf("%d paths, %v", len(document.Paths), err)
	}
	if !strings.Contains(description.body, `"LoginRequest":{"additionalProperties":false,"properties":{"token":`) {
		t.Error("what a login sends is not described")
	}
	open := []string{"/healthz", "/readyz", "/v1/session"}
	for path, methods := range document.Paths {
		for method, call := range methods {
			if slices.Contains(open, path) {
				if len(call.Security) != 1 || len(call.Security[0]) != 0 {
					t.Errorf("%s %s is open and described as %v", method, path, call.Security)
				}
				continue
			}
			if got := f.ask(strings.ToUpper(method), path, ""); got.status != http.StatusUnauthorized || call.Security != nil {
				t.Errorf("%s %s without a token: status %d, described as %v", method, path, got.status, call.Security)
			}
		}
	}
}

func TestSignsOfLifeSayNothingElse(t *testing.T) {
	f := newFort(t, nil)
	if got := f.ask("GET", "/healthz", ""); got.body != `{"alive":true}`+"\n" {
		t.Errorf("alive: %s", got.body)
	}
	if got := f.ask("GET", "/readyz", ""); got.body != `{"ready":true,"busy":true}`+"\n" {
		t.Errorf("ready: %s", got.body)
	}
	f.host.err = fmt.Errorf("stopping")
	if got := f.ask2("/readyz"); got.status != http.StatusServiceUnavailable || got.body != `{"ready":false,"busy":true}`+"\n" {
		t.Errorf("not ready: status %d, %s", got.status, got.body)
	}
}

// ask2 gets an answer that is no problem document whatever its status.
func (f *fort) ask2(path string) answer {
	f.t.Helper()
	response, err := f.client.Get(f.scheme + "://" + f.address + path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: string(content)}
}

func (f *fort) session(headers ...string) api.Session {
	f.t.Helper()
	got := f.ask("GET", "/v1/session", "", headers...)
	var session api.Session
	if err := json.Unmarshal([]byte(got.body), &session); err != nil || got.status != http.StatusOK {
		f.t.Fatalf("status %d, %v: %s", got.status, err, got.body)
	}
	return session
}

// login returns the Cookie header of a new session.
func (f *fort) login(token string) string {
	f.t.Helper()
	got := f.ask("POST", "/v1/session", `{"token":"`+token+`"}`)
	if got.status != http.StatusOK || len(got.cookies) != 1 {
		f.t.Fatalf("login: status %d, cookies %v: %s", got.status, got.cookies, got.body)
	}
	c := got.cookies[0]
	if c.Name != "wring_session" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.Domain != "" ||
		c.MaxAge != 12*60*60 || len(c.Value) != 43 || strings.Contains(token, c.Value) {
		f.t.Errorf("the cookie is %v", c)
	}
	f.secrets = append(f.secrets, c.Value)
	return c.Name + "=" + c.Value
}

func TestSessions(t *testing.T) {
	f := newFort(t, nil)
	read, operate := f.token("reader", access.Read, time.Time{}), f.token("operator", access.Operate, time.Time{})
	if got := f.session(); got != (api.Session{Authentication: access.Token}) {
		t.Errorf("before the login: %+v", got)
	}
	if got := f.session("Authorization", bearer(read)); got.Scope != access.Read {
		t.Errorf("with a token: %+v", got)
	}
	cookie := f.login(read)
	if got := f.session("Cookie", cookie); got.Scope != access.Read {
		t.Errorf("after the login: %+v", got)
	}
	if got := f.ask("GET", "/v1/status", "", "Cookie", cookie); got.status != http.StatusOK {
		t.Errorf("a session reads: status %d, %s", got.status, got.body)
	}
	if got := f.ask("POST", "/v1/compact", `{"all":true}`, "Cookie", cookie); got.status != http.StatusForbidden {
		t.Errorf("a session for reading operates: status %d, %s", got.status, got.body)
	}
	operating := f.login(operate)
	if got := f.ask("POST", "/v1/compact", `{"all":true}`, "Cookie", operating); got.status != http.StatusOK {
		t.Errorf("a session operates: status %d, %s", got.status, got.body)
	}

	// One that is ended is of no use, and another is not touched.
	got := f.ask("DELETE", "/v1/session", "", "Cookie", operating)
	if got.status != http.StatusNoContent || len(got.cookies) != 1 || got.cookies[0].MaxAge != -1 || got.cookies[0].Value != "" {
		t.Errorf("logout: status %d, cookies %v: %s", got.status, got.cookies, got.body)
	}
	if got := f.ask("DELETE", "/v1/session", ""); got.status != http.StatusNoContent || len(got.cookies) != 0 {
		t.Errorf("logout without a session: status %d, cookies %v: %s", got.status, got.cookies, got.body)
	}
	got = f.ask("GET", "/v1/status", "", "Cookie", operating)
	if got.status != http.StatusUnauthorized || len(got.cookies) != 1 || got.cookies[0].MaxAge != -1 {
		t.Errorf("after the logout: status %d, cookies %v", got.status, got.cookies)
	}
	if got := f.session("Cookie", operating); got.Scope != "" {
		t.Errorf("after the logout: %+v", got)
	}
	if got := f.session("Cookie", cookie); got.Scope != access.Read {
		t.Errorf("after the logout of another: %+v", got)
	}

	// It ends with its token, and by itself.
	operating = f.login(operate)
	if err := f.tokens.Revoke("operator"); err != nil {
		t.Fatal(err)
	}
	if got := f.ask("GET", "/v1/status", "", "Cookie", operating); got.status != http.StatusUnauthorized {
		t.Errorf("after the token was revoked: status %d", got.status)
	}
	f.now = f.now.Add(12 * time.Hour)
	if got := f.ask("GET", "/v1/status", "", "Cookie", cookie); got.status != http.StatusUnauthorized {
		t.Errorf("after its time: status %d", got.status)
	}
	short := f.token("short", access.Read, f.now.Add(time.Minute))
	cookie = f.login(short)
	f.now = f.now.Add(time.Minute)
	if got := f.session("Cookie", cookie); got.Scope != "" {
		t.Errorf("after its token has expired: %+v", got)
	}
}

func TestWrongLogins(t *testing.T) {
	f := newFort(t, nil)
	f.secrets = append(f.secrets, "xyzzy")
	for _, test := range []struct {
		body   string
		want   int
		detail string
	}{
		{`{"token":"wring_xyzzy"}`, 401, "not known"},
		{`{"token":""}`, 422, "no token"},
		{`{"tokn":"wring_xyzzy"}`, 422, "no token"},
		{`{"token":["wring_xyzzy"]}`, 422, "no token"},
		{`"wring_xyzzy"`, 422, "no token"},
		{`wring_xyzzy`, 422, "no token"},
	} {
		got := f.ask("POST", "/v1/session", test.body)
		if got.status != test.want || !strings.Contains(got.detail, test.detail) || got.hint == "" || len(got.cookies) != 0 {
			t.Errorf("%s: status %d, want %d, cookies %v: %s", test.body, got.status, test.want, got.cookies, got.body)
		}
	}
	if got := f.ask("POST", "/v1/session", ""); got.status != http.StatusBadRequest {
		t.Errorf("nothing: status %d: %s", got.status, got.body)
	}
}

// What has been shown must hold for as long as something is told.
func TestEventsEndWithTheirToken(t *testing.T) {
	f := newFort(t, nil)
	token := f.token("reader", access.Read, time.Time{})
	for _, headers := range [][2]string{{"Cookie", f.login(token)}, {"Authorization", bearer(token)}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.address+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(headers[0], headers[1])
		response, err := f.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		f.host.bus.Publish(event.Event{Name: event.RunStarted, Message: "seen"})
		begin := make([]byte, 20)
		if _, err := io.ReadFull(response.Body, begin); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d, %v", headers[0], response.StatusCode, err)
		}
		if headers[0] == "Cookie" {
			f.ask("DELETE", "/v1/session", "", headers[0], headers[1])
		} else if err := f.tokens.Revoke("reader"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(response.Body); err != nil { // else it goes on for ever
			t.Errorf("%s: the stream ends with %v", headers[0], err)
		}
	}
}
