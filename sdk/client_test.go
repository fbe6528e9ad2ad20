package sdk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// serveRaw serves any implementation on a socket, as another language would.
func serveRaw(t *testing.T, impl wringv1.BackendServiceServer) (socket string, state *health.Server) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	state = health.NewServer()
	state.SetServingStatus(HealthService, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(g, state)
	wringv1.RegisterBackendServiceServer(g, impl)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return socket, state
}

func dial(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), socket, "0.9")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func rawServer() *server { return newServer(newFake(), hclog.NewNullLogger()) }

// Every kind comes through a real process with its message, hint and
// retryability.
func TestErrorsRoundTrip(t *testing.T) {
	_, c := start(t, "plugin")
	for n, kind := range Kinds() {
		_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: fmt.Sprintf("kind %d", n), Path: "/data/a.db"}})
		var e *Error
		if !errors.As(err, &e) || !errors.Is(e.Kind, kind) {
			t.Errorf("%v comes back as %v", kind, err)
			continue
		}
		if want := fmt.Sprintf("message %d of /data/a.db", n); !strings.Contains(e.Message, want) || e.Hint != fmt.Sprintf("hint %d", n) {
			t.Errorf("%v comes back with %q, hint %q", kind, e.Message, e.Hint)
		}
		if e.Retryable != (n%2 == 0) && !errors.Is(kind, ErrCancelled) {
			t.Errorf("%v comes back retryable: %v", kind, e.Retryable)
		}
	}
	_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "untyped"}})
	if !errors.Is(err, ErrInternal) || !Retryable(err) || !strings.Contains(err.Error(), "something odd") {
		t.Errorf("untyped: %v", err)
	}
}

// What stands in the way of a compaction comes through with all that an error
// has; a kind that the wire does not have becomes the backend's own failure.
func TestObstaclesRoundTrip(t *testing.T) {
	_, c := start(t, "plugin")
	for n, kind := range Kinds() {
		f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: fmt.Sprintf("obstacle %d", n), Path: "/data/a.db"}})
		if err != nil || f.Obstacle == nil {
			t.Fatalf("%v: %+v, %v", kind, f, err)
		}
		if errors.Is(kind, ErrConnection) {
			kind = ErrInternal
		}
		got := f.Obstacle
		if !errors.Is(got.Kind, kind) || got.Message != fmt.Sprintf("obstacle %d of /data/a.db", n) || got.Hint != fmt.Sprintf("hint %d", n) {
			t.Errorf("%v comes back as %+v", kind, *got)
		}
		if got.Retryable != (n%2 == 0) && !errors.Is(kind, ErrCancelled) {
			t.Errorf("%v comes back retryable: %v", kind, got.Retryable)
		}
	}
	f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a", Path: "/data/a.db"}})
	if err != nil || f.Obstacle != nil {
		t.Errorf("without an obstacle: %+v, %v", f.Obstacle, err)
	}
}

// The caller learns when the backend has cleaned up, not before.
func TestCancelWaitsForCleanUp(t *testing.T) {
	noLeaks(t)
	_, c := start(t, "plugin")
	store := newStore(t, "long")
	ctx, cancel := context.WithCancel(t.Context())
	done := compacting(ctx, t, c, store)
	cancel()
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrCancelled) || Retryable(err) {
		t.Errorf("err = %v", err)
	}
	untouched(t, store)
	if _, err := c.Compact(ctx, CompactRequest{Store: store}, nil); !errors.Is(err, ErrCancelled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	deadline, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Compact(deadline, CompactRequest{Store: store}, nil); !errors.Is(err, ErrCancelled) {
		t.Errorf("after a deadline: %v", err)
	}
	untouched(t, store)
}

// A backend that cannot be asked to stop gets the end of the context.
type noCancel struct {
	*server
	ended chan struct{}
}

func (n *noCancel) Cancel(context.Context, *wringv1.CancelRequest) (*wringv1.CancelResponse, error) {
	return nil, status.Error(codes.Unimplemented, "unknown method Cancel")
}

func (n *noCancel) Sweep(context.Context, *wringv1.SweepRequest) (*wringv1.SweepResponse, error) {
	return nil, status.Error(codes.Unimplemented, "unknown method Sweep")
}

