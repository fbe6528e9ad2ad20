package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/api"
)

var update = flag.Bool("update", false, "write the OpenAPI document that is committed")

// TestOpenAPIIsCommitted holds the document in docs, by which others write clients,
// against the one that is served, and the list of calls in the documentation too.
func TestOpenAPIIsCommitted(t *testing.T) {
	const name = "../../docs/openapi.json"
	answer := httptest.NewRecorder()
	api.NewHandler(newHost(), "v1").ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.json", nil))
	var served bytes.Buffer
	if err := json.Indent(&served, answer.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	served.WriteByte('\n')
	if *update {
		if err := os.WriteFile(name, served.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(committed), bytes.TrimSpace(served.Bytes())) {
		t.Errorf("%s is not what is served; write it anew with: make generate", name)
	}
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(committed, &document); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, methods := range document.Paths {
		for method := range methods {
			if !strings.Contains(string(text), path) || !strings.Contains(string(text), strings.ToUpper(method)) {
				t.Errorf("docs/api.md does not list %s %s", strings.ToUpper(method), path)
			}
		}
	}
}
