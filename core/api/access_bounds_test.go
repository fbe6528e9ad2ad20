package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
)

// from is a client at another address of this machine.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestGuessersAreHeldUpAndOthersAreNot(t *testing.T) {
	f := newFort(t, nil)
	token := f.token("reader", access.Read, time.Time{})
	f.secrets = append(f.secrets, "guess")
	guesser, other := from(t, "127.0.0.2"), from(t, "127.0.0.3")
	f.now = f.now.Round(0)
	for i := range 30 {
		guess := "wring_guess" + strconv.Itoa(i)
		var got answer
		switch i % 3 {
		case 0:
			got = f.askBy(guesser, "GET", "/v1/status", "", "Authorization", bearer(guess))
		case 1:
			got = f.askBy(guesser, "POST", "/v1/session", `{"token":"`+guess+`"}`)
		case 2:
			got = f.askBy(guesser, "GET", "/v1/status", "", "Cookie", "wring_session="+guess)
		}
		if i < 10 && got.status != http.StatusUnauthorized || i >= 10 && (got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "6" || got.hint == "") {
			t.Errorf("guess %d: status %d, retry after %q: %s", i+1, got.status, got.header.Get("Retry-After"), got.body)
		}
	}
	// A wrong session is no way round it.
	if got := f.askBy(guesser, "GET", "/v1/session", "", "Cookie", "wring_session=guess"); got.status != http.StatusTooManyRequests {
		t.Errorf("a session that is asked about: status %d", got.status)
	}
	// Nobody else is held up: not at another address, nor with a right token at
	// the same, which may be that of a proxy.
	for name, client := range map[string]*http.Client{"another address": other, "the same address": guesser} {
		if got := f.askBy(client, "GET", "/v1/status", "", "Authorization", bearer(token)); got.status != http.StatusOK {
			t.Errorf("a right token from %s: status %d, %s", name, got.status, got.body)
		}
	}
	if got := f.askBy(other, "GET", "/v1/status", "", "Authorization", bearer("wring_guess")); got.status != http.StatusUnauthorized {
		t.Errorf("the first wrong token of another address: status %d", got.status)
	}
	// To show nothing is no guess.
	for range 30 {
		if got := f.askBy(other, "GET", "/v1/status", ""); got.status != http.StatusUnauthorized {
			t.Fatalf("without a token: status %d", got.status)
		}
	}
	f.now = f.now.Add(6 * time.Second)
	if got := f.askBy(guesser, "GET", "/v1/status", "", "Authorization", bearer("wring_guess")); got.status != http.StatusUnauthorized {
		t.Errorf("after the pause: status %d", got.status)
	}
	// 10 of the guesser and 1 of the other, and the one after the pause.
	if n := strings.Count(f.log.String(), "[WARN]"); n != 12 {
		t.Errorf("%d warnings, want 12:\n%s", n, f.log)
	}
}

func TestRequestsBeyondBounds(t *testing.T) {
	f := newFort(t, nil)
	operate := f.token("operator", access.Operate, time.Time{})
	stores := 0
	f.host.compact = func(_ context.Context, req api.CompactRequest) (history.Run, error) {
		stores = len(req.Stores)
		return history.Run{ID: "r"}, nil
	}
	names := func(n int) string {
		return `{"stores":[` + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("x", 97)+`",`, n), ",") + `]}`
	}
	if got := f.ask("POST", "/v1/compact", names(10_000), "Authorization", bearer(operate)); got.status != http.StatusOK || stores != 10_000 {
		t.Errorf("a large request: status %d, %d stores: %.200s", got.status, stores, got.body)
	}
	for name, got := range map[string]answer{
		"one too large":              f.ask("POST", "/v1/compact", names(20_000), "Authorization", bearer(operate)),
		"one of unsaid size":         f.chunked("/v1/compact", names(20_000), bearer(operate)),
		"a login too large":          f.ask("POST", "/v1/session", `{"token":"`+strings.Repeat("x", 5000)+`"}`),
		"a login of unsaid size":     f.chunked("/v1/session", strings.Repeat("x", 5000), ""),
		"reading with a large body":  f.ask("GET", "/v1/status", names(20_000), "Authorization", bearer(operate)),
		"the page with a large body": f.ask("GET", "/", names(20_000)),
	} {
		if got.status != http.StatusRequestEntityTooLarge || got.hint == "" {
			t.Errorf("%s: status %d: %s", name, got.status, got.body)
		}
	}
	// Who has shown nothing is refused before anything is read.
	if got := f.ask("POST", "/v1/compact", names(20_000)); got.status != http.StatusUnauthorized {
		t.Errorf("one too large from nobody: status %d", got.status)
	}
	if got := f.ask2With("/v1/status", "X-Large", strings.Repeat("x", 100_000)); got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: status %d", got)
	}
}

