package sdk

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// healthTimeout is how long a backend may take to say that it is well.
const healthTimeout = 5 * time.Second

// Client is a Backend in another process: a plugin's or an owner's. Its calls
// behave as those of a Backend in process do; above all, Compact whose context
// ends returns when the backend has cleaned up, not before. A backend that has
// hung therefore holds its caller until the connection is closed or the
// process has ended.
//
// A connection that is lost stays lost: every call then fails with
// ErrConnection.
type Client struct {
	service     wringv1.BackendServiceClient
	health      healthv1.HealthClient
	peer        string        // who is called, for messages
	lost        func() string // why the connection is gone, if that is known; may be nil
	hangUp      func() error
	description Description

	mu     sync.Mutex
	calls  int
	ending bool
	idle   chan struct{} // closed when ending and no call is in flight
}

// dialOptions are those of every connection of a Client.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
	}
}

// newClient makes sure that the peer serves, and settles the protocol with it.
// The connection stays the caller's when it fails.
func newClient(ctx context.Context, c *Client, conn grpc.ClientConnInterface, host peer) (*Client, error) {
	c.service = wringv1.NewBackendServiceClient(conn)
	c.health = healthv1.NewHealthClient(conn)
	c.idle = make(chan struct{})
	if err := c.Healthy(ctx); err != nil {
		return nil, err
	}
	doing := "describe " + c.peer
	answer, err := c.service.Describe(ctx, &wringv1.DescribeRequest{
		ProtocolMin: uint32(host.min), ProtocolMax: uint32(host.max),
		HostVersion: utf8String(host.name),
	})
	if err != nil {
		return nil, c.explain(ctx, doing, err)
	}
	d := descriptionFromWire(answer)
	if d.ProtocolVersion < host.min || d.ProtocolVersion > host.max {
		return nil, Errorf(ErrProtocol, "%s: it settles on version %d of the protocol, %s speaks %s", doing, d.ProtocolVersion, hostName(host.name), host.versions()).
			WithHint("update the older of the two")
	}
	if d.Name == "" || len(d.Capabilities.Modes) == 0 {
		return nil, Errorf(ErrProtocol, "%s: its description has no name or no modes", doing).
			WithHint("report this to the backend's author")
	}
	c.description = d
	return c, nil
}

// thisHost is the calling side of a negotiation.
func thisHost(version string) peer {
	return peer{name: version, min: ProtocolMin, max: ProtocolMax}
}

// hostName is the host with its version, for messages.
func hostName(version string) string { return strings.TrimSpace("wring " + version) }

// Description is what the backend said of itself when the connection was made.
func (c *Client) Description() Description { return c.description.clone() }

// Describe asks the backend again; the answer is that of Description.
func (c *Client) Describe(ctx context.Context) (Description, error) {
	doing := "describe " + c.peer
	end, err := c.begin(doing)
	if err != nil {
		return Description{}, err
	}
	defer end()
	version := uint32(c.description.ProtocolVersion)
	answer, err := c.service.Describe(ctx, &wringv1.DescribeRequest{ProtocolMin: version, ProtocolMax: version})
	if err != nil {
		return Description{}, c.explain(ctx, doing, err)
	}
	return descriptionFromWire(answer), nil
}

// Fragmentation measures.
func (c *Client) Fragmentation(ctx context.Context, req FragmentationRequest) (Fragmentation, error) {
	doing := "measure " + nameOf(req.Store)
	end, err := c.begin(doing)
	if err != nil {
		return Fragmentation{}, err
	}
	defer end()
	if err := checkStore(doing, req.Store); err != nil {
		return Fragmentation{}, err
	}
	depth := depthToWire(req.Depth)
	if depth == wringv1.Depth_DEPTH_UNSPECIFIED && req.Depth != "" {
		return Fragmentation{}, Errorf(ErrInvalidOption, "%s: there is no depth %q", doing, req.Depth).
			WithHint("the depths are: quick, sampled, exact")
	}
	options, err := optionsToWire(req.Options)
	if err != nil {
		return Fragmentation{}, err
	}
	answer, err := c.service.Fragmentation(ctx, &wringv1.FragmentationRequest{
		Store: storeToWire(req.Store), Depth: depth, Mode: utf8String(req.Mode), Options: options,
	})
	if err != nil {
		return Fragmentation{}, c.explain(ctx, doing, err)
	}
	f, err := fragmentationFromWire(answer)
	if err != nil {
		return Fragmentation{}, Errorf(ErrInternal, "%s: the picture of the layers that %s sends is wrong: %w", doing, c.peer, err).
			WithHint("report this to the backend's author")
	}
	return f, nil
}

// Compact compacts. When ctx ends it asks the backend to stop and returns what
// the backend says once it has cleaned up. ErrConnection means that the
// outcome is not known.
func (c *Client) Compact(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
	doing := "compact " + nameOf(req.Store)
	end, err := c.begin(doing)
	if err != nil {
		return CompactResult{}, err
	}
	defer end()
	if err := checkStore(doing, req.Store); err != nil {
		return CompactResult{}, err
	}
	if ctx.Err() != nil {
		return CompactResult{}, cancelled(ctx, doing)
	}
	options, err := optionsToWire(req.Options)
	if err != nil {
		return CompactResult{}, err
	}
	// The call's own context ends with the call, not with ctx: that is told to
	// the backend by Cancel, so that its last word still arrives.
	callCtx, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	id := rand.Text()
	ended := make(chan struct{})
	rate, changed := req.Limits.BytesPerSecond, (<-chan struct{})(nil)
	if req.Pace != nil {
		rate, changed = req.Pace.watch()
	}
	steer := &steering{client: c, id: id, ended: ended}
	var steered sync.WaitGroup
	steered.Go(func() { steer.relayCancel(ctx, abandon) })
	if changed != nil {
		steered.Go(func() { steer.relayPace(ctx, req.Pace, changed) })
	}
	defer steered.Wait()
	defer close(ended)

	stream, err := c.service.Compact(callCtx, &wringv1.CompactRequest{
		Store: storeToWire(req.Store), Mode: utf8String(req.Mode), Options: options, CallId: id,
		Limits: limitsToWire(Limits{BytesPerSecond: rate}),
	})
	if err != nil {
		return CompactResult{}, c.explain(ctx, doing, err)
	}
	return c.receive(ctx, doing, stream, newMonotonic(report))
}

