package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/sdk"
)

// empty is a host that has nothing at all.
type empty struct{ *host }

func (empty) Status() api.Status                            { return api.Status{} }
func (empty) Runs(int) ([]history.Run, error)               { return nil, nil }
func (empty) Results(string, int) ([]history.Result, error) { return nil, nil }
func (empty) Samples(string, int) ([]history.Sample, error) { return nil, nil }
func (empty) Pause(string) ([]string, error)                { return nil, nil }

// ask makes a request of a handler.
func ask(t *testing.T, handler http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}

func TestEmptyListsAreNoNulls(t *testing.T) {
	handler := api.NewHandler(empty{newHost()}, "1.2.3")
	for target, want := range map[string]string{
		"GET /v1/stores": "[]", "GET /v1/plugins": "[]", "GET /v1/runs": "[]", "GET /v1/history?store=a": "[]", "GET /v1/samples?store=a": "[]",
		"POST /v1/pause": `{"stores":[]}`,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := strings.TrimSpace(ask(t, handler, method, path, "").Body.String()); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	if got := ask(t, handler, http.MethodGet, "/v1/status", "").Body.String(); strings.Contains(got, "null") {
		t.Errorf("the status has nulls: %s", got)
	}
	document := ask(t, handler, http.MethodGet, "/openapi.json", "").Body.Bytes()
	var described struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]struct{ Type any } }
		}
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema struct{ Type any } }
			}
		}
	}
	if err := json.Unmarshal(document, &described); err != nil {
		t.Fatal(err)
	}
	for name, schema := range described.Components.Schemas {
		for property, p := range schema.Properties {
			if _, several := p.Type.([]any); several && name != "CompactRequest" {
				t.Errorf("%s.%s may be %v", name, property, p.Type)
			}
		}
	}
	for path, methods := range described.Paths {
		for method, operation := range methods {
			for _, response := range operation.Responses {
				for _, content := range response.Content {
					if _, several := content.Schema.Type.([]any); several {
						t.Errorf("%s %s may answer %v", method, path, content.Schema.Type)
					}
				}
			}
		}
	}
	h := newHost()
	h.compact = func(context.Context, api.CompactRequest) (history.Run, error) { return history.Run{ID: "r"}, nil }
	handler = api.NewHandler(h, "1.2.3")
	if got := ask(t, handler, http.MethodPost, "/v1/compact", `{"stores":null,"all":true}`, "Content-Type", "application/json"); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), `"results":[]`) {
		t.Errorf("a request with a null: status %d, %s", got.Code, got.Body)
	}
}

// What is wrong with a request is a problem document that says what to do.
func TestEveryMistakeIsAProblemWithAHint(t *testing.T) {
	handler := api.NewHandler(newHost(), "1.2.3")
	for _, c := range []struct {
		method, target, body, contentType string
		status                            int
		hint, allow                       string
	}{
		{"GET", "/v1/nosuch", "", "", 404, "/openapi.json", ""},
		{"POST", "/v1/nosuch", "{}", "application/json", 404, "/openapi.json", ""},
		{"GET", "/v1/compact", "", "", 405, "POST", "POST"},
		{"DELETE", "/v1/status", "", "", 405, "GET", "GET, HEAD"},
		{"PUT", "/v1/session", "", "", 405, "DELETE", "GET, HEAD, POST, DELETE"},
		{"POST", "/metrics", "", "", 405, "GET", "GET, HEAD"},
		{"POST", "/", "", "", 405, "GET", "GET, HEAD"},
		{"POST", "/v1/compact", "{}", "application/x-www-form-urlencoded", 415, "Content-Type: application/json", ""},
		{"POST", "/v1/compact", `{"stroes":["a"]}`, "application/json", 422, "/openapi.json", ""},
		{"POST", "/v1/compact", `{`, "application/json", 400, "/openapi.json", ""},
		{"GET", "/v1/runs?limit=x", "", "", 422, "/openapi.json", ""},
		{"GET", "/v1/runs?limits=1", "", "", 422, "/openapi.json", ""},
	} {
		got := ask(t, handler, c.method, c.target, c.body, "Content-Type", c.contentType)
		var p struct {
			Status int
			Detail string
			Errors []struct{ Message, Location string }
		}
		if err := json.Unmarshal(got.Body.Bytes(), &p); err != nil {
			t.Errorf("%s %s: no document: %s", c.method, c.target, got.Body)
			continue
		}
		hint := ""
		for _, e := range p.Errors {
			if e.Location == "hint" {
				hint = e.Message
			}
		}
		if got.Code != c.status || p.Status != c.status || p.Detail == "" || !strings.Contains(hint, c.hint) || hint == "" ||
			got.Header().Get("Content-Type") != "application/problem+json" || got.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: status %d, %v: %s", c.method, c.target, got.Code, got.Header(), got.Body)
		}
	}
	if got := ask(t, handler, http.MethodGet, "/", ""); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), "<html") {
		t.Errorf("the page: status %d", got.Code)
	}
}

// A target that is not there is no store that is not there.
func TestUnknownTargetIsNoUnknownStore(t *testing.T) {
	h := newHost()
	h.err = sdk.Errorf(notify.ErrNoTarget, "the configuration in force has no notify %q", "x").WithHint("add one")
	got := ask(t, api.NewHandler(h, "1.2.3"), http.MethodPost, "/v1/notify/test?name=x", "")
	if got.Code != http.StatusNotFound || strings.Contains(got.Body.String(), "store") || !strings.Contains(got.Body.String(), "add one") {
		t.Errorf("status %d: %s", got.Code, got.Body)
	}
}

var _ api.Host = empty{}