func (n *noCancel) Compact(req *wringv1.CompactRequest, stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error {
	defer close(n.ended)
	return n.server.Compact(req, stream)
}

func TestCancelOfAnOlderBackend(t *testing.T) {
	noLeaks(t)
	impl := &noCancel{server: rawServer(), ended: make(chan struct{})}
	socket, _ := serveRaw(t, impl)
	c := dial(t, socket)
	ctx, cancel := context.WithCancel(t.Context())
	store := newStore(t, "long")
	done := compacting(ctx, t, c, store)
	cancel()
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrCancelled) {
		t.Errorf("err = %v", err)
	}
	<-impl.ended
	untouched(t, store)
	if _, err := c.Sweep(t.Context(), store); !errors.Is(err, ErrUnsupported) || !strings.Contains(HintOf(err), "update") {
		t.Errorf("a call that it does not know: %v", err)
	}
}

// A cancellation that comes before the call has begun is repeated.
type slowStart struct {
	*server
	asked atomic.Int64
}

func (s *slowStart) Cancel(ctx context.Context, req *wringv1.CancelRequest) (*wringv1.CancelResponse, error) {
	if s.asked.Add(1) < 3 {
		return &wringv1.CancelResponse{Found: false}, nil
	}
	return s.server.Cancel(ctx, req)
}

func TestCancelIsRepeated(t *testing.T) {
	noLeaks(t)
	impl := &slowStart{server: rawServer()}
	socket, _ := serveRaw(t, impl)
	c := dial(t, socket)
	ctx, cancel := context.WithCancel(t.Context())
	done := compacting(ctx, t, c, newStore(t, "long"))
	cancel()
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrCancelled) {
		t.Errorf("err = %v", err)
	}
	if impl.asked.Load() != 3 {
		t.Errorf("asked %d times", impl.asked.Load())
	}
}

