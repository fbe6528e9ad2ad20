package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	golog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// verify does what docs/notifications.md tells receivers to do.
func verify(t *testing.T, got request, secret string, now time.Time) {
	t.Helper()
	timestamp := got.header.Get("Wring-Timestamp")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "." + string(got.body)))
	if want := "v1=" + hex.EncodeToString(mac.Sum(nil)); got.header.Get("Wring-Signature") != want {
		t.Errorf("the signature is %q, want %q", got.header.Get("Wring-Signature"), want)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := now.Sub(time.Unix(seconds, 0)); err != nil || age.Abs() > 5*time.Minute {
		t.Errorf("the timestamp %q is %s old, %v", timestamp, age, err)
	}
}

func TestDocumentOfAWebhook(t *testing.T) {
	p, r := newPlace(t), newReceiver(t, nil)
	target := webhook("ops", r.address())
	target.SecretFile = secretFile(t, "s3cret")
	n := p.startWith(Config{Now: p.clock}, target)
	n.Observe(failing("a", 3))
	got := r.waitFor(1)[0]
	verify(t, got, "s3cret", p.now)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "wring/1.2.3", "Wring-Event": "degraded", "Wring-Event-Id": got.notice.ID,
	} {
		if have := got.header.Get(name); have != want || have == "" {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
	var document map[string]any
	if err := json.Unmarshal(got.body, &document); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"version": 1.0, "event": "degraded", "host": "db1", "store": "a", "time": "2026-03-01T12:00:00Z", "hint": "mend it",
		"message": "a has failed 3 times in a row; the last time it could not be compacted: it broke", "consecutive_failures": 3.0,
	} {
		if document[name] != want {
			t.Errorf("%s is %v, want %v", name, document[name], want)
		}
	}
	if result, ok := document["result"].(map[string]any); !ok || result["outcome"] != "failed" {
		t.Errorf("the result is %v", document["result"])
	}
}

func TestSlackTakesASentence(t *testing.T) {
	p, r := newPlace(t), newReceiver(t, nil)
	target := webhook("chat", "")
	target.Slack = r.address()
	n := p.start(target)
	n.Observe(State{Store: "a", Failures: 1, Last: func() *history.Result {
		return &history.Result{Outcome: history.Failed, Reason: "size < 1 & more", Hint: "mend <it>"}
	}})
	got := r.waitFor(1)[0]
	var form map[string]string
	if err := json.Unmarshal(got.body, &form); err != nil {
		t.Fatal(err)
	}
	if want := "*wring* on db1: a could not be compacted: size &lt; 1 &amp; more\nmend &lt;it&gt;"; len(form) != 1 || form["text"] != want {
		t.Errorf("the form is %q, want the text %q", form, want)
	}
	if got.header.Get(HeaderSignature) != "" {
		t.Error("what nobody can verify is signed")
	}
}