func (c *Client) receive(ctx context.Context, doing string, stream grpc.ServerStreamingClient[wringv1.CompactResponse], progress *monotonic) (CompactResult, error) {
	var result *CompactResult
	for {
		event, err := stream.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			err = c.explain(ctx, doing, err)
		}
		switch {
		case errors.Is(err, io.EOF) && result == nil:
			return CompactResult{}, Errorf(ErrInternal, "%s: %s ended the call without a result", doing, c.peer).
				WithHint("look at the store before using it, and report this to the backend's author")
		case errors.Is(err, io.EOF), result != nil && errors.Is(err, ErrConnection):
			// With the result all has been said: that the connection is lost
			// after it changes nothing.
			if err := checkVerification(doing, result.Verification); err != nil {
				return CompactResult{}, err
			}
			return *result, nil
		case err != nil:
			return CompactResult{}, err
		}
		switch e := event.GetEvent().(type) {
		case *wringv1.CompactResponse_Progress:
			progress.report(progressFromWire(e.Progress))
		case *wringv1.CompactResponse_Result:
			r := resultFromWire(e.Result)
			result = &r
		}
	}
}

// Sweep removes what dead compactions left beside the store.
func (c *Client) Sweep(ctx context.Context, store Store) ([]string, error) {
	doing := "sweep " + nameOf(store)
	end, err := c.begin(doing)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := checkStore(doing, store); err != nil {
		return nil, err
	}
	answer, err := c.service.Sweep(ctx, &wringv1.SweepRequest{Store: storeToWire(store)})
	if err != nil {
		return nil, c.explain(ctx, doing, err)
	}
	return answer.GetRemoved(), nil
}

// Stores lists the stores of an owner.
func (c *Client) Stores(ctx context.Context) ([]Store, error) {
	doing := "list stores of " + c.peer
	end, err := c.begin(doing)
	if err != nil {
		return nil, err
	}
	defer end()
	answer, err := c.service.ListStores(ctx, &wringv1.ListStoresRequest{})
	if err != nil {
		return nil, c.explain(ctx, doing, err)
	}
	stores := make([]Store, len(answer.GetStores()))
	for i, s := range answer.GetStores() {
		stores[i] = storeFromWire(s)
	}
	return stores, nil
}

// Healthy asks whether the backend serves, and waits at most five seconds for
// the answer. A backend that says no, or nothing, is ErrConnection.
func (c *Client) Healthy(ctx context.Context) error {
	doing := "check " + c.peer
	limited, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	answer, err := c.health.Check(limited, &healthv1.HealthCheckRequest{Service: HealthService})
	switch code := status.Code(err); {
	case err == nil && answer.GetStatus() == healthv1.HealthCheckResponse_SERVING:
		return nil
	case err == nil:
		return Errorf(ErrConnection, "%s: it says that it is not serving (%s)", doing, answer.GetStatus()).
			WithHint("it may be starting or ending: try again later")
	case ctx.Err() != nil:
		return cancelled(ctx, doing)
	case code == codes.DeadlineExceeded:
		return Errorf(ErrConnection, "%s: no answer within %s", doing, healthTimeout).
			WithHint("the process may hang or be stopped: look at it, or restart it")
	case code == codes.Unimplemented, code == codes.NotFound:
		return Errorf(ErrProtocol, "%s: it has no health service %q, so it is no backend of wring: %s", doing, HealthService, strings.TrimSpace(status.Convert(err).Message())).
			WithHint("check that the socket is that of a wring backend")
	default:
		return c.explain(ctx, doing, err)
	}
}

// Close ends the connection to an owner; calls in flight fail with
// ErrConnection, and the owner lives on. The client of a Process only stops
// taking calls: Process.Stop ends the connection.
func (c *Client) Close() error {
	c.drain()
	if c.hangUp == nil {
		return nil
	}
	return c.hangUp()
}

func (c *Client) explain(ctx context.Context, doing string, err error) *Error {
	return fromStatus(ctx, doing, c.peer, err, c.lost)
}

// begin counts a call in; its end counts it out.
func (c *Client) begin(doing string) (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return nil, Errorf(ErrConnection, "%s: the connection to %s has been closed by this side", doing, c.peer)
	}
	c.calls++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls--
		c.closeWhenIdle()
	}, nil
}

// drain refuses new calls; the channel is closed when none is in flight.
func (c *Client) drain() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending = true
		c.closeWhenIdle()
	}
	return c.idle
}

func (c *Client) closeWhenIdle() {
	if !c.ending || c.calls > 0 {
		return
	}
	select {
	case <-c.idle:
	default:
		close(c.idle)
	}
}

var (
	_ Backend     = (*Client)(nil)
	_ Sweeper     = (*Client)(nil)
	_ StoreLister = (*Client)(nil)
)
