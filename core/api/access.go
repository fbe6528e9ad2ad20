package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/wringdb/wring/core/access"
)

// Alive is the answer to whoever asks whether the host is there at all.
type Alive struct {
	Alive bool `json:"alive"`
}

// Readiness is the answer to whoever asks whether the host does its work.
type Readiness struct {
	Ready bool `json:"ready"`
	// Busy is no trouble: a run is under way.
	Busy bool `json:"busy"`
}

// Session is who somebody is to the host.
type Session struct {
	Authentication access.Authentication `json:"authentication" enum:"none,token,certificate" doc:"How clients show who they are here"`
	Scope          access.Scope          `json:"scope" enum:"read,operate," doc:"What this client may do; empty for one that is not logged in"`
}

// registerAccess adds what needs no token: signs of life, and logging in.
func (r routes) registerAccess(api huma.API) {
	api.OpenAPI().Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "Over TCP; made by: wring token create"},
	}
	api.OpenAPI().Security = []map[string][]string{{"token": {}}}

	huma.Register(api, unprotected(op("alive", http.MethodGet, "/healthz", "Whether the host is there")),
		func(context.Context, *noInput) (*body[Alive], error) { return &body[Alive]{Alive{true}}, nil })
	ready := unprotected(op("ready", http.MethodGet, "/readyz", "Whether the host looks after its stores; 503 while it starts or stops"))
	huma.Register(api, ready, func(context.Context, *noInput) (*readyOutput, error) {
		answer := &readyOutput{Status: http.StatusOK}
		answer.Body.Ready, answer.Body.Busy = r.host.Ready()
		if !answer.Body.Ready {
			answer.Status = http.StatusServiceUnavailable
		}
		return answer, nil
	})

	huma.Register(api, unprotected(op("session", http.MethodGet, "/v1/session", "Who this client is to the host")),
		func(ctx context.Context, _ *noInput) (*body[Session], error) {
			visitor := access.VisitorOf(ctx)
			return &body[Session]{Session{visitor.Authentication, visitor.Scope}}, nil
		})
	login := unprotected(op("login", http.MethodPost, "/v1/session", "Begin a session, which a cookie stands for, with a token"))
	login.SkipValidateBody = true // it would quote what is wrong, and with it the secret
	huma.Register(api, login, logIn)
	// In place of the bytes that the input has.
	api.OpenAPI().Paths[login.Path].Post.RequestBody.Content["application/json"].Schema =
		api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[loginRequest](), true, "Login")
	logout := unprotected(op("logout", http.MethodDelete, "/v1/session", "End the session"))
	huma.Register(api, logout, func(ctx context.Context, _ *noInput) (*logoutOutput, error) {
		answer := &logoutOutput{}
		if cookie := access.VisitorOf(ctx).Logout(); cookie != nil {
			answer.Cookies = append(answer.Cookies, *cookie)
		}
		return answer, nil
	})
}

// unprotected is an operation that needs no token.
func unprotected(o huma.Operation) huma.Operation {
	o.Security = []map[string][]string{{}}
	return o
}

type readyOutput struct {
	Status int
	Body   Readiness
}

// loginRequest is what a browser sends.
type loginRequest struct {
	Token string `json:"token" doc:"As wring token create has shown it"`
}

type loginInput struct {
	RawBody []byte `contentType:"application/json"`
}

type loginOutput struct {
	Cookies []http.Cookie `header:"Set-Cookie"`
	Body    Session
}

type logoutOutput struct {
	Cookies []http.Cookie `header:"Set-Cookie"`
}

func logIn(ctx context.Context, in *loginInput) (*loginOutput, error) {
	var request loginRequest
	if err := json.Unmarshal(in.RawBody, &request); err != nil || request.Token == "" {
		return nil, huma.Error422UnprocessableEntity("the request has no token", &huma.ErrorDetail{
			Message: `send {"token": "…"}`, Location: hintLocation,
		})
	}
	visitor := access.VisitorOf(ctx)
	scope, cookie, err := visitor.Login(request.Token)
	if err != nil {
		return nil, err
	}
	answer := &loginOutput{Body: Session{visitor.Authentication, scope}}
	if cookie != nil {
		answer.Cookies = append(answer.Cookies, *cookie)
	}
	return answer, nil
}