func TestEventsAndStoresAreFiltered(t *testing.T) {
	p, r := newPlace(t), newReceiver(t, nil)
	target := webhook("ops", r.address())
	target.Events, target.Stores = []string{"failed", "disk_full_soon"}, []string{"sess*", "apps"}
	n := p.start(target)
	n.Observe(failing("other", 1))
	n.Observe(failing("sessions", 3)) // degraded
	n.Observe(failing("sess2", 1))
	n.Observe(State{Store: "apps/web/x", Configured: "apps", Failures: 1})
	n.ObserveDisks([]Disk{{Mount: "/other", Stores: []string{"b"}}})
	n.ObserveDisks([]Disk{{Mount: "/srv", Stores: []string{"b", "apps/web/x"}, Configured: []string{"", "apps"}}})
	r.waitFor(3)
	n.Stop()
	if got, want := r.stories(), []string{"sess2 failed", "apps/web/x failed", "b disk_full_soon"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestAReceiverThatWasDownGetsAllInOrderAfterARestart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()

	p := newPlace(t)
	target := webhook("ops", "http://"+address+"/hook")
	target.SecretFile = secretFile(t, "s3cret")
	n := p.start(target)
	for i := range 3 {
		n.Observe(failing("a", 1))
		n.Observe(failing("b", 1))
		n.Observe(failing("a", 3))
		now := time.Unix(int64(i+1), 0)
		n.Observe(State{Store: "a", LastSuccessAt: now})
		n.Observe(State{Store: "b", LastSuccessAt: now})
	}
	wait(t, "some deliveries have failed", func() bool { return strings.Count(p.log.String(), "is not delivered") > 2 })
	status := n.Status()[0]
	if status.Queued != 15 || status.FailingSince.IsZero() || !strings.Contains(status.Problem, "refused") {
		t.Errorf("the status is %+v, want 15 queued and the reason", status)
	}
	n.Stop()
	if got := len(p.queued()); got != 15 {
		t.Fatalf("%d notices are queued on disk, want 15", got)
	}

	p.reopen()
	n = p.start(target)
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	r := receiveOn(t, listener, nil)
	got := r.waitFor(15)
	want := slices.Repeat([]string{"a failed", "b failed", "a degraded", "a recovered", "b recovered"}, 3)
	if stories := r.stories(); !slices.Equal(stories, want) {
		t.Errorf("told %q, want %q", stories, want)
	}
	ids := map[string]bool{}
	for _, one := range got {
		verify(t, one, "s3cret", time.Now())
		ids[one.notice.ID] = true
	}
	if len(ids) != 15 {
		t.Errorf("%d IDs among 15 notices", len(ids))
	}
	wait(t, "nothing is queued", func() bool { return len(p.queued()) == 0 })
	if s := n.Status()[0]; s.Queued != 0 || s.Problem != "" || s.Delivered != 15 || s.Dropped != 0 {
		t.Errorf("in the end the status is %+v", s)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	p := newPlace(t)
	n := p.startWith(Config{Keep: 3, FirstDelay: time.Hour}, webhook("ops", "http://127.0.0.1:1/"))
	n.Observe(failing("s0", 1))
	wait(t, "the first delivery has failed", func() bool { return n.Status()[0].Problem != "" })
	for i := range 9 {
		n.Observe(failing(fmt.Sprintf("s%d", i+1), 1))
	}
	if s := n.Status()[0]; s.Queued != 3 || s.Dropped != 7 {
		t.Errorf("the status is %+v, want 3 queued and 7 dropped", s)
	}
	n.mu.Lock()
	if first := n.targets[0].queue[0].notice.Store; first != "s7" {
		t.Errorf("the oldest that waits is of %s, want s7", first)
	}
	n.mu.Unlock()
	if got := p.queued(); len(got) != 3 {
		t.Errorf("queued on disk are %q, want 3", got)
	}
	if got := strings.Count(p.log.String(), "a notice is dropped"); got != 7 {
		t.Errorf("the log tells of %d that were dropped, want 7:\n%s", got, p.log.String())
	}
}

func TestWhatIsBeingDeliveredIsNotDroppedForLackOfRoom(t *testing.T) {
	hold := make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-hold })
	p := newPlace(t)
	n := p.startWith(Config{Keep: 2}, webhook("ops", r.address()))
	n.Observe(failing("s0", 1))
	r.waitFor(1)
	for i := range 3 {
		n.Observe(failing(fmt.Sprintf("s%d", i+1), 1))
	}
	close(hold)
	wait(t, "the queue is empty", func() bool { return n.Status()[0].Queued == 0 })
	if got := r.stories(); !slices.Equal(got, []string{"s0 failed", "s3 failed"}) || n.Status()[0].Dropped != 2 {
		t.Errorf("told %q, %d dropped; want the first and the last told", got, n.Status()[0].Dropped)
	}
}

func TestWhatWaitsTooLongIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		before, after time.Duration // a restart
		dropped       uint64
	}{
		"a day of attempts":          {23*time.Hour + 59*time.Minute, 0, 0},
		"more than a day":            {24*time.Hour + time.Minute, 0, 1},
		"a weekend without a host":   {0, 60 * time.Hour, 0},
		"a week without a host":      {0, 7*24*time.Hour + time.Minute, 1},
		"attempts, and a new host":   {20 * time.Hour, 20 * time.Hour, 0},
		"more than the new host has": {25 * time.Hour, time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			target := webhook("ops", "http://127.0.0.1:1/")
			n := p.startWith(Config{Now: p.clock}, target)
			n.Observe(failing("a", 1))
			p.pass(c.before)
			attempts := func() int { return strings.Count(p.log.String(), "is not delivered") }
			tried := attempts()
			n.Reconfigure([]config.Notify{target}) // by the real clock nothing is due
			wait(t, "it is tried or dropped", func() bool { return attempts() > tried || n.Status()[0].Dropped > 0 })
			dropped := n.Status()[0].Dropped
			n.Stop()
			p.pass(c.after)
			if c.after > 0 {
				p.reopen()
				tried = attempts()
				n = p.startWith(Config{Now: p.clock}, target)
				wait(t, "it is tried or dropped, or not there", func() bool { return attempts() > tried || n.Status()[0].Dropped > 0 || dropped > 0 })
				dropped += n.Status()[0].Dropped
				n.Stop()
			}
			if dropped != c.dropped || len(p.queued()) != 1-int(c.dropped) {
				t.Errorf("%d dropped and %q queued, want %d dropped", dropped, p.queued(), c.dropped)
			}
		})
	}
}

