package sdk

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// maxMessage is the most that one message may be, in bytes, in either
// direction. It is what gRPC takes by default, so that every language agrees.
const maxMessage = 4 << 20

// server answers the calls of the protocol by a guarded backend, and keeps
// count of them so that its process can end without cutting one short.
type server struct {
	wringv1.UnimplementedBackendServiceServer

	backend                  *guard
	logger                   hclog.Logger
	protocolMin, protocolMax int

	mu       sync.Mutex
	draining error               // why calls are refused; nil while they are not
	drained  time.Time           // when that began
	calls    map[*call]struct{}  // in flight
	byID     map[string]*running // what can be named to Cancel and Adjust
	idle     chan struct{}       // closed when draining and no call is in flight
}

type call struct{ cancel context.CancelCauseFunc }

// running is a Compact under way.
type running struct {
	cancel context.CancelFunc
	pace   *Pace
}

func newServer(b Backend, logger hclog.Logger) *server {
	return &server{
		backend:     guarded(b),
		logger:      logger,
		protocolMin: ProtocolMin,
		protocolMax: ProtocolMax,
		calls:       make(map[*call]struct{}),
		byID:        make(map[string]*running),
		idle:        make(chan struct{}),
	}
}

// serverOptions are those of every gRPC server of this package.
func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.ConnectionTimeout(5 * time.Second),
	}
}

// begin counts a call in; its end counts it out.
func (s *server) begin(parent context.Context) (ctx context.Context, end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining != nil {
		return nil, nil, Errorf(ErrConnection, "%w", s.draining)
	}
	ctx, cancel := context.WithCancelCause(hclog.WithContext(parent, s.logger))
	c := &call{cancel: cancel}
	s.calls[c] = struct{}{}
	return ctx, func() {
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.calls, c)
		s.closeWhenIdle()
	}, nil
}

// drain refuses new calls from now on and cancels those in flight. The channel
// it returns is closed when the last of them has cleaned up.
func (s *server) drain(cause error) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining == nil {
		s.draining, s.drained = cause, time.Now()
		s.closeWhenIdle()
	}
	for c := range s.calls {
		c.cancel(cause)
	}
	return s.idle
}

func (s *server) closeWhenIdle() {
	if s.draining == nil || len(s.calls) > 0 {
		return
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
}

// drainingFor is how long calls have had to clean up.
func (s *server) drainingFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.drained)
}

// inFlight is the number of calls that have not returned.
func (s *server) inFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// Describe settles the version of the protocol.
func (s *server) Describe(ctx context.Context, req *wringv1.DescribeRequest) (*wringv1.DescribeResponse, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	defer end()
	d, err := s.backend.Describe(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	backend := peer{
		name: strings.TrimSpace(d.Name + " " + d.Version),
		min:  s.protocolMin, max: s.protocolMax,
	}
	host := peer{
		name: hostName(req.GetHostVersion()),
		min:  int(req.GetProtocolMin()), max: int(req.GetProtocolMax()),
	}
	if d.ProtocolVersion, err = negotiate(host, backend); err != nil {
		return nil, toStatus(err)
	}
	wire, err := descriptionToWire(d)
	return wire, toStatus(err)
}

// peer is one side of a negotiation and the versions that it speaks.
type peer struct {
	name     string
	min, max int
}

func (p peer) versions() string {
	if p.min == p.max {
		return fmt.Sprintf("version %d", p.min)
	}
	return fmt.Sprintf("versions %d to %d", p.min, p.max)
}

// negotiate returns the newest version that both speak.
func negotiate(host, backend peer) (int, error) {
	version := min(host.max, backend.max)
	if version >= host.min && version >= backend.min {
		return version, nil
	}
	older := host.name
	if backend.max < host.min {
		older = backend.name
	}
	return 0, Errorf(ErrProtocol, "%s speaks %s of the protocol, %s speaks %s", host.name, host.versions(), backend.name, backend.versions()).
		WithHint("update %s: it is the older one", older)
}

// Fragmentation measures.
func (s *server) Fragmentation(ctx context.Context, req *wringv1.FragmentationRequest) (*wringv1.FragmentationResponse, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	defer end()
	f, err := s.backend.Fragmentation(ctx, FragmentationRequest{
		Store:   storeFromWire(req.GetStore()),
		Depth:   depthFromWire(req.GetDepth()),
		Mode:    req.GetMode(),
		Options: req.GetOptions().AsMap(),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return fragmentationToWire(f), nil
}

// Compact compacts, and tells of its progress on the way.
func (s *server) Compact(req *wringv1.CompactRequest, stream grpc.ServerStreamingServer[wringv1.CompactResponse]) error {
	ctx, end, err := s.begin(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	defer end()
	limits := limitsFromWire(req.GetLimits())
	pace := NewPace(limits.BytesPerSecond)
	ctx, forget := s.nameCall(ctx, req.GetCallId(), pace)
	defer forget()

	relay := startRelay(func(p Progress) error { return stream.Send(progressToWire(p)) })
	result, err := s.backend.Compact(ctx, CompactRequest{
		Store:   storeFromWire(req.GetStore()),
		Mode:    req.GetMode(),
		Limits:  limits,
		Options: req.GetOptions().AsMap(),
		Pace:    pace,
	}, relay.report)
	relay.finish()
	if err != nil {
		return toStatus(err)
	}
	return stream.Send(resultToWire(result))
}

// nameCall makes a call known to Cancel and Adjust until forget is called.
func (s *server) nameCall(parent context.Context, id string, pace *Pace) (ctx context.Context, forget func()) {
	ctx, cancel := context.WithCancel(parent)
	if id == "" {
		return ctx, cancel
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = &running{cancel: cancel, pace: pace}
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byID, id)
	}
}

// named returns the call of that name, or nil.
func (s *server) named(id string) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// Cancel ends the context of a Compact whose stream stays open.
func (s *server) Cancel(_ context.Context, req *wringv1.CancelRequest) (*wringv1.CancelResponse, error) {
	c := s.named(req.GetCallId())
	if c != nil {
		c.cancel()
	}
	return &wringv1.CancelResponse{Found: c != nil}, nil
}

// Adjust changes the limits of a Compact.
func (s *server) Adjust(ctx context.Context, req *wringv1.AdjustRequest) (*wringv1.AdjustResponse, error) {
	limits := limitsFromWire(req.GetLimits())
	d, err := s.backend.Describe(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	if err := limits.check("adjust a compaction", d); err != nil {
		return nil, toStatus(err)
	}
	c := s.named(req.GetCallId())
	if c != nil {
		c.pace.Set(limits.BytesPerSecond)
	}
	return &wringv1.AdjustResponse{Found: c != nil}, nil
}

// Sweep removes leftovers.
func (s *server) Sweep(ctx context.Context, req *wringv1.SweepRequest) (*wringv1.SweepResponse, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	defer end()
	removed, err := s.backend.Sweep(ctx, storeFromWire(req.GetStore()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &wringv1.SweepResponse{Removed: utf8Strings(removed)}, nil
}

// ListStores names the stores of an owner.
func (s *server) ListStores(ctx context.Context, _ *wringv1.ListStoresRequest) (*wringv1.ListStoresResponse, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	defer end()
	stores, err := s.backend.Stores(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &wringv1.ListStoresResponse{}
	for _, store := range stores {
		answer.Stores = append(answer.Stores, &wringv1.Store{Name: utf8String(store.Name), Path: utf8String(store.Path)})
	}
	return answer, nil
}

var _ wringv1.BackendServiceServer = (*server)(nil)
