package notify

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A receiver that wants to be left alone for longer than notices are kept still
// gets them.
func TestLongRetryAfterLosesNothing(t *testing.T) {
	p := newPlace(t)
	first := make(chan struct{}, 1)
	first <- struct{}{}
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-first:
			w.Header().Set("Retry-After", strconv.Itoa(int((7 * 24 * time.Hour).Seconds())))
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
		}
	})
	n := p.startWith(Config{Now: p.clock}, webhook("ops", r.address()))
	n.Observe(failing("a", 1))
	wait(t, "it is put off", func() bool { return n.Status()[0].Problem != "" })
	p.pass(n.Status()[0].NextTryAt.Sub(p.clock()))
	n.targets[0].signal() // its own timer goes by the clock on the wall
	wait(t, "it is told", func() bool { return n.Status()[0].Queued == 0 })
	if s := n.Status()[0]; s.Delivered != 1 || s.Dropped != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// A receiver on this machine that refuses connections, being started anew, gets
// what it has missed once it is back, signed.
func TestReceiverThatComesBackGetsWhatItMissed(t *testing.T) {
	p := newPlace(t)
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := before.Addr().String()
	_ = before.Close()
	target := webhook("ops", "http://"+address+"/")
	target.SecretFile = secretFile(t, "s3cret")
	n := p.start(target)
	n.Observe(failing("a", 1))
	n.Observe(failing("b", 1))
	wait(t, "it is refused", func() bool { return strings.Contains(n.Status()[0].Problem, "refused") })
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := receiveOn(t, again, nil)
	for _, got := range r.waitFor(2) {
		verify(t, got, "s3cret", time.Now())
	}
	wait(t, "both are told", func() bool { return n.Status()[0].Delivered == 2 })
	if got := r.stories(); !slices.Equal(got, []string{"a failed", "b failed"}) {
		t.Errorf("told %q", got)
	}
}