func TestASlowTargetHoldsUpNobody(t *testing.T) {
	hold := make(chan struct{})
	slow := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	p, r := newPlace(t), newReceiver(t, nil)
	n := p.startWith(Config{Grace: time.Millisecond}, webhook("slow", slow.address()), webhook("dead", "http://127.0.0.1:1/"), webhook("ops", r.address()))
	for i := range 20 {
		n.Observe(failing(fmt.Sprintf("s%d", i), 1))
	}
	r.waitFor(20)
	slow.waitFor(1)
	for _, s := range n.Status()[:2] {
		if s.Queued != 20 {
			t.Errorf("%s has %d queued, want all 20", s.Name, s.Queued)
		}
	}
	n.Stop() // and so it does not hold up the host's end
	if got := len(p.queued()); got != 40 {
		t.Errorf("%d are queued on disk, want 40", got)
	}
}

func TestADeliveryUnderWayEndsBeforeTheHost(t *testing.T) {
	hold := make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-hold })
	p := newPlace(t)
	n := p.startWith(Config{Grace: patience}, webhook("ops", r.address()))
	n.Observe(failing("a", 1))
	n.Observe(failing("b", 1))
	r.waitFor(1)
	stopped := make(chan struct{})
	go func() { n.Stop(); close(stopped) }()
	<-n.stopping
	close(hold)
	<-stopped
	if got, queued := r.stories(), p.queued(); !slices.Equal(got, []string{"a failed"}) || len(queued) != 1 {
		t.Errorf("told %q, queued %q; want the first told, once, and the other queued", got, queued)
	}
}

func TestRedirects(t *testing.T) {
	elsewhere := newReceiver(t, nil)
	here := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, elsewhere.address(), http.StatusTemporaryRedirect)
		case "/found":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusPermanentRedirect)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusTemporaryRedirect)
		}
	})
	p := newPlace(t)
	n := p.start()
	for path, want := range map[string]string{
		"/away":  "redirect refused: " + here.server.Listener.Addr().String() + " sends it to " + elsewhere.server.URL,
		"/found": "with which the document would be lost",
		"/moved": "",
		"/round": "more than 3 of",
	} {
		before := len(here.requests())
		answer := n.deliver(t.Context(), webhook("ops", here.server.URL+path), n.complete(Notice{Event: Test}, p.now))
		if answer.OK != (want == "") || !strings.Contains(answer.Error, want) {
			t.Errorf("%s: %+v, want the error %q", path, answer, want)
		}
		if want != "" && (answer.verdict != refused || answer.Hint == "") {
			t.Errorf("%s: the verdict is %d, want refused with a hint", path, answer.verdict)
		}
		for _, got := range here.requests()[before:] {
			if got.notice.Event != Test {
				t.Errorf("%s: came with the body %q", path, got.body)
			}
		}
	}
	if got := elsewhere.requests(); len(got) != 0 {
		t.Errorf("another host was sent %d requests", len(got))
	}
}

func TestGoneStops(t *testing.T) {
	status := make(chan int, 2)
	status <- http.StatusGone
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		select {
		case s := <-status:
			w.WriteHeader(s)
		default:
		}
	})
	p, target := newPlace(t), webhook("ops", r.address())
	n := p.start(target)
	n.Observe(failing("a", 1))
	wait(t, "the target is stopped", func() bool { return n.Status()[0].Stopped })
	n.Observe(failing("b", 1))
	if s := n.Status()[0]; s.Queued != 1 || s.Dropped != 1 || len(r.requests()) != 1 || !strings.Contains(s.Problem, "410") {
		t.Errorf("after 410 the status is %+v, and %d requests were made", s, len(r.requests()))
	}
	if e, _, _ := n.targets[0].first(); e != nil {
		t.Errorf("after 410 %s would be told", e.notice.Store)
	}
	n.Reconfigure([]config.Notify{target})
	r.waitFor(2)
	if got := r.stories(); !slices.Equal(got, []string{"a failed", "b failed"}) {
		t.Errorf("told %q", got)
	}
}

