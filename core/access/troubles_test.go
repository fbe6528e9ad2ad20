package access

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A file of tokens that is damaged is told with what to do, and not once for each
// request that anybody makes.
func TestDamagedTokensAreToldNowAndThen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, TokensFile), []byte("s3cret {"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := morning
	var log bytes.Buffer
	guard := NewGuard(Config{
		Tokens: NewTokens(dir), Logger: hclog.New(&hclog.LoggerOptions{Output: &log}), Now: func() time.Time { return now },
	}, http.NotFoundHandler())
	for minute := range 2 {
		for range 5 {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/v1/status", nil)
			request.Header.Set("Authorization", "Bearer anything")
			answer := httptest.NewRecorder()
			guard.ServeHTTP(answer, request)
			if answer.Code != http.StatusInternalServerError {
				t.Errorf("status %d: %s", answer.Code, answer.Body)
			}
		}
		if n := strings.Count(log.String(), "[ERROR]"); n != minute+1 {
			t.Errorf("in minute %d it was told %d times:\n%s", minute+1, n, log.String())
		}
		now = now.Add(troublePause)
	}
	if !strings.Contains(log.String(), "restore the file, or remove it and make new tokens") || strings.Contains(log.String(), "s3cret") {
		t.Errorf("the log says\n%s", log.String())
	}
}
