package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/live"
)

func TestService(t *testing.T) {
	db, err := live.Open(filepath.Join(t.TempDir(), "kv.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	handler := newService(db).routes()
	for _, step := range []struct {
		request, body string
		status        int
		answer        string // "" for any
	}{
		{"GET /kv/fruit/apple", "", 404, "no such key\n"},
		{"DELETE /kv/fruit/apple", "", 204, ""},
		{"PUT /kv/fruit/apple", "red", 204, ""},
		{"PUT /kv/fruit/apple", "green", 204, ""},
		{"PUT /kv/fruit/a%2Fb", "slash", 204, ""},
		{"PUT /kv/roots/none", "", 204, ""},
		{"GET /kv/fruit/apple", "", 200, "green"},
		{"GET /kv/fruit/a%2Fb", "", 200, "slash"},
		{"GET /kv/roots/none", "", 200, ""},
		{"GET /kv/roots/apple", "", 404, ""},
		{"GET /stats", "", 200, `{"keys":3,"file_bytes":0,`},
		{"DELETE /kv/fruit/apple", "", 204, ""},
		{"DELETE /kv/fruit/apple", "", 204, ""},
		{"GET /kv/fruit/apple", "", 404, ""},
		{"GET /stats", "", 200, `{"keys":2,`},
		{"PUT /kv/fruit/large", strings.Repeat("x", maxValue+1), 413, ""},
		{"PUT /kv/fruit/" + strings.Repeat("k", 40_000), "x", 400, ""},
		{"POST /kv/fruit/apple", "x", 405, ""},
		{"GET /stats", "", 200, `{"keys":2,`},
	} {
		method, path, _ := strings.Cut(step.request, " ")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(step.body)))
		if answer.Code != step.status || !strings.HasPrefix(answer.Body.String(), step.answer) {
			t.Errorf("%.40s: %d %q, want %d %q", step.request, answer.Code, answer.Body, step.status, step.answer)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/kv/fruit/apple", nil))
	if answer.Code != http.StatusInternalServerError {
		t.Errorf("from a store that is closed: %d %s", answer.Code, answer.Body)
	}
}
