package daemon

import (
	"io"
	"net"
	"net/http"
	"testing"
)

func TestHangUpLetsAnswersOut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, proceed := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-proceed
		_, _ = io.WriteString(w, "the result")
	})}
	go func() { _ = server.Serve(listener) }()

	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-asked
	server.RegisterOnShutdown(func() { close(proceed) }) // not before it has begun to hang up
	hangUp(server)
	if got := <-answer; got != "the result" {
		t.Errorf("want the result, got %q", got)
	}
}