// chunked makes a request that does not say how long it is.
func (f *fort) chunked(path, body, authorization string) answer {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, "http://"+f.address+path, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(content)}
	a.readProblem(f.t)
	return a
}

// ask2With returns the status alone.
func (f *fort) ask2With(path, name, value string) int {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "http://"+f.address+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set(name, value)
	response, err := f.client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// Half a request is none.
func TestRequestThatBreaksOff(t *testing.T) {
	f := newFort(t, nil)
	operate := f.token("operator", access.Operate, time.Time{})
	f.host.compact = func(context.Context, api.CompactRequest) (history.Run, error) {
		t.Error("half a request is carried out")
		return history.Run{}, errors.New("half")
	}
	connection, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	head := "POST /v1/compact HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + bearer(operate) + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
	if _, err := io.WriteString(connection, head+`{"all":true}`); err != nil {
		t.Fatal(err)
	}
	half, ok := connection.(*net.TCPConn)
	if !ok {
		t.Fatal("no TCP")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d", response.StatusCode)
	}
}

// patient is a listener whose connections tell until when they would read.
type patient struct {
	net.Listener
	until *atomic.Pointer[time.Time]
}

func (p patient) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	return patientConn{c, p.until}, err
}

type patientConn struct {
	net.Conn
	until *atomic.Pointer[time.Time]
}

func (c patientConn) SetReadDeadline(t time.Time) error {
	c.until.Store(&t)
	return c.Conn.SetReadDeadline(t)
}

// A request has to arrive in time, and may then take as long as it takes: a
// deadline for reading that is left would end it.
func TestRunsHaveNoDeadline(t *testing.T) {
	tokens := access.NewTokens(t.TempDir())
	token, _, err := tokens.Create("operator", access.Operate, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for name, protect := range map[string]func(http.Handler) http.Handler{
		"unix socket": access.Local,
		"TCP": func(next http.Handler) http.Handler {
			return access.NewGuard(access.Config{Tokens: tokens, Logger: hclog.NewNullLogger()}, next)
		},
	} {
		var until atomic.Pointer[time.Time]
		var ran bool
		h := newHost()
		h.compact = func(context.Context, api.CompactRequest) (history.Run, error) {
			ran = true
			if last := until.Load(); last == nil || !last.IsZero() {
				t.Errorf("%s: a run would be ended at %v", name, last)
			}
			return history.Run{ID: "r"}, nil
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &httptest.Server{Listener: patient{listener, &until}, Config: access.NewServer(protect(api.NewHandler(h, "1.2.3")))}
		server.Start()
		f := &fort{t: t, scheme: "http", address: listener.Addr().String(), client: server.Client()}
		got := f.ask("POST", "/v1/compact", `{"all":true}`, "Authorization", bearer(token))
		if got.status != http.StatusOK || !ran {
			t.Errorf("%s: status %d: %s", name, got.status, got.body)
		}
		server.Close()
		h.bus.Close()
	}
}

func TestServersHaveBounds(t *testing.T) {
	s := access.NewServer(nil)
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("%+v", s)
	}
	if s.WriteTimeout != 0 || s.ReadTimeout != 0 {
		t.Error("an answer that takes long would be cut off")
	}
}

// The unix socket asks nobody, and has the bounds all the same.
func TestUnixSocketAsksNobody(t *testing.T) {
	h := newHost()
	h.compact = func(context.Context, api.CompactRequest) (history.Run, error) { return history.Run{ID: "r"}, nil }
	socket := api.SocketPath(t.TempDir())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := access.NewServer(access.Local(api.NewHandler(h, "1.2.3")))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	f := &fort{t: t, host: h, scheme: "http", address: "any.name", client: &http.Client{Transport: &http.Transport{DialContext: dial}}}
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ends with %v", err)
		}
		h.bus.Close()
	})
	if got := f.session(); got != (api.Session{Authentication: access.None, Scope: access.Operate}) {
		t.Errorf("the session is %+v", got)
	}
	if got := f.ask("POST", "/v1/session", `{"token":"any"}`); got.status != http.StatusOK || len(got.cookies) != 0 {
		t.Errorf("login: status %d, cookies %v: %s", got.status, got.cookies, got.body)
	}
	if got := f.ask("DELETE", "/v1/session", ""); got.status != http.StatusNoContent || len(got.cookies) != 0 {
		t.Errorf("logout: status %d, cookies %v: %s", got.status, got.cookies, got.body)
	}
	if got := f.ask("POST", "/v1/compact", `{"all":true}`); got.status != http.StatusOK {
		t.Errorf("compact: status %d: %s", got.status, got.body)
	}
	if got := f.ask("POST", "/v1/compact", `"`+strings.Repeat("x", 2<<20)+`"`); got.status != http.StatusRequestEntityTooLarge || got.hint == "" {
		t.Errorf("one too large: status %d: %s", got.status, got.body)
	}
}
