package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a Host of fixed answers that notes what it is asked.
type host struct {
	bus      *event.Bus
	err      error
	compact  func(ctx context.Context, req api.CompactRequest) (history.Run, error)
	reloaded int
	planned  []string
	stores   *[]api.StoreStatus // instead of those of Status
	paused   []string           // what Pause and Resume were asked for
}

func newHost() *host { return &host{bus: event.NewBus(event.BusConfig{})} }

func (h *host) Status() api.Status {
	status := api.Status{
		Version: "1.2.3", PID: 42, LastEventID: h.bus.LastID(), Running: []string{},
		Stores: []api.StoreStatus{
			{Store: "a", State: api.Healthy},
			{Store: "b", State: api.Degraded, Health: history.Health{Degraded: true, ConsecutiveFailures: 3}},
			{Store: "c", State: api.Overdue, Health: history.Health{Overdue: true}},
		},
		Plugins: []supervise.Status{{Name: "bolt", Kind: supervise.KindPlugin, State: supervise.StateUp, PID: 7}},
	}
	if h.stores != nil {
		status.Stores = *h.stores
	}
	return status
}

func (h *host) Plan(_ context.Context, stores []string) ([]compaction.Plan, error) {
	h.planned = stores
	return []compaction.Plan{{Store: "a", Action: "skip", Reason: "not worth it"}}, h.err
}

func (h *host) Inspect(_ context.Context, store string, depth sdk.Depth, mode string) (compaction.Inspection, error) {
	return compaction.Inspection{Store: store, Mode: mode, Method: sdk.Method(depth), Map: []int{0, 100}, Layers: []compaction.Layer{
		{Name: "L0", Bytes: 7, CellBytes: []int64{7}, LivePercent: []int{60}, GarbagePercent: []int{30}, TombstonePercent: []int{10}},
	}}, h.err
}

func (h *host) Compact(ctx context.Context, req api.CompactRequest) (history.Run, error) {
	return h.compact(ctx, req)
}

func (h *host) Cancel(context.Context, string) (int, error) { return 2, h.err }

func (h *host) Runs(n int) ([]history.Run, error) {
	return slices.Repeat([]history.Run{{ID: "r"}}, n), h.err
}

func (h *host) Results(store string, n int) ([]history.Result, error) {
	return slices.Repeat([]history.Result{{Store: store}}, n), h.err
}

func (h *host) Subscribe(buffer int, since uint64) *event.Subscription {
	return h.bus.Subscribe(buffer, since)
}

func (h *host) Reload(context.Context) error { h.reloaded++; return h.err }

func (h *host) TestNotify(_ context.Context, name string) ([]notify.Answer, error) {
	return []notify.Answer{{Target: name, Kind: notify.Webhook, OK: true, Text: "200 OK"}}, h.err
}

func (h *host) Ready() (ready, busy bool) { return h.err == nil, true }

// serve puts h behind a real unix socket and returns a client for it.
func serve(t *testing.T, h *host) *api.Client {
	t.Helper()
	socket := api.SocketPath(t.TempDir())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: api.NewHandler(h, "1.2.3")}}
	server.Start()
	client := api.NewClient(socket)
	t.Cleanup(func() {
		client.Close()
		h.bus.Close()
		server.Close()
	})
	return client
}

