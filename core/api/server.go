package api

import (
	"context"
	"io"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/dashboard"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// maxListed is the most entries that one answer holds.
const maxListed = 10_000

// NewHandler serves host, and the dashboard. The OpenAPI document is at
// /openapi.json.
func NewHandler(host Host, version string) http.Handler {
	mux := http.NewServeMux()
	c := huma.DefaultConfig("wring", version)
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.DocsPath = ""     // its page would load scripts from elsewhere
	c.CreateHooks = nil // no $schema field in answers
	c.SchemasPath = ""
	c.RejectUnknownQueryParameters = true
	c.Transformers = append(c.Transformers, withHint)
	calls := humago.New(mux, c)
	routes{host, heartbeat}.register(calls)
	noNulls(calls.OpenAPI())
	mux.Handle("/v1/", stray(calls, nil))
	mux.Handle("/", stray(calls, dashboard.NewHandler())) // whatever is not the interface's
	return mux
}

// schemaName tells types of the same name apart by their package, since
// several of them have a Status.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch pkg := path.Base(t.PkgPath()); pkg {
	case ".", "api":
		return name
	default:
		return strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
}

type routes struct {
	host Host
	// heartbeat is how often a stream of events shows that it lives.
	heartbeat time.Duration
}

// body is an answer with a JSON document.
type body[T any] struct{ Body T }

type noInput struct{}

func (r routes) register(api huma.API) {
	huma.Register(api, op("status", http.MethodGet, "/v1/status", "Everything at a glance, without measuring"),
		func(context.Context, *noInput) (*body[Status], error) {
			s := r.host.Status()
			s.Running, s.Stores, s.Plugins, s.Notify = list(s.Running), list(s.Stores), list(s.Plugins), list(s.Notify)
			return &body[Status]{s}, nil
		})
	huma.Register(api, op("list-stores", http.MethodGet, "/v1/stores", "The configured stores and their health"),
		func(context.Context, *noInput) (*body[[]StoreStatus], error) {
			return &body[[]StoreStatus]{list(r.host.Status().Stores)}, nil
		})
	huma.Register(api, op("list-plugins", http.MethodGet, "/v1/plugins", "Plugins and owners, and the state of each"),
		func(context.Context, *noInput) (*body[[]supervise.Status], error) {
			return &body[[]supervise.Status]{list(r.host.Status().Plugins)}, nil
		})
	huma.Register(api, op("health", http.MethodGet, "/v1/health", "The least healthy store decides"), r.health)
	huma.Register(api, op("inspect", http.MethodGet, "/v1/inspect", "Measure one store"), r.inspect)
	huma.Register(api, op("plan", http.MethodGet, "/v1/plan", "What the next run would do to each store, and why"), r.plan)
	huma.Register(api, op("compact", http.MethodPost, "/v1/compact",
		"Make a run and answer with every store's result when it has ended; hanging up cancels it, unless it is detached"), r.compact)
	huma.Register(api, op("cancel", http.MethodPost, "/v1/cancel", "Stop compactions, of one store or all"), r.cancel)
	huma.Register(api, op("list-runs", http.MethodGet, "/v1/runs", "The last runs, newest first"), r.runs)
	huma.Register(api, op("list-history", http.MethodGet, "/v1/history", "The last results of a store, newest first"), r.results)
	huma.Register(api, op("reload", http.MethodPost, "/v1/reload",
		"Read the configuration again; when it is wrong the old one stays"),
		func(ctx context.Context, _ *noInput) (*struct{}, error) {
			return nil, problem(r.host.Reload(ctx))
		})
	r.registerNotify(api)
	r.registerAccess(api)
	r.registerNumbers(api)
	events := op("events", http.MethodGet, "/v1/events", "What happens, as it happens")
	events.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events; the data of each is one of these",
		Content: map[string]*huma.MediaType{"text/event-stream": {
			Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[event.Event](), true, "Event"),
		}},
	}}
	huma.Register(api, events, func(_ context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			request, w := humago.Unwrap(c)
			r.events(request.Context(), in, w)
		}}, nil
	})
}

func op(id, method, path, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary,
		// The body has arrived, within the bounds of package access. A deadline for
		// it would end the connection, and with it a run that takes longer.
		BodyReadTimeout: -1,
	}
}

// HealthReport is the health of the whole host.
type HealthReport struct {
	State      State    `json:"state"`
	Unresolved []string `json:"unresolved" doc:"Stores whose last outcome is unknown, and that nobody has looked at since"`
	Degraded   []string `json:"degraded" doc:"Stores that fail again and again"`
	Overdue    []string `json:"overdue" doc:"Stores that were not looked at in time"`
}

