package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/sdk"
)

// problem turns err into an answer whose detail is for people, the hint behind
// the message. A nil err stays nil.
func problem(err error) error {
	if err == nil {
		return nil
	}
	status := http.StatusInternalServerError
	var mistakes *config.Diagnostics
	switch {
	case errors.As(err, &mistakes):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, sdk.ErrNotFound), errors.Is(err, notify.ErrNoTarget):
		status = http.StatusNotFound
	case errors.Is(err, sdk.ErrInvalidOption):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, sdk.ErrBusy):
		status = http.StatusConflict
	case sdk.IsCancelled(err):
		status = 499 // as web servers log a client that hung up
	}
	answer := &huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: err.Error()}
	if hint := sdk.HintOf(err); hint != "" {
		answer.Errors = append(answer.Errors, &huma.ErrorDetail{Message: hint, Location: hintLocation})
	}
	if kind := sdk.KindOf(err); kind != nil {
		answer.Errors = append(answer.Errors, &huma.ErrorDetail{Message: kind.Error(), Location: kindLocation})
	}
	return answer
}

// What marks the entry of a problem's errors that is advice, and that which is
// the kind of the error, in the words of its sentinel.
const (
	hintLocation = "hint"
	kindLocation = "kind"
)

// withHint adds what to do to an answer of the framework's own, which says only
// what is wrong with a request.
func withHint(_ huma.Context, _ string, answer any) (any, error) {
	p, ok := answer.(*huma.ErrorModel)
	if !ok || slices.ContainsFunc(p.Errors, func(e *huma.ErrorDetail) bool { return e.Location == hintLocation || e.Location == kindLocation }) {
		return answer, nil
	}
	var hint string
	switch p.Status {
	case http.StatusUnsupportedMediaType:
		hint = "send JSON, with Content-Type: application/json"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		hint = "what each call takes is in /openapi.json"
	default:
		return answer, nil
	}
	p.Errors = append(p.Errors, &huma.ErrorDetail{Message: hint, Location: hintLocation})
	return p, nil
}

// stray answers what is no call: with the pages, if there are any, or with what
// there is instead.
func stray(calls huma.API, pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		allowed := methods(calls.OpenAPI().Paths[r.URL.Path])
		if len(allowed) == 0 && pages != nil {
			if reads {
				pages.ServeHTTP(w, r)
				return
			}
			allowed = []string{http.MethodGet, http.MethodHead}
		}
		p := &huma.ErrorModel{Status: http.StatusNotFound, Detail: "there is no call " + r.URL.Path}
		hint := "all calls are in /openapi.json"
		if len(allowed) > 0 {
			p.Status, p.Detail = http.StatusMethodNotAllowed, r.Method+" is no method of "+r.URL.Path
			hint = "it takes " + strings.Join(allowed, ", ")
			w.Header().Set("Allow", strings.Join(allowed, ", "))
		}
		p.Title = http.StatusText(p.Status)
		p.Errors = []*huma.ErrorDetail{{Message: hint, Location: hintLocation}}
		w.Header().Set("Content-Type", p.ContentType("application/json"))
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p) // a client that has gone is no error
	})
}

// methods are those that a path has.
func methods(path *huma.PathItem) []string {
	var all []string
	if path == nil {
		return nil
	}
	if path.Get != nil {
		all = append(all, http.MethodGet, http.MethodHead)
	}
	if path.Post != nil {
		all = append(all, http.MethodPost)
	}
	if path.Delete != nil {
		all = append(all, http.MethodDelete)
	}
	return all
}
