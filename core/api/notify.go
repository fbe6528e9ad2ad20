package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/wringdb/wring/core/notify"
)

func (r routes) registerNotify(api huma.API) {
	huma.Register(api, op("test-notify", http.MethodPost, "/v1/notify/test",
		"Tell a target that this is a test, past its queue, and answer with what it answers"), r.testNotify)
}

type testNotifyInput struct {
	Name string `query:"name" doc:"Name of a notify block; none means all"`
}

func (r routes) testNotify(ctx context.Context, in *testNotifyInput) (*body[[]notify.Answer], error) {
	answers, err := r.host.TestNotify(ctx, in.Name)
	if err != nil {
		return nil, problem(err)
	}
	return &body[[]notify.Answer]{list(answers)}, nil
}

// TestNotify tells a target, or all when name is empty, that this is a test.
func (c *Client) TestNotify(ctx context.Context, name string) (a []notify.Answer, err error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return a, c.call(ctx, http.MethodPost, "/v1/notify/test", query, nil, &a)
}
