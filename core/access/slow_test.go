package access

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Whoever's request does not arrive whole is told so, even when it had less time
// to take the answer than the request had to come.
func TestHalfARequestIsAnswered(t *testing.T) {
	tokens := NewTokens(t.TempDir())
	token, _, err := tokens.Create("operator", Operate, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	guard := NewGuard(Config{
		Tokens: tokens, Logger: hclog.NewNullLogger(), Patience: time.Second, BodyTimeout: 1100 * time.Millisecond,
	}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("half a request came through") }))
	for name, test := range map[string]struct {
		path, token string
		protocol    int
	}{
		"HTTP/1, a token": {"/v1/compact", token, 1},
		"HTTP/1, a login": {sessionPath, "", 1},
		"HTTP/2, a token": {"/v1/compact", token, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(nil)
			server.Config = NewServer(guard)
			server.EnableHTTP2 = test.protocol == 2
			server.StartTLS()
			t.Cleanup(server.Close)
			rest, never := io.Pipe()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+test.path, io.MultiReader(strings.NewReader(`{"all":`), rest))
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = 100
			if test.token != "" {
				request.Header.Set("Authorization", "Bearer "+test.token)
			}
			response, err := server.Client().Do(request)
			_ = never.Close() // with HTTP/2, closing the answer waits for the request
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusRequestTimeout || response.ProtoMajor != test.protocol {
				t.Errorf("the answer is %s over %s", response.Status, response.Proto)
			}
		})
	}
}