func (r routes) health(context.Context, *noInput) (*body[HealthReport], error) {
	report := HealthReport{State: Healthy, Unresolved: []string{}, Degraded: []string{}, Overdue: []string{}}
	for _, s := range r.host.Status().Stores {
		if s.Unresolved {
			report.Unresolved = append(report.Unresolved, s.Store)
		}
		if s.Degraded {
			report.Degraded = append(report.Degraded, s.Store)
		}
		if s.Overdue {
			report.Overdue = append(report.Overdue, s.Store)
		}
	}
	switch {
	case len(report.Unresolved) > 0:
		report.State = Unresolved
	case len(report.Degraded) > 0:
		report.State = Degraded
	case len(report.Overdue) > 0:
		report.State = Overdue
	}
	return &body[HealthReport]{report}, nil
}

type inspectInput struct {
	Store string    `query:"store" required:"true" doc:"Name of the store"`
	Depth sdk.Depth `query:"depth" enum:"quick,sampled,exact" default:"sampled"`
	Mode  string    `query:"mode" doc:"One of the backend's modes, instead of the one that is configured"`
}

func (r routes) inspect(ctx context.Context, in *inspectInput) (*body[compaction.Inspection], error) {
	inspection, err := r.host.Inspect(ctx, in.Store, in.Depth, in.Mode)
	if err != nil {
		return nil, problem(err)
	}
	return &body[compaction.Inspection]{inspection}, nil
}

type planInput struct {
	Stores []string `query:"store,explode" doc:"Names of stores; none means all"`
}

func (r routes) plan(ctx context.Context, in *planInput) (*body[[]compaction.Plan], error) {
	plans, err := r.host.Plan(ctx, in.Stores)
	if err != nil {
		return nil, problem(err)
	}
	return &body[[]compaction.Plan]{list(plans)}, nil
}

func (r routes) compact(ctx context.Context, in *body[CompactRequest]) (*body[history.Run], error) {
	run, err := r.host.Compact(ctx, in.Body)
	if err != nil {
		return nil, problem(err)
	}
	run.Results = list(run.Results)
	return &body[history.Run]{run}, nil
}

type cancelInput struct {
	Store string `query:"store" doc:"Name of the store; none means all"`
}

// Cancelled is how many compactions were stopped.
type Cancelled struct {
	Cancelled int `json:"cancelled"`
}

func (r routes) cancel(ctx context.Context, in *cancelInput) (*body[Cancelled], error) {
	n, err := r.host.Cancel(ctx, in.Store)
	if err != nil {
		return nil, problem(err)
	}
	return &body[Cancelled]{Cancelled{n}}, nil
}

type runsInput struct {
	Limit int `query:"limit" default:"20" minimum:"1" maximum:"10000"`
}

func (r routes) runs(_ context.Context, in *runsInput) (*body[[]history.Run], error) {
	runs, err := r.host.Runs(in.Limit)
	if err != nil {
		return nil, problem(err)
	}
	for i := range runs {
		runs[i].Results = list(runs[i].Results)
	}
	return &body[[]history.Run]{list(runs)}, nil
}

type resultsInput struct {
	Store string `query:"store" required:"true" doc:"Name of the store, or of one file of a pattern"`
	Limit int    `query:"limit" default:"20" minimum:"1" maximum:"10000"`
}

func (r routes) results(_ context.Context, in *resultsInput) (*body[[]history.Result], error) {
	results, err := r.host.Results(in.Store, in.Limit)
	if err != nil {
		return nil, problem(err)
	}
	return &body[[]history.Result]{list(results)}, nil
}

type eventsInput struct {
	Since       uint64 `query:"since" doc:"Only events with an ID above this; 0 begins with the oldest remembered"`
	LastEventID uint64 `header:"Last-Event-ID" doc:"As browsers send when they connect again"`
}

// heartbeat is shorter than what proxies wait for.
const heartbeat = 20 * time.Second

// eventBuffer is how far a listener may fall behind before it misses events.
const eventBuffer = 1024

// events writes until ctx or the host ends. A listener that does not keep up is
// waited for: it misses events, and is told how many, but is not cut off. When
// nothing happens a comment is sent, so that one that has gone without a word is
// found out, and one that listens knows that somebody is there.
func (r routes) events(ctx context.Context, in *eventsInput, w http.ResponseWriter) {
	subscription := r.host.Subscribe(eventBuffer, max(in.Since, in.LastEventID))
	defer subscription.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	stream := http.NewResponseController(w)
	alive := time.NewTicker(r.heartbeat)
	defer alive.Stop()
	for {
		// The head too goes out at once: a listener waits for it.
		if err := stream.Flush(); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-alive.C:
			if _, err := io.WriteString(w, ":\n\n"); err != nil {
				return
			}
		case e, ok := <-subscription.C:
			if !ok || writeEvent(w, e) != nil {
				return
			}
		}
	}
}
