package sdk

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// newPaced is a backend with work for ages unless it has no limit. Its phase is
// the rate that it keeps to.
func newPaced() *fake {
	f := newFake()
	f.description.Capabilities.LimitsRate = true
	f.compact = func(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
		req.Pace.Account(1 << 60)
		for {
			report(Progress{Phase: strconv.FormatInt(req.Pace.Rate(), 10)})
			if due, err := req.Pace.Nap(ctx, 5*time.Millisecond); due || err != nil {
				return CompactResult{Note: strconv.FormatInt(req.Limits.BytesPerSecond, 10)}, err
			}
		}
	}
	return f
}

// paced compacts and follows the rate that the backend keeps to.
type paced struct {
	pace *Pace
	done chan error
	note string // of the result, once done has given nil

	mu   sync.Mutex
	rate string
}

func startPaced(ctx context.Context, b Backend, store Store, rate int64) *paced {
	p := &paced{pace: NewPace(rate), done: make(chan error, 1)}
	go func() {
		result, err := b.Compact(ctx, CompactRequest{Store: store, Pace: p.pace}, func(progress Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.rate = progress.Phase
		})
		p.note = result.Note
		p.done <- err
	}()
	return p
}

func (p *paced) keepsTo(t *testing.T, rate string) {
	t.Helper()
	eventually(t, 10*time.Second, "the backend keeps to a rate of "+rate, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.rate == rate
	})
}

// The rate is changed while the call runs: in process, in a plugin, in an owner.
func TestPaceReachesTheBackend(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T) Backend{
		"in process": func(*testing.T) Backend { return Guard(newPaced()) },
		"plugin":     func(t *testing.T) Backend { _, c := start(t, "paced"); return c },
		"owner":      func(t *testing.T) Backend { return dial(t, serveOwner(t, newPaced())) },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			p := startPaced(t.Context(), connect(t), newStore(t, "a"), 7)
			p.keepsTo(t, "7")
			for _, rate := range []int64{9, 3} {
				p.pace.Set(rate)
				p.keepsTo(t, strconv.FormatInt(rate, 10))
			}
			p.pace.Set(0)
			if err := within(t, 10*time.Second, p.done); err != nil {
				t.Fatal(err)
			}
			if p.note != "7" {
				t.Errorf("the call began with a limit of %s", p.note)
			}
		})
	}
}

// A pace of the limit is made where there is none, and one that is given counts.
func TestGuardFillsInThePace(t *testing.T) {
	f := newPaced()
	f.compact = func(_ context.Context, req CompactRequest, _ func(Progress)) (CompactResult, error) {
		return CompactResult{ReclaimedBytes: req.Pace.Rate(), Pause: time.Duration(req.Limits.BytesPerSecond)}, nil
	}
	for _, c := range []struct {
		req  CompactRequest
		want int64
	}{
		{CompactRequest{}, 0},
		{CompactRequest{Limits: Limits{BytesPerSecond: 5}}, 5},
		{CompactRequest{Pace: NewPace(6)}, 6},
		{CompactRequest{Limits: Limits{BytesPerSecond: 5}, Pace: NewPace(6)}, 6},
		{CompactRequest{Limits: Limits{BytesPerSecond: 5}, Pace: NewPace(0)}, 0},
	} {
		c.req.Store = newStore(t, "a")
		result, err := Guard(f).Compact(t.Context(), c.req, nil)
		if err != nil || result.ReclaimedBytes != c.want || int64(result.Pause) != c.want {
			t.Errorf("%+v: pace of %d, limit of %d, %v", c.req, result.ReclaimedBytes, result.Pause, err)
		}
	}
	negative := CompactRequest{Store: newStore(t, "a"), Limits: Limits{BytesPerSecond: -1}, Pace: NewPace(0)}
	if _, err := Guard(f).Compact(t.Context(), negative, nil); !errors.Is(err, ErrInvalidOption) {
		t.Errorf("a negative limit beside a pace: %v", err)
	}
	unlimited := CompactRequest{Store: newStore(t, "a"), Pace: NewPace(1)}
	if _, err := Guard(newFake()).Compact(t.Context(), unlimited, nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a pace for a backend that keeps to none: %v", err)
	}
}