func TestWhatIsRefusedDoesNotBlockTheRestForEver(t *testing.T) {
	p := newPlace(t)
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(HeaderEvent) == string(Failed) {
			http.Error(w, "no such thing\nas this", http.StatusNotFound)
		}
	})
	n := p.startWith(Config{Now: p.clock}, webhook("ops", r.address()))
	n.Observe(failing("a", 1))
	n.Observe(failing("a", 3))
	// However often it is refused, it is kept for an hour.
	const tries = 2 * maxRefusals
	for i := range tries {
		r.waitFor(i + 1)
		wait(t, "the refusal is noted", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.targets[0].refusals == i+1 })
		if s := n.Status()[0]; s.Queued != 2 || s.Dropped != 0 {
			t.Fatalf("after %d refusals the status is %+v", i+1, s)
		}
		if i < tries-1 {
			p.pass(time.Second) // more than any delay here
		}
	}
	p.pass(refusedFor)
	wait(t, "it is dropped", func() bool { return n.Status()[0].Dropped == 1 })
	p.pass(time.Second)
	r.waitFor(tries + 2)
	wait(t, "the queue is empty", func() bool { return n.Status()[0].Queued == 0 && len(p.queued()) == 0 })
	want := append(slices.Repeat([]string{"a failed"}, tries+1), "a degraded")
	if got := r.stories(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if s := n.Status()[0]; s.Dropped != 1 || s.Delivered != 1 {
		t.Errorf("the status is %+v", s)
	}
	if !strings.Contains(p.log.String(), `answer="404 Not Found: no such thing | as this"`) {
		t.Errorf("the log does not have the answer:\n%s", p.log.String())
	}
}

func TestErrorsOfTheServerAreTriedAgain(t *testing.T) {
	for _, status := range []int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		p := newPlace(t)
		left := make(chan struct{}, 2*maxRefusals)
		for range cap(left) {
			left <- struct{}{}
		}
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			select {
			case <-left:
				w.WriteHeader(status)
			default:
			}
		})
		n := p.start(webhook("ops", r.address()))
		n.Observe(failing("a", 1))
		got := r.waitFor(2*maxRefusals + 1)
		wait(t, "it is told", func() bool { return n.Status()[0].Delivered == 1 })
		for _, one := range got {
			if one.notice.ID != got[0].notice.ID || one.header.Get(HeaderID) != got[0].notice.ID {
				t.Errorf("%d: another attempt has the ID %q, the first had %q", status, one.notice.ID, got[0].notice.ID)
			}
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	p := newPlace(t)
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	n := p.startWith(Config{Now: p.clock}, webhook("ops", r.address()))
	n.Observe(failing("a", 1))
	wait(t, "it is refused", func() bool { return n.Status()[0].Problem != "" })
	if got := n.Status()[0].NextTryAt; !got.Equal(p.now.Add(time.Hour)) {
		t.Errorf("it is tried again at %s, want an hour after %s", got, p.now)
	}
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "99999999": tryFor / 4, "9999999999999999999999": 0,
		p.now.Add(time.Minute).Format(http.TimeFormat): time.Minute, p.now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, p.now); got != want {
			t.Errorf("Retry-After %q is %s, want %s", value, got, want)
		}
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	server.Config.ErrorLog = golog.New(io.Discard, "", 0) // it complains of the client
	server.StartTLS()
	defer server.Close()
	n := newPlace(t).start()
	answer := n.deliver(t.Context(), webhook("ops", server.URL), Notice{})
	if answer.OK || !strings.Contains(answer.Error, "certificate") || answer.Hint == "" {
		t.Errorf("the answer is %+v, want one about the certificate", answer)
	}
}

func TestEndlessAnswersEnd(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := []byte(strings.Repeat("x", 4096))
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	n := newPlace(t).start()
	answer := n.deliver(t.Context(), webhook("ops", r.address()), Notice{})
	if !answer.OK || len(answer.Text) > maxText+20 {
		t.Errorf("the answer is %+v", answer)
	}
}