// odd answers against the protocol.
type odd struct {
	*server
	describe *wringv1.DescribeResponse
	compact  func(stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error
}

func (o *odd) Describe(ctx context.Context, req *wringv1.DescribeRequest) (*wringv1.DescribeResponse, error) {
	if o.describe != nil {
		return o.describe, nil
	}
	return o.server.Describe(ctx, req)
}

func (o *odd) Compact(_ *wringv1.CompactRequest, stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error {
	return o.compact(stream)
}

func TestClientRefusesOddAnswers(t *testing.T) {
	for _, wire := range []*wringv1.DescribeResponse{
		{},
		{ProtocolVersion: 9, Name: "odd", Capabilities: &wringv1.Capabilities{Modes: []string{"full"}}},
		{ProtocolVersion: 1, Capabilities: &wringv1.Capabilities{Modes: []string{"full"}}},
		{ProtocolVersion: 1, Name: "odd"},
	} {
		socket, _ := serveRaw(t, &odd{server: rawServer(), describe: wire})
		if _, err := Dial(t.Context(), socket, "0.9"); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v: %v", wire, err)
		}
	}
	different := &wringv1.CompactResult{Verification: &wringv1.Verification{DigestBefore: "a", DigestAfter: "b"}}
	for say, answer := range map[string]func(stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error{
		"without a result": func(stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error {
			return stream.Send(&wringv1.CompactResponse{})
		},
		"digest a before, b after": func(stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error {
			return stream.Send(&wringv1.CompactResponse{Event: &wringv1.CompactResponse_Result{Result: different}})
		},
	} {
		socket, _ := serveRaw(t, &odd{server: rawServer(), compact: answer})
		if _, err := dial(t, socket).Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, nil); !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), say) {
			t.Errorf("want %q, got %v", say, err)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	noLeaks(t)
	// By the host, where the backend knows no bound.
	_, c := start(t, "flood")
	_, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
	if !errors.Is(err, ErrInternal) || Retryable(err) || !strings.Contains(err.Error(), "at most 4.0 MiB") || HintOf(err) == "" {
		t.Errorf("an answer of 5 MiB: %v", err)
	}
	// And by the backend's own side.
	f := newFake()
	f.measure = func(context.Context, FragmentationRequest) (Fragmentation, error) {
		return Fragmentation{Metrics: map[string]float64{strings.Repeat("m", 5<<20): 1}}, nil
	}
	socket := serveOwner(t, f)
	_, err = dial(t, socket).Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
	if !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "at most 4.0 MiB") || !strings.Contains(err.Error(), "trying to send") {
		t.Errorf("an answer of 5 MiB from an owner: %v", err)
	}
	// A note and an error are cut instead: the compaction has been done.
	f.compact = func(context.Context, CompactRequest, func(Progress)) (CompactResult, error) {
		return CompactResult{Note: strings.Repeat("n", 5<<20)}, nil
	}
	result, err := dial(t, socket).Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, nil)
	if err != nil || len(result.Note) > maxNote {
		t.Errorf("a note of 5 MiB: %d bytes, %v", len(result.Note), err)
	}
}

func TestHealthIsNoticed(t *testing.T) {
	noLeaks(t)
	socket, state := serveRaw(t, rawServer())
	c := dial(t, socket)
	if err := c.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	state.SetServingStatus(HealthService, healthv1.HealthCheckResponse_NOT_SERVING)
	if err := c.Healthy(t.Context()); !errors.Is(err, ErrConnection) || !strings.Contains(err.Error(), "not serving") {
		t.Errorf("not serving: %v", err)
	}
	if _, err := Dial(t.Context(), socket, "0.9"); !errors.Is(err, ErrConnection) || !strings.Contains(err.Error(), "not serving") {
		t.Errorf("attaching to what is not serving: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Healthy(over); !errors.Is(err, ErrCancelled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// Progress neither holds the backend up nor floods the host, and no phase is lost.
func TestProgressIsRelayed(t *testing.T) {
	noLeaks(t)
	f := newFake()
	f.compact = func(_ context.Context, _ CompactRequest, report func(Progress)) (CompactResult, error) {
		for _, phase := range []string{"copy", "verify", "sync"} {
			for i := range int64(100_000) {
				report(Progress{Phase: phase, Done: i + 1, Total: 100_000, Unit: "keys"})
			}
		}
		return CompactResult{}, nil
	}
	c := dial(t, serveOwner(t, f))
	var got []Progress
	if _, err := c.Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, func(p Progress) { got = append(got, p) }); err != nil {
		t.Fatal(err)
	}
	if len(got) < 3 || len(got) > 100 {
		t.Errorf("%d messages for 300000 reports", len(got))
	}
	complete := make(map[string]bool)
	for _, p := range got {
		complete[p.Phase] = p.Done == 100_000
	}
	if !complete["copy"] || !complete["verify"] || !complete["sync"] {
		t.Errorf("last words of phases: %v", complete)
	}
}

func TestRelayBoundsPhases(t *testing.T) {
	block := make(chan struct{})
	var sent []Progress
	r := startRelay(func(p Progress) error {
		<-block // a host that does not read
		sent = append(sent, p)
		return nil
	})
	for i := range 10 * relayPhases {
		r.report(Progress{Phase: fmt.Sprint(i)})
	}
	close(block)
	r.finish()
	if n := len(sent); n > 2*relayPhases || sent[n-1].Phase != fmt.Sprint(10*relayPhases-1) {
		t.Errorf("%d phases sent, the last is %v", n, sent[n-1])
	}
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		host, backend peer
		want          int
		update        string
	}{
		{peer{"h", 1, 1}, peer{"b", 1, 1}, 1, ""},
		{peer{"h", 1, 3}, peer{"b", 2, 5}, 3, ""},
		{peer{"h", 2, 5}, peer{"b", 1, 3}, 3, ""},
		{peer{"h", 3, 4}, peer{"b", 1, 2}, 0, "update b"},
		{peer{"h", 1, 2}, peer{"b", 3, 4}, 0, "update h"},
		{peer{"h", 0, 0}, peer{"b", 1, 1}, 0, "update h"},
	} {
		got, err := negotiate(c.host, c.backend)
		if got != c.want || (err != nil) != (c.want == 0) || !strings.HasPrefix(HintOf(err), c.update) {
			t.Errorf("%v and %v: %d, %v (%s)", c.host, c.backend, got, err, HintOf(err))
		}
	}
}

func TestClosedClient(t *testing.T) {
	noLeaks(t)
	socket := serveOwner(t, newFake())
	c := dial(t, socket)
	store := newStore(t, "long")
	done := compacting(t.Context(), t, c, store)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := within(t, 5*time.Second, done); !errors.Is(err, ErrConnection) {
		t.Errorf("a call in flight: %v", err)
	}
	if _, err := c.Describe(t.Context()); !errors.Is(err, ErrConnection) {
		t.Errorf("a call afterwards: %v", err)
	}
	eventually(t, 5*time.Second, "the owner has cleaned up", func() bool { return !exists(store.Path+".temp") && !exists(lockOf(store)) })
	if _, err := dial(t, socket).Describe(t.Context()); err != nil {
		t.Errorf("the owner does not outlive it: %v", err)
	}
}