// adjusted stands before a server and counts.
type adjusted struct {
	*server
	asked  atomic.Int64
	answer func(n int64) (*wringv1.AdjustResponse, error) // nil: let the server answer
}

func (a *adjusted) Adjust(ctx context.Context, req *wringv1.AdjustRequest) (*wringv1.AdjustResponse, error) {
	if answer, err := a.answer(a.asked.Add(1)); answer != nil || err != nil {
		return answer, err
	}
	return a.server.Adjust(ctx, req)
}

func serveAdjusted(t *testing.T, answer func(n int64) (*wringv1.AdjustResponse, error)) (*adjusted, *Client) {
	t.Helper()
	impl := &adjusted{server: newServer(newPaced(), hclog.NewNullLogger()), answer: answer}
	socket, _ := serveRaw(t, impl)
	return impl, dial(t, socket)
}

// A backend that was made before Adjust keeps the rate that it began with, and
// is asked once.
func TestPaceOfAnOlderBackend(t *testing.T) {
	noLeaks(t)
	impl, c := serveAdjusted(t, func(int64) (*wringv1.AdjustResponse, error) {
		return nil, status.Error(codes.Unimplemented, "unknown method Adjust")
	})
	var log buffer
	ctx, cancel := context.WithCancel(hclog.WithContext(t.Context(), hclog.New(&hclog.LoggerOptions{Output: &log})))
	defer cancel()
	p := startPaced(ctx, c, newStore(t, "a"), 7)
	p.keepsTo(t, "7")
	p.pace.Set(0)
	eventually(t, 10*time.Second, "the backend is asked", func() bool { return impl.asked.Load() == 1 })
	p.pace.Set(9)
	p.keepsTo(t, "7")
	cancel()
	if err := within(t, 10*time.Second, p.done); !errors.Is(err, ErrCancelled) {
		t.Errorf("err = %v", err)
	}
	if n := impl.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if n := strings.Count(log.String(), "keeps the one that it began with"); n != 1 {
		t.Errorf("the log says %d times that the limit was not taken:\n%s", n, log.String())
	}
}

// A change that comes before the call has begun, or is lost, is repeated.
func TestPaceIsRepeated(t *testing.T) {
	noLeaks(t)
	impl, c := serveAdjusted(t, func(n int64) (*wringv1.AdjustResponse, error) {
		switch n {
		case 1:
			return &wringv1.AdjustResponse{}, nil
		case 2:
			return nil, status.Error(codes.Unavailable, "not now")
		}
		return nil, nil
	})
	p := startPaced(t.Context(), c, newStore(t, "a"), 7)
	p.keepsTo(t, "7")
	p.pace.Set(0)
	if err := within(t, 10*time.Second, p.done); err != nil {
		t.Fatal(err)
	}
	if n := impl.asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestAdjustIsChecked(t *testing.T) {
	s := newServer(newPaced(), hclog.NewNullLogger())
	answer, err := s.Adjust(t.Context(), &wringv1.AdjustRequest{CallId: "nobody", Limits: &wringv1.Limits{BytesPerSecond: 1}})
	if err != nil || answer.GetFound() {
		t.Errorf("a call that there is not: %v, %v", answer, err)
	}
	_, err = s.Adjust(t.Context(), &wringv1.AdjustRequest{Limits: &wringv1.Limits{BytesPerSecond: -1}})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "negative") {
		t.Errorf("a negative limit: %v", err)
	}
	_, err = rawServer().Adjust(t.Context(), &wringv1.AdjustRequest{Limits: &wringv1.Limits{BytesPerSecond: 1}})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a backend that cannot limit its rate: %v", err)
	}
}
