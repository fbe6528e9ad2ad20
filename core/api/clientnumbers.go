package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/wringdb/wring/core/history"
)

// Samples returns the last n measurements of a store, oldest first.
func (c *Client) Samples(ctx context.Context, store string, n int) (s []history.Sample, err error) {
	query := url.Values{"store": {store}, "limit": {strconv.Itoa(min(n, maxListed))}}
	return s, c.call(ctx, http.MethodGet, "/v1/samples", query, nil, &s)
}

// Pause stops the schedule of a store, or of all when store is empty, and
// returns those that it was not paused for.
func (c *Client) Pause(ctx context.Context, store string) ([]string, error) {
	return c.change(ctx, "/v1/pause", store)
}

// Resume lets the schedule of a store go on, or of all when store is empty, and
// returns those that it was paused for.
func (c *Client) Resume(ctx context.Context, store string) ([]string, error) {
	return c.change(ctx, "/v1/resume", store)
}

func (c *Client) change(ctx context.Context, path, store string) ([]string, error) {
	query := url.Values{}
	if store != "" {
		query.Set("store", store)
	}
	var answer Changed
	err := c.call(ctx, http.MethodPost, path, query, nil, &answer)
	return answer.Stores, err
}