func TestAnswersArriveWhole(t *testing.T) {
	h := newHost()
	c, ctx := serve(t, h), t.Context()

	status, err := c.Status(ctx)
	if err != nil || status.Version != "1.2.3" || len(status.Stores) != 3 || status.Plugins[0].PID != 7 {
		t.Errorf("Status() = %+v, %v", status, err)
	}
	if got := status.Stores[1].ConsecutiveFailures; got != 3 {
		t.Errorf("failures of b = %d, want 3", got)
	}
	health, err := c.Health(ctx)
	if err != nil || health.State != api.Degraded || !slices.Equal(health.Degraded, []string{"b"}) || !slices.Equal(health.Overdue, []string{"c"}) {
		t.Errorf("Health() = %+v, %v", health, err)
	}
	plugins, err := c.Plugins(ctx)
	if err != nil || len(plugins) != 1 || plugins[0].Name != "bolt" {
		t.Errorf("Plugins() = %+v, %v", plugins, err)
	}
	if _, err := c.Plan(ctx, []string{"a", "b"}); err != nil || !slices.Equal(h.planned, []string{"a", "b"}) {
		t.Errorf("Plan(a, b) asked for %v, %v", h.planned, err)
	}
	if _, err := c.Plan(ctx, nil); err != nil || len(h.planned) != 0 {
		t.Errorf("Plan(nil) asked for %v, %v", h.planned, err)
	}
	inspection, err := c.Inspect(ctx, "with space & more", sdk.DepthExact, "re write")
	if err != nil || inspection.Store != "with space & more" || inspection.Method != "exact" || inspection.Mode != "re write" || !slices.Equal(inspection.Map, []int{0, 100}) {
		t.Errorf("Inspect() = %+v, %v", inspection, err)
	}
	if sent, _ := h.Inspect(ctx, "", "", ""); !reflect.DeepEqual(inspection.Layers, sent.Layers) {
		t.Errorf("layers %+v, want %+v", inspection.Layers, sent.Layers)
	}
	runs, err := c.Runs(ctx, 3)
	if err != nil || len(runs) != 3 {
		t.Errorf("Runs(3) = %d runs, %v", len(runs), err)
	}
	results, err := c.Results(ctx, "a", 2)
	if err != nil || len(results) != 2 || results[0].Store != "a" {
		t.Errorf("Results(a, 2) = %+v, %v", results, err)
	}
	n, err := c.Cancel(ctx, "")
	if err != nil || n != 2 {
		t.Errorf("Cancel() = %d, %v", n, err)
	}
	answers, err := c.TestNotify(ctx, "on call")
	if err != nil || len(answers) != 1 || answers[0].Target != "on call" || !answers[0].OK {
		t.Errorf("TestNotify(on call) = %+v, %v", answers, err)
	}
	if err := c.Reload(ctx); err != nil || h.reloaded != 1 {
		t.Errorf("Reload() = %v, %d times", err, h.reloaded)
	}
}

func TestErrorsKeepKindAndHint(t *testing.T) {
	for _, kind := range sdk.Kinds() {
		h := newHost()
		h.err = sdk.Errorf(kind, "it went wrong").WithHint("try the other way")
		c := serve(t, h)
		_, err := c.Plan(t.Context(), nil)
		if !errors.Is(err, kind) || err.Error() != "it went wrong" || sdk.HintOf(err) != "try the other way" {
			t.Errorf("kind %v arrives as %v (hint %q)", kind, err, sdk.HintOf(err))
		}
	}
}

