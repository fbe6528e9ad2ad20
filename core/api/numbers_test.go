package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (h *host) Samples(store string, n int) ([]history.Sample, error) {
	if store == "never" {
		return nil, nil
	}
	samples := make([]history.Sample, n)
	for i := range samples {
		samples[i] = history.Sample{At: noon.Add(time.Duration(i) * time.Hour), TotalBytes: 4, AllocatedBytes: 3, LiveBytes: 2, ReclaimableBytes: 1, Reclaimed: 9}
	}
	return samples, h.err
}

func (h *host) Pause(store string) ([]string, error) {
	h.paused = append(h.paused, "pause "+store)
	return []string{"a"}, h.err
}

func (h *host) Resume(store string) ([]string, error) {
	h.paused = append(h.paused, "resume "+store)
	return nil, h.err
}

func (h *host) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "wring_stores 3\n")
	})
}

func TestSamplesArriveOldestFirst(t *testing.T) {
	h := newHost()
	c := serve(t, h)
	got, err := c.Samples(t.Context(), "a", 2)
	want := history.Sample{At: noon.Add(time.Hour), TotalBytes: 4, AllocatedBytes: 3, LiveBytes: 2, ReclaimableBytes: 1}
	if err != nil || len(got) != 2 || got[1] != want {
		t.Errorf("Samples(a, 2) = %+v, %v; want two, the second %+v", got, err, want)
	}
	h.err = sdk.Errorf(sdk.ErrNotFound, "no store is called %q", "a")
	if _, err := c.Samples(t.Context(), "a", 2); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("Samples() of a store that is not there: %v", err)
	}
}

// The document is what other programs rely on.
func TestSamplesAreAList(t *testing.T) {
	h := newHost()
	server := httptest.NewServer(api.NewHandler(h, "1.2.3"))
	defer server.Close()
	defer h.bus.Close()
	for target, want := range map[string]string{
		"/v1/samples?store=never": "[]",
		"/v1/samples?store=a&limit=1": `[{"at":"2026-03-01T12:00:00Z","total_bytes":4,"allocated_bytes":3,"live_bytes":2,` +
			`"reclaimable_bytes":1}]`,
		"/metrics": "wring_stores 3",
	} {
		response, err := server.Client().Get(server.URL + target)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || strings.TrimSpace(string(content)) != want {
			t.Errorf("GET %s = %s %s, %v; want %s", target, response.Status, content, err, want)
		}
	}
}

func TestPauseAndResumeAreAskedFor(t *testing.T) {
	h := newHost()
	c, ctx := serve(t, h), t.Context()
	if got, err := c.Pause(ctx, "with space"); err != nil || !slices.Equal(got, []string{"a"}) {
		t.Errorf("Pause() = %v, %v", got, err)
	}
	if got, err := c.Resume(ctx, ""); err != nil || len(got) != 0 {
		t.Errorf("Resume() = %v, %v", got, err)
	}
	if want := []string{"pause with space", "resume "}; !slices.Equal(h.paused, want) {
		t.Errorf("the host was asked for %q, want %q", h.paused, want)
	}
	h.err = sdk.Errorf(sdk.ErrBusy, "all are paused").WithHint("resume all")
	if _, err := c.Resume(ctx, "a"); !errors.Is(err, sdk.ErrBusy) || sdk.HintOf(err) != "resume all" {
		t.Errorf("Resume() that is refused: %v, hint %q", err, sdk.HintOf(err))
	}
}

// What is not known is not there, and a size of 0 is.
func TestFiguresThatAreNotKnownAreLeftOut(t *testing.T) {
	zero := int64(0)
	for want, status := range map[string]api.StoreStatus{
		"": {Store: "a"},
		"growth_bytes_per_day measured_at reclaimable_bytes": {Store: "a", Figures: api.Figures{ReclaimableBytes: &zero, GrowthBytesPerDay: &zero, MeasuredAt: noon}},
	} {
		content, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(content, &fields); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range []string{
			"disk_free_bytes", "engine", "full_at", "growth_bytes_per_day", "live_bytes", "measured_at", "paused_at",
			"reclaimable_bytes", "total_bytes", "allocated_bytes",
		} {
			if _, there := fields[name]; there {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has the figures %q, want %q", content, got, want)
		}
	}
}
