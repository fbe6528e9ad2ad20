package notify

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(accepterPath); path != "" {
		acceptForEver(path)
	}
	goleak.VerifyTestMain(m)
}

// patience is far more than anything here takes.
const patience = 20 * time.Second

func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between looks, not instead of them
	}
}

// log collects what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// place is a history and a clock, with one Notifier after another.
type place struct {
	t      *testing.T
	path   string
	db     *history.DB
	log    log
	events recorder

	mu  sync.Mutex
	now time.Time
}

type recorder struct {
	mu    sync.Mutex
	names []event.Name
}

func (r *recorder) Publish(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, e.Name)
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, path: filepath.Join(t.TempDir(), history.FileName), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	p.reopen()
	t.Cleanup(func() { _ = p.db.Close() })
	return p
}

// reopen is what a new host does with the history.
func (p *place) reopen() {
	p.t.Helper()
	if p.db != nil {
		if err := p.db.Close(); err != nil {
			p.t.Fatal(err)
		}
	}
	db, err := history.Open(p.path, 0, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.db = db
}

func (p *place) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

// start makes a Notifier whose delays are milliseconds, by the real clock.
func (p *place) start(targets ...config.Notify) *Notifier {
	return p.startWith(Config{}, targets...)
}

func (p *place) startWith(c Config, targets ...config.Notify) *Notifier {
	c.Events, c.Host, c.Version = &p.events, "db1", "1.2.3"
	if c.Records == nil {
		c.Records = p.db
	}
	c.Logger = hclog.New(&hclog.LoggerOptions{Output: &p.log, Level: hclog.Debug})
	if c.FirstDelay == 0 {
		c.FirstDelay, c.LastDelay = 2*time.Millisecond, 10*time.Millisecond
	}
	n := New(c, targets)
	p.t.Cleanup(n.Stop)
	return n
}

// queued are the keys of the queue on disk.
func (p *place) queued() []string {
	p.t.Helper()
	records, err := p.db.Notices()
	if err != nil {
		p.t.Fatal(err)
	}
	var keys []string
	for key := range records {
		if len(key) > len(keyQueue) && key[:len(keyQueue)] == keyQueue {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func webhook(name, address string) config.Notify {
	return config.Notify{Name: name, Webhook: address, Timeout: patience, Events: config.NotifyEvents()}
}

func hook(name string, argv ...string) config.Notify {
	return config.Notify{Name: name, Command: argv, Timeout: patience, Events: config.NotifyEvents()}
}

// failing is the state of a store with so many failures.
func failing(store string, failures int) State {
	return State{Store: store, Failures: failures, Last: func() *history.Result {
		return &history.Result{Store: store, Outcome: history.Failed, Reason: "it broke", Hint: "mend it"}
	}}
}

// request is what a receiver has got.
type request struct {
	header http.Header
	body   []byte
	notice Notice
}

// receiver is an HTTP server that remembers. Answer, if it is set, answers.
type receiver struct {
	t      *testing.T
	server *httptest.Server
	answer func(w http.ResponseWriter, r *http.Request)

	mu  sync.Mutex
	got []request
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return receiveOn(t, listener, answer)
}

func receiveOn(t *testing.T, listener net.Listener, answer func(w http.ResponseWriter, r *http.Request)) *receiver {
	r := &receiver{t: t, answer: answer}
	r.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: r}}
	r.server.Start()
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request_ *http.Request) {
	body, err := io.ReadAll(request_.Body)
	if err != nil {
		return // whoever sent it was killed
	}
	got := request{header: request_.Header.Clone(), body: body}
	_ = json.Unmarshal(body, &got.notice) // Slack's form is none
	r.mu.Lock()
	r.got = append(r.got, got)
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(w, request_)
	}
}

func (r *receiver) address() string { return r.server.URL + "/services/T000/secret-of-the-address" }

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// stories are the store and the event of each request.
func (r *receiver) stories() []string {
	var all []string
	for _, got := range r.requests() {
		all = append(all, got.notice.Store+" "+string(got.notice.Event))
	}
	return all
}

func (r *receiver) waitFor(n int) []request {
	r.t.Helper()
	wait(r.t, "enough requests have come", func() bool { return len(r.requests()) >= n })
	return r.requests()
}