// A configuration that is wrong is the fault of whoever wrote it, not the host's.
func TestReloadOfAWrongConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wring.hcl")
	if err := os.WriteFile(file, []byte("every = \"soon\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost()
	if _, h.err = config.Load(t.Context(), file, nil); h.err == nil {
		t.Fatal("the configuration is right")
	}
	answer := httptest.NewRecorder()
	api.NewHandler(h, "1.2.3").ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/reload", nil))
	if answer.Code != http.StatusUnprocessableEntity {
		t.Errorf("status %d: %s", answer.Code, answer.Body)
	}
	if err := serve(t, h).Reload(t.Context()); !errors.Is(err, sdk.ErrInvalidOption) || err.Error() != h.err.Error() {
		t.Errorf("Reload() = %v, want %v", err, h.err)
	}
}

func TestHealth(t *testing.T) {
	for _, test := range []struct {
		stores []api.StoreStatus
		want   api.State
	}{
		{nil, api.Healthy},
		{[]api.StoreStatus{{Health: history.Health{Overdue: true}}}, api.Overdue},
		{[]api.StoreStatus{{Health: history.Health{Overdue: true}}, {Health: history.Health{Degraded: true}}}, api.Degraded},
		{[]api.StoreStatus{{Health: history.Health{Degraded: true}}, {Store: "u", Health: history.Health{Unresolved: true}}}, api.Unresolved},
	} {
		h := newHost()
		h.stores = &test.stores
		got, err := serve(t, h).Health(t.Context())
		if err != nil || got.State != test.want || slices.Contains(got.Unresolved, "u") != (test.want == api.Unresolved) {
			t.Errorf("Health() = %+v, %v; want %s", got, err, test.want)
		}
	}
}

func TestCompactIsCancelledByHangingUp(t *testing.T) {
	h := newHost()
	begun, ended := make(chan struct{}), make(chan struct{})
	h.compact = func(ctx context.Context, req api.CompactRequest) (history.Run, error) {
		defer close(ended)
		if !req.All || !req.Force {
			t.Errorf("the request arrives as %+v", req)
		}
		close(begun)
		<-ctx.Done()
		return history.Run{}, ctx.Err()
	}
	c := serve(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := c.Compact(ctx, api.CompactRequest{All: true, Force: true}); !sdk.IsCancelled(err) {
		t.Errorf("Compact() = %v, want an error of kind cancelled", err)
	}
	<-ended
}

func TestEventsArriveInOrder(t *testing.T) {
	h := newHost()
	c := serve(t, h)
	h.bus.Publish(event.Event{Name: event.RunStarted, Message: "before"})
	enough := errors.New("enough")
	var got []string
	go func() {
		h.bus.Publish(event.Event{Name: event.CompactionProgress, Store: "a", Progress: &event.Progress{Progress: sdk.Progress{Phase: "copy", Done: 1, Total: 2}, ETAMS: 1500}})
		h.bus.Publish(event.Event{Name: event.RunComplete, Message: "after"})
	}()
	err := c.Events(t.Context(), 0, func(e event.Event) error {
		got = append(got, string(e.Name))
		if e.Name == event.CompactionProgress && (e.Progress == nil || e.Progress.Phase != "copy" || e.Progress.ETAMS != 1500) {
			t.Errorf("progress arrives as %+v", e.Progress)
		}
		if len(got) == 3 {
			return enough
		}
		return nil
	})
	want := []string{"run_started", "compaction_progress", "run_complete"}
	if !errors.Is(err, enough) || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestSlowListenerMissesEventsAndIsNotCutOff(t *testing.T) {
	h := newHost()
	h.bus.Publish(event.Event{Name: event.RunStarted})
	c := serve(t, h)
	enough := errors.New("enough")
	dropped, begun := false, false
	err := c.Events(t.Context(), 0, func(e event.Event) error {
		switch {
		case !begun:
			// More than the buffers of bus and socket hold, while nobody reads.
			begun = true
			filler := strings.Repeat("x", 1000)
			for range 20_000 {
				h.bus.Publish(event.Event{Name: event.CompactionProgress, Message: filler})
			}
			h.bus.Publish(event.Event{Name: event.RunComplete})
		case e.Dropped > 0:
			dropped = true
		case e.Name == event.RunComplete:
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !dropped {
		t.Errorf("the stream ends with %v, and it was told of a gap: %v", err, dropped)
	}
}

func TestNobodyListens(t *testing.T) {
	c := api.NewClient(filepath.Join(t.TempDir(), "none.sock"))
	defer c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, api.ErrNoHost) || sdk.HintOf(err) == "" {
		t.Errorf("Status() without a host = %v, want ErrNoHost with a hint", err)
	}
}

func TestUnknownAndWrongParametersAreRefused(t *testing.T) {
	handler := api.NewHandler(newHost(), "1.2.3")
	for _, target := range []string{
		"/v1/inspect", "/v1/inspect?store=a&depth=deep", "/v1/runs?limit=0", "/v1/runs?limit=x", "/v1/plan?stores=a",
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		if answer.Code != http.StatusUnprocessableEntity && answer.Code != http.StatusBadRequest {
			t.Errorf("GET %s: status %d, want a refusal: %s", target, answer.Code, answer.Body)
		}
	}
}

func TestOpenAPIDescribesEveryCall(t *testing.T) {
	answer := httptest.NewRecorder()
	api.NewHandler(newHost(), "1.2.3").ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.json", nil))
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatalf("the document is no JSON: %v", err)
	}
	want := strings.Fields("status stores plugins health inspect plan compact cancel runs history reload notify/test events samples pause resume")
	for _, call := range want {
		if document.Paths["/v1/"+call] == nil {
			t.Errorf("the document does not describe /v1/%s", call)
		}
	}
	for _, call := range []string{"/v1/session", "/healthz", "/readyz", "/metrics"} {
		if document.Paths[call] == nil {
			t.Errorf("the document does not describe %s", call)
		}
		want = append(want, call)
	}
	if len(document.Paths) != len(want) {
		t.Errorf("%d paths are described, want %d", len(document.Paths), len(want))
	}
}
