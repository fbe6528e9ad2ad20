package access

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// large is an answer for which no socket has room.
const large = 64 << 20

// stalled serves an answer of that size to everybody, and tells what has become of each.
func stalled(t *testing.T, patience time.Duration, size int) (address, token string, ended <-chan error) {
	t.Helper()
	tokens := NewTokens(t.TempDir())
	token, _, err := tokens.Create("reader", Read, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan error, 100)
	guard := NewGuard(Config{Tokens: tokens, Logger: hclog.NewNullLogger(), Patience: patience}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for range size / 1024 {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				outcomes <- err
				return
			}
		}
		outcomes <- nil
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(guard)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
	return listener.Addr().String(), token, outcomes
}

// ask sends requests at once, and reads nothing.
func ask(t *testing.T, address, request string, times int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for range times {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestStrangersWhoDoNotReadAreHungUpOn(t *testing.T) {
	address, _, ended := stalled(t, 20*time.Millisecond, large)
	const strangers = 8
	for range strangers {
		ask(t, address, "GET /assets/index.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 3)
	}
	for range strangers {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("all of the answer was taken by somebody who does not read")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a stranger who does not read is waited for")
		}
	}
}

func TestStrangersHaveOneAnswer(t *testing.T) {
	address, _, _ := stalled(t, 20*time.Second, 1024)
	for _, path := range []string{"/healthz", "/", "/v1/status"} {
		c := ask(t, address, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n", 2)
		reader := bufio.NewReader(c)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil || !response.Close {
			t.Errorf("%s: the connection is to stay open: %v, %v", path, response.Header, err)
		}
		if _, err := reader.ReadByte(); err == nil {
			t.Errorf("%s: a second answer comes", path)
		}
	}
}

func TestThoseWithATokenMayTakeTheirTime(t *testing.T) {
	const patience = 20 * time.Millisecond
	address, token, _ := stalled(t, patience, large)
	c := ask(t, address, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+token+"\r\n\r\n", 1)
	time.Sleep(3 * patience) // it is what is tested
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n != large || response.Close {
		t.Errorf("%d bytes came, %v; the connection ends: %v", n, err, response.Close)
	}
}
