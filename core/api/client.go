package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// ErrNoHost says that nobody answers on the socket.
var ErrNoHost = errors.New("no host is running")

// Client talks to a running host.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client for the host that listens on socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns everything at a glance.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, nil, &s)
}

// Plugins returns the state of plugins and owners.
func (c *Client) Plugins(ctx context.Context) (p []supervise.Status, err error) {
	return p, c.call(ctx, http.MethodGet, "/v1/plugins", nil, nil, &p)
}

// Health returns the health of the whole host.
func (c *Client) Health(ctx context.Context) (h HealthReport, err error) {
	return h, c.call(ctx, http.MethodGet, "/v1/health", nil, nil, &h)
}

// Inspect measures one store for a compaction in a mode, that of its
// configuration when empty.
func (c *Client) Inspect(ctx context.Context, store string, depth sdk.Depth, mode string) (i compaction.Inspection, err error) {
	query := url.Values{"store": {store}}
	if depth != "" {
		query.Set("depth", string(depth))
	}
	if mode != "" {
		query.Set("mode", mode)
	}
	return i, c.call(ctx, http.MethodGet, "/v1/inspect", query, nil, &i)
}

// Plan says what the next run would do to the named stores, or to all.
func (c *Client) Plan(ctx context.Context, stores []string) (p []compaction.Plan, err error) {
	return p, c.call(ctx, http.MethodGet, "/v1/plan", url.Values{"store": stores}, nil, &p)
}

// Compact makes a run and returns when it has ended. The end of ctx cancels it.
func (c *Client) Compact(ctx context.Context, req CompactRequest) (r history.Run, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/compact", nil, req, &r)
}

// Cancel stops what runs on a store, or everything when store is empty.
func (c *Client) Cancel(ctx context.Context, store string) (int, error) {
	query := url.Values{}
	if store != "" {
		query.Set("store", store)
	}
	var answer Cancelled
	err := c.call(ctx, http.MethodPost, "/v1/cancel", query, nil, &answer)
	return answer.Cancelled, err
}

// Runs returns the last n runs, newest first.
func (c *Client) Runs(ctx context.Context, n int) (r []history.Run, err error) {
	query := url.Values{"limit": {strconv.Itoa(min(n, maxListed))}}
	return r, c.call(ctx, http.MethodGet, "/v1/runs", query, nil, &r)
}

// Results returns the last n results of a store, newest first.
func (c *Client) Results(ctx context.Context, store string, n int) (r []history.Result, err error) {
	query := url.Values{"store": {store}, "limit": {strconv.Itoa(min(n, maxListed))}}
	return r, c.call(ctx, http.MethodGet, "/v1/history", query, nil, &r)
}

// Reload makes the host read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil, nil)
}

// Events calls f for each event with an ID above since, until ctx ends, f
// returns an error, or the host goes away.
func (c *Client) Events(ctx context.Context, since uint64, f func(event.Event) error) error {
	query := url.Values{"since": {strconv.FormatUint(since, 10)}}
	response, err := c.do(ctx, http.MethodGet, "/v1/events", query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return readEvents(response.Body, f)
}

// call makes one request and decodes its answer, if there is to be one.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	response, err := c.do(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("read the host's answer to %s: %w", path, err)
	}
	return nil
}

// do returns a response that is a success, or the host's error.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	var content io.Reader
	if in != nil {
		document, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(document)
	}
	target := url.URL{Scheme: "http", Host: "wring", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	return nil, readProblem(response)
}

// explain turns the ways in which a socket fails into what they mean.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return sdk.Errorf(ErrNoHost, "no host is running: nobody answers on %s", c.socket).
			WithHint("start one with: wring run")
	case errors.Is(err, fs.ErrPermission):
		return sdk.Errorf(sdk.ErrPermission, "connect to the host: %s: permission denied", c.socket).
			WithHint("the socket is open to the user who runs the host only; run this as that user")
	case errors.Is(err, context.Canceled):
		return sdk.ErrCancelled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return sdk.Errorf(sdk.ErrConnection, "the host at %s ended before it answered", c.socket).
			WithHint("start it again with: wring run; what it was doing then shows in: wring history")
	}
	return fmt.Errorf("ask the host at %s: %w", c.socket, err)
}

// readProblem is the inverse of problem.
func readProblem(response *http.Response) error {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&p); err != nil || p.Detail == "" {
		return fmt.Errorf("the host answered %s", response.Status)
	}
	kind := map[int]error{
		http.StatusNotFound:            sdk.ErrNotFound,
		http.StatusUnprocessableEntity: sdk.ErrInvalidOption,
		http.StatusConflict:            sdk.ErrBusy,
		499:                            sdk.ErrCancelled,
	}[response.StatusCode]
	if kind == nil {
		kind = sdk.ErrInternal
	}
	message, hint := p.Detail, ""
	for _, e := range p.Errors {
		switch e.Location {
		case hintLocation:
			hint = e.Message
		case kindLocation:
			for _, known := range sdk.Kinds() {
				if known.Error() == e.Message {
					kind = known
				}
			}
		default:
			message += "; " + e.Message
		}
	}
	return sdk.Errorf(kind, "%s", message).WithHint("%s", hint)
}
