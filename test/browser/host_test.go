package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

// host is a running wring, as a person starts it, and an address at which the
// browser reaches it.
type host struct {
	*testing.T
	dir     string
	log     bytes.Buffer
	process *exec.Cmd
	front   *front
	address string // at which the browser opens it: that of front, unless a test has another
}

// newHost makes a host with stores, which are configured in HCL; %[1]s is the
// directory.
func newHost(t *testing.T, stores string) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "wb") //nolint:usetesting // its paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	h := &host{T: t, dir: dir}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the host's log:\n%s", h.log.String())
		}
		_ = os.RemoveAll(dir)
	})
	configuration := fmt.Sprintf(`data_dir = "%s/data"
defaults {
  every       = "6h"
  start_delay = "1h"
}
`, dir) + strings.ReplaceAll(stores, "DIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "wring.hcl"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	h.front = newFront(t, filepath.Join(dir, "data", "wring.sock"))
	h.address = h.front.URL
	return h
}

func (h *host) start() {
	h.Helper()
	h.process = exec.Command(filepath.Join(programs, "wring"), "run", "--config", filepath.Join(h.dir, "wring.hcl"))
	h.process.Stderr = &h.log
	if err := h.process.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(h.stop)
	eventually(h.T, "the host answers", func() bool {
		answer, err := http.Get(h.front.URL + "/v1/status")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func (h *host) signal(s syscall.Signal) {
	h.Helper()
	if h.process == nil {
		return
	}
	if err := h.process.Process.Signal(s); err != nil {
		h.Error(err)
	}
}

func (h *host) stop() {
	h.Helper()
	if h.process == nil {
		return
	}
	if err := h.process.Process.Signal(syscall.SIGTERM); err != nil {
		h.Error(err)
	}
	if err := h.process.Wait(); err != nil {
		h.Errorf("the host ends with %v", err)
	}
	h.process = nil
}

// Stores that tests compact: a small and a larger bbolt file, more than half of
// both garbage, and a Pebble store with dead space here and there. They are made
// once, and each test has copies.
const (
	smallBolt = "small.db"
	largeBolt = "large.db"
	onePebble = "pebble"
	tinyBolt  = "tiny.db"
)

func generate(dir string) error {
	for name, spec := range map[string]bolttest.Spec{
		smallBolt: {LiveBytes: 6 << 20},
		largeBolt: {LiveBytes: 12 << 20, Shape: bolttest.ShapeBigValues},
		tinyBolt:  {LiveBytes: 64 << 10},
	} {
		spec.Seed, spec.GarbageRatio = 1, 0.5
		if err := bolttest.Generate(filepath.Join(dir, name), spec); err != nil {
			return err
		}
	}
	return pebbletest.Generate(filepath.Join(dir, onePebble), pebbletest.Spec{Seed: 1, Shape: pebbletest.Clustered, LiveBytes: 8 << 20})
}

// store puts a copy of one of those stores into the host's directory.
func (h *host) store(which, name string) {
	h.Helper()
	from, to := filepath.Join(stores, which), filepath.Join(h.dir, name)
	info, err := os.Stat(from)
	if err == nil && info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else if err == nil {
		err = copyFile(from, to)
	}
	if err != nil {
		h.Fatal(err)
	}
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

// askForTokens has the host listen on an address of its own, where it asks for
// tokens, and returns one that may only read and one that may do everything.
func (h *host) askForTokens() (reads, operates string) {
	h.Helper()
	configuration := filepath.Join(h.dir, "wring.hcl")
	create := func(scope string) string {
		command := exec.Command(filepath.Join(programs, "wring"), "token", "create", "--config", configuration, "--scope", scope, "--json", scope)
		said, err := command.Output()
		var made struct{ Token string }
		if err == nil {
			err = json.Unmarshal(said, &made)
		}
		if err != nil {
			h.Fatalf("make a token: %v: %s", err, said)
		}
		return made.Token
	}
	reads, operates = create("read"), create("operate")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		h.Fatal(err)
	}
	content, err := os.ReadFile(configuration)
	if err == nil {
		err = os.WriteFile(configuration, fmt.Appendf(content, "listen {\n  address = %q\n}\n", address), 0o600)
	}
	if err != nil {
		h.Fatal(err)
	}
	h.address = "http://" + address
	return reads, operates
}

// get asks the host.
func (h *host) get(path string) string {
	h.Helper()
	answer, err := http.Get(h.front.URL + path)
	if err != nil {
		h.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		h.Fatal(err)
	}
	return string(all)
}

// paused are the stores whose schedule is paused, as the host says.
func (h *host) paused() []string {
	h.Helper()
	var status struct {
		Stores []struct {
			Store    string
			PausedAt string `json:"paused_at"`
		}
	}
	if err := json.Unmarshal([]byte(h.get("/v1/status")), &status); err != nil {
		h.Fatal(err)
	}
	var names []string
	for _, s := range status.Stores {
		if s.PausedAt != "" {
			names = append(names, s.Store)
		}
	}
	return names
}

func (h *host) post(path, document string) {
	h.Helper()
	answer, err := http.Post(h.front.URL+path, "application/json", strings.NewReader(document))
	if err != nil {
		h.Fatal(err)
	}
	defer answer.Body.Close()
	if said, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode >= http.StatusBadRequest {
		h.Fatalf("POST %s: %s %s (%v)", path, answer.Status, said, err)
	}
}

// front is what the browser talks to: the host's socket, on TCP, and in front
// of it what a test puts there.
type front struct {
	*httptest.Server
	proxy http.Handler

	mu      sync.Mutex
	instead map[string]http.HandlerFunc // by path
}

func newFront(t *testing.T, socket string) *front {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "wring"})
	proxy.FlushInterval = -1 // events go out as they come
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	proxy.Transport = &http.Transport{
		MaxIdleConns: 0, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	f := &front{proxy: proxy, instead: map[string]http.HandlerFunc{}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		instead := f.instead[r.URL.Path]
		f.mu.Unlock()
		if instead != nil {
			instead(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// put answers calls of a path itself.
func (f *front) put(path string, handler http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead[path] = handler
}

// pass lets calls of a path through again.
func (f *front) pass(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.instead, path)
}

// cut lets calls of a path through until lost is called, which breaks off those
// under way and all that come.
func (f *front) cut(path string) (lost func()) {
	ctx, lost := context.WithCancel(context.Background())
	f.put(path, func(w http.ResponseWriter, r *http.Request) {
		one, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		f.proxy.ServeHTTP(w, r.WithContext(one))
	})
	return lost
}

// held are calls of a path that the host does not get to see yet.
type held struct {
	came, left atomic.Int64  // how many there were, and how many were given up
	released   chan struct{} // closed when they may go on
	release    func()
}

// hold keeps calls of a path until they are released.
func (f *front) hold(path string) *held {
	h := &held{released: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.released) })
	f.put(path, func(w http.ResponseWriter, r *http.Request) {
		h.came.Add(1)
		select {
		case <-h.released:
			f.proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
			h.left.Add(1)
		}
	})
	return h
}
