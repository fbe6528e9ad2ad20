package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/wringdb/wring/core/history"
)

// Numbers is the part of Host that knows how stores grow, and whose schedule
// can be paused.
type Numbers interface {
	// Samples returns the last n measurements of a store, oldest first.
	Samples(store string, n int) ([]history.Sample, error)
	// Pause stops the schedule of a store, or of all when store is empty, until
	// Resume is called; it returns the stores whose schedule went on till then.
	Pause(store string) ([]string, error)
	// Resume lets the schedule of a store, or of all, go on, and returns the
	// stores whose schedule was paused till then.
	Resume(store string) ([]string, error)
	// Metrics serves the metrics for Prometheus.
	Metrics() http.Handler
}

// Figures are a store's sizes as they were last measured, and what follows from
// them. What is not known is nil, or the zero time.
type Figures struct {
	Engine string `json:"engine,omitempty"`
	// Of a pattern the sums over its files that are there. After a compaction,
	// until the next measurement, LiveBytes is what was measured before it.
	TotalBytes       *int64 `json:"total_bytes,omitempty"`
	AllocatedBytes   *int64 `json:"allocated_bytes,omitempty"`
	LiveBytes        *int64 `json:"live_bytes,omitempty"`
	ReclaimableBytes *int64 `json:"reclaimable_bytes,omitempty"`
	// MeasuredAt is of the newest measurement.
	MeasuredAt time.Time `json:"measured_at,omitzero"`
	// GrowthBytesPerDay is how fast AllocatedBytes grows between compactions.
	GrowthBytesPerDay *int64 `json:"growth_bytes_per_day,omitempty" doc:"How fast the store grows between compactions, over the last 14 days"`
	// DiskFreeBytes is what the host may still write where the store lies.
	DiskFreeBytes *int64 `json:"disk_free_bytes,omitempty"`
	// FullAt is when that is used up, if all stores there grow on as they do and
	// nothing is given back.
	FullAt time.Time `json:"full_at,omitzero" doc:"When the disk will be full if all stores on it grow on as they do and nothing is given back"`
	// PausedAt is since when the schedule is paused.
	PausedAt time.Time `json:"paused_at,omitzero" doc:"Since when the schedule is paused"`
}

func (r routes) registerNumbers(api huma.API) {
	huma.Register(api, op("list-samples", http.MethodGet, "/v1/samples", "The last measurements of a store, oldest first"), r.samples)
	huma.Register(api, op("pause", http.MethodPost, "/v1/pause",
		"Pause the schedule of a store or of all, also over restarts; what is asked for is still done"), r.pause)
	huma.Register(api, op("resume", http.MethodPost, "/v1/resume", "Let the schedule of a store or of all go on"), r.resume)
	metrics := op("metrics", http.MethodGet, "/metrics", "Metrics for Prometheus")
	metrics.Responses = map[string]*huma.Response{"200": {
		Description: "Metrics in a format of Prometheus, by what the client accepts",
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(api, metrics, func(context.Context, *noInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			request, w := humago.Unwrap(c)
			r.host.Metrics().ServeHTTP(w, request)
		}}, nil
	})
}

type samplesInput struct {
	Store string `query:"store" required:"true" doc:"Name of the store, or of one file of a pattern"`
	Limit int    `query:"limit" default:"500" minimum:"1" maximum:"10000"`
}

func (r routes) samples(_ context.Context, in *samplesInput) (*body[[]history.Sample], error) {
	samples, err := r.host.Samples(in.Store, in.Limit)
	if err != nil {
		return nil, problem(err)
	}
	return &body[[]history.Sample]{list(samples)}, nil
}

type pauseInput struct {
	Store string `query:"store" doc:"Name of the store; none means all"`
}

// Changed are the stores whose schedule was paused or goes on.
type Changed struct {
	Stores []string `json:"stores" doc:"Those for which it was otherwise before"`
}

func (r routes) pause(_ context.Context, in *pauseInput) (*body[Changed], error) {
	return changed(r.host.Pause(in.Store))
}

func (r routes) resume(_ context.Context, in *pauseInput) (*body[Changed], error) {
	return changed(r.host.Resume(in.Store))
}

func changed(stores []string, err error) (*body[Changed], error) {
	if err != nil {
		return nil, problem(err)
	}
	return &body[Changed]{Changed{list(stores)}}, nil
}