func TestATargetThatDoesNotAnswerIsGivenUp(t *testing.T) {
	r := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	n := newPlace(t).start()
	target := webhook("ops", r.address())
	target.Timeout = 20 * time.Millisecond
	if a := n.deliver(t.Context(), target, Notice{}); a.OK || a.Error != "no answer within 20ms" || a.verdict != failed {
		t.Errorf("the answer is %+v", a)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/services") {
			http.Redirect(w, r, "http://127.0.0.2:1/secret-of-the-address", http.StatusTemporaryRedirect)
		}
	})
	p := newPlace(t)
	open := secretFile(t, "s3cret")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	dead, redirected, signed := webhook("dead", "http://user:s3cret@127.0.0.1:1/secret-of-the-address?token=s3cret"), webhook("redirected", r.address()), webhook("signed", r.server.URL)
	signed.SecretFile = open
	n := p.start(dead, redirected, signed)
	n.Observe(failing("a", 1))
	wait(t, "all have failed", func() bool {
		return !slices.ContainsFunc(n.Status(), func(s Status) bool { return s.Problem == "" })
	})
	answers, err := n.Test(t.Context(), "")
	shown, _ := json.Marshal([]any{n.Status(), answers})
	for _, secret := range []string{"s3cret", "secret-of-the-address"} {
		if text := p.log.String() + string(shown); strings.Contains(text, secret) {
			t.Errorf("%q is in\n%s", secret, text)
		}
	}
	if s := n.Status()[2]; err != nil || !strings.Contains(s.Problem, "is open to others") || len(r.requests()) == 0 {
		t.Errorf("the one whose secret is open to others: %+v, %v", s, err)
	}
	for _, got := range r.requests() {
		if got.header.Get(HeaderSignature) != "" {
			t.Error("something was signed with a secret that others may know")
		}
	}
}

func TestReloadTakesWhatIsNew(t *testing.T) {
	p, r := newPlace(t), newReceiver(t, nil)
	n := p.startWith(Config{FirstDelay: time.Hour}, webhook("ops", "http://127.0.0.1:1/"), webhook("other", "http://127.0.0.1:1/"))
	n.Observe(failing("a", 1))
	wait(t, "both have failed", func() bool { return n.Status()[0].Problem != "" && n.Status()[1].Problem != "" })
	n.Reconfigure([]config.Notify{webhook("ops", r.address()), webhook("late", r.address())})
	r.waitFor(1)
	wait(t, "nothing is queued", func() bool { return len(p.queued()) == 0 })
	n.Observe(failing("b", 1))
	r.waitFor(3)
	if got := r.stories(); !slices.Equal(got, []string{"a failed", "b failed", "b failed"}) {
		t.Errorf("told %q", got)
	}
	if text := p.log.String(); !strings.Contains(text, "not configured any more: target=other dropped=1") {
		t.Errorf("the log does not tell of what was dropped:\n%s", text)
	}
}

func TestTestingATarget(t *testing.T) {
	p, r := newPlace(t), newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "thanks") })
	n := p.start(webhook("ops", r.address()), webhook("dead", "http://127.0.0.1:1/"))
	answers, err := n.Test(t.Context(), "")
	if err != nil || len(answers) != 2 || !answers[0].OK || answers[0].Text != "200 OK: thanks" || answers[1].OK || answers[1].Error == "" {
		t.Errorf("the answers are %+v, %v", answers, err)
	}
	if got := r.requests(); len(got) != 1 || got[0].notice.Event != Test || len(p.queued()) != 0 {
		t.Errorf("came %+v, queued %q", got, p.queued())
	}
	if _, err := n.Test(t.Context(), "opps"); err == nil || sdk.HintOf(err) == "" {
		t.Errorf("an unknown name: %v", err)
	}
	if answers, err := n.Test(t.Context(), "ops"); err != nil || len(answers) != 1 || answers[0].Target != "ops" {
		t.Errorf("the answers are %+v, %v", answers, err)
	}
}

// full takes no record.
type full struct{ *history.DB }

func (full) ChangeNotices(map[string]json.RawMessage) error { return sdk.ErrNoSpace }

func TestAFullDiskKeepsNobodyFromBeingTold(t *testing.T) {
	p, r := newPlace(t), newReceiver(t, nil)
	n := p.startWith(Config{Records: full{p.db}}, webhook("ops", r.address()))
	n.Observe(failing("a", 1))
	n.Observe(failing("b", 1))
	r.waitFor(2)
	wait(t, "both are settled", func() bool { return n.Status()[0].Delivered == 2 })
	if got := strings.Count(p.log.String(), "kept in memory only"); got != 1 {
		t.Errorf("the log says so %d times, want once:\n%s", got, p.log.String())
	}
}
