package sdk

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

const (
	// steerTimeout is how long a backend may take to answer.
	steerTimeout = 5 * time.Second
	// steerInterval is how often something is said again that found no call.
	steerInterval = 50 * time.Millisecond
)

// steering tells a backend what changes while its Compact is under way.
type steering struct {
	client *Client
	id     string          // of the call
	ended  <-chan struct{} // closed when the call has returned
}

// relayCancel tells when ctx ends before the call does.
func (s *steering) relayCancel(ctx context.Context, abandon func()) {
	select {
	case <-s.ended:
		return
	case <-ctx.Done():
	}
	understood := s.repeat(func(ctx context.Context) (found bool, err error) {
		answer, err := s.client.service.Cancel(ctx, &wringv1.CancelRequest{CallId: s.id})
		return answer.GetFound(), err
	})
	if !understood {
		abandon() // an older backend: the end of the context must do
	}
}

// relayPace tells of every change of the pace until the call ends. A backend
// that does not take it goes on as it began, which the log then says.
func (s *steering) relayPace(ctx context.Context, pace *Pace, changed <-chan struct{}) {
	for {
		select {
		case <-s.ended:
			return
		case <-changed:
		}
		understood := s.repeat(func(ctx context.Context) (found bool, err error) {
			var rate int64
			rate, changed = pace.watch()
			answer, err := s.client.service.Adjust(ctx, &wringv1.AdjustRequest{
				CallId: s.id, Limits: limitsToWire(Limits{BytesPerSecond: rate}),
			})
			return answer.GetFound(), err
		})
		if !understood {
			hclog.FromContext(ctx).Warn("the backend takes no new limit: this compaction keeps the one that it began with", "backend", s.client.peer)
			return
		}
	}
}

// repeat says something until it has reached the call or the call has ended:
// the call may not have begun yet, or the backend be slow to answer. It is
// false for a backend that does not understand.
func (s *steering) repeat(say func(ctx context.Context) (found bool, err error)) (understood bool) {
	again := time.NewTicker(steerInterval)
	defer again.Stop()
	for {
		found, err := s.once(say)
		if found {
			return true
		}
		if code := status.Code(err); code == codes.Unimplemented || code == codes.InvalidArgument {
			return false
		}
		select {
		case <-s.ended:
			return true
		case <-again.C:
		}
	}
}

func (s *steering) once(say func(ctx context.Context) (found bool, err error)) (found bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), steerTimeout)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-stop:
		}
	}()
	return say(ctx)
}
