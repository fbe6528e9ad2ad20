package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/daemon"
	"github.com/wringdb/wring/sdk"
)

// childConfig is the environment variable with the configuration of a host in a
// process of its own.
const childConfig = "WRING_TEST_CHILD_CONFIG"

func childMain(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := daemon.Run(ctx, daemon.Config{File: file, Version: "test", Logger: hclog.New(&hclog.LoggerOptions{Output: os.Stderr})})
	if err != nil {
		fmt.Fprintf(os.Stderr, "ended: %v; hint: %s\n", err, sdk.HintOf(err))
		return 1
	}
	return 0
}

// text collects what is logged.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// child is a host in a process of its own, as a service manager starts it.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	log   *text
	ended chan error
}

// startChild starts a host with sockets that were opened for it.
func startChild(t testing.TB, config string, sockets ...*os.File) *child {
	t.Helper()
	c := &child{t: t, log: &text{}, ended: make(chan error, 1)}
	// The variable has the ID of the process that it is for.
	c.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	c.cmd.Env = append(os.Environ(), childConfig+"="+config, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	c.cmd.ExtraFiles, c.cmd.Stderr = sockets, c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

func (c *child) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-c.ended; err != nil {
		c.t.Errorf("the host ends with %v:\n%s", err, c.log)
	}
}

// shortPlace is a directory with a data directory and a configuration.
func shortPlace(t *testing.T, more string) (dir, config string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wd") //nolint:usetesting // its paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config = filepath.Join(dir, "wring.hcl")
	content := fmt.Sprintf("data_dir = %q\n%s\n", filepath.Join(dir, "data"), more)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o700), os.WriteFile(config, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir, config
}

// opened is a listening socket, as it is passed, and its address.
func opened(t *testing.T, network, address string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	filer, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		t.Fatalf("%T", l)
	}
	file, err := filer.File()
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file, l.Addr().String()
}

// fetch returns the status of an answer, 0 where there is none.
func fetch(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// A service manager opens sockets before the host is there, and keeps them when
// it is started anew: nobody is refused meanwhile.
func TestSocketActivation(t *testing.T) {
	dir, config := shortPlace(t, `listen { hosts = ["wring.example.org"] }`)
	socket := api.SocketPath(filepath.Join(dir, "data"))
	unix, _ := opened(t, "unix", socket)
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	tcp, address := opened(t, "tcp", "127.0.0.1:0")
	before, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := access.NewTokens(filepath.Join(dir, "data")).Create("ci", access.Read, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}

	client := api.NewClient(socket)
	defer client.Close()
	for range 2 {
		type answer struct {
			status api.Status
			err    error
		}
		answered := make(chan answer, 1)
		go func() { // is connected before anybody accepts
			status, err := client.Status(t.Context())
			answered <- answer{status, err}
		}()
		overTCP := make(chan int, 1)
		go func() {
			status, _ := fetch(t, "http://"+address+"/v1/status", secret)
			overTCP <- status
		}()
		host := startChild(t, config, unix, tcp)
		if a := <-answered; a.err != nil || a.status.PID != host.cmd.Process.Pid {
			t.Errorf("over the unix socket: process %d, %v; want %d", a.status.PID, a.err, host.cmd.Process.Pid)
		}
		if status := <-overTCP; status != http.StatusOK {
			t.Errorf("over TCP: status %d\n%s", status, host.log)
		}
		if status, _ := fetch(t, "http://"+address+"/v1/status", ""); status != http.StatusUnauthorized {
			t.Errorf("over TCP without a token: status %d", status)
		}
		client.Close()
		host.stop()
		after, err := os.Stat(socket)
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("the socket's file is not the one that was passed: %v", err)
		}
		if said := host.log.String(); strings.Contains(said, strings.TrimPrefix(secret, "wring_")) || !strings.Contains(said, "address="+address) {
			t.Errorf("the log:\n%s", said)
		}
	}
}

// A socket elsewhere is answered beside the host's own.
func TestSocketActivationElsewhere(t *testing.T) {
	dir, config := shortPlace(t, "")
	elsewhere := filepath.Join(dir, "other.sock")
	unix, _ := opened(t, "unix", elsewhere)
	if err := os.Chmod(elsewhere, 0o660); err != nil {
		t.Fatal(err)
	}
	host := startChild(t, config, unix)
	for _, socket := range []string{elsewhere, api.SocketPath(filepath.Join(dir, "data"))} {
		client := api.NewClient(socket)
		if status, err := client.Status(t.Context()); err != nil || status.PID != host.cmd.Process.Pid {
			t.Errorf("%s: process %d, %v", socket, status.PID, err)
		}
		client.Close()
	}
	host.stop()
}

func TestPassedSocketsThatAreRefused(t *testing.T) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	udp, ok := packets.(*net.UDPConn)
	if !ok {
		t.Fatalf("%T", packets)
	}
	datagrams, err := udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	for _, test := range []struct {
		name   string
		socket func(dir string) *os.File
		want   string
	}{
		{"TCP without the block", func(string) *os.File { f, _ := opened(t, "tcp", "127.0.0.1:0"); return f }, "the configuration has no listen block; hint: add listen {}"},
		{"open to everybody", func(dir string) *os.File {
			path := filepath.Join(dir, "open.sock")
			f, _ := opened(t, "unix", path)
			if err := os.Chmod(path, 0o666); err != nil {
				t.Fatal(err)
			}
			return f
		}, "is open to everybody (mode 0666); hint: set SocketMode=0600"},
		{"datagrams", func(string) *os.File { return datagrams }, "on which nobody can listen"},
	} {
		dir, config := shortPlace(t, "")
		host := startChild(t, config, test.socket(dir))
		if err := <-host.ended; err == nil || !strings.Contains(host.log.String(), test.want) {
			t.Errorf("%s: %v, want %q:\n%s", test.name, err, test.want, host.log)
		}
	}
}

var listening = regexp.MustCompile(`listening: address=(\S+)`)

// startLogged is start with a log, in which the address of the host is.
func (p *place) startLogged() (address string, log *text, stop func() error) {
	p.t.Helper()
	log = &text{}
	c := p.config()
	c.Logger = hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Debug})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx, c) }()
	p.t.Cleanup(cancel)
	p.wait("the host answers", func() bool { _, err := p.client.Status(p.t.Context()); return err == nil })
	found := listening.FindStringSubmatch(log.String())
	if found == nil {
		p.t.Fatalf("the log does not say where it listens:\n%s", log)
	}
	return found[1], log, func() error { cancel(); return <-ended }
}

func TestTokensOpenARunningHost(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", `listen { address = "127.0.0.1:0" }`)
	address, log, stop := p.startLogged()
	url := "http://" + address
	tokens := access.NewTokens(filepath.Join(p.dir, "data"))
	secret, _, err := tokens.Create("ci", access.Read, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := fetch(t, url+"/v1/stores", secret); status != http.StatusOK || !strings.Contains(body, `"store":"a"`) {
		t.Errorf("a new token: status %d, %s", status, body)
	}
	if status, body := fetch(t, url+"/v1/session", secret); status != http.StatusOK || body != `{"authentication":"token","scope":"read"}`+"\n" {
		t.Errorf("the session: status %d, %s", status, body)
	}
	if err := tokens.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	if status, body := fetch(t, url+"/v1/stores", secret); status != http.StatusUnauthorized {
		t.Errorf("a revoked token: status %d, %s", status, body)
	}
	if status, body := fetch(t, url+"/readyz", ""); status != http.StatusOK || body != `{"ready":true,"busy":false}`+"\n" {
		t.Errorf("ready: status %d, %s", status, body)
	}

	// A new door needs a new host; the old one stays open.
	p.configure("", "")
	if err := p.client.Reload(t.Context()); !errors.Is(err, sdk.ErrInvalidOption) || !strings.Contains(err.Error(), "the listen block has changed") || sdk.HintOf(err) == "" {
		t.Errorf("Reload() without the block = %v", err)
	}
	p.configure("", `listen { address = "127.0.0.1:0" }`)
	if err := p.client.Reload(t.Context()); err != nil {
		t.Errorf("Reload() with the same block = %v", err)
	}
	if status, _ := fetch(t, url+"/healthz", ""); status != http.StatusOK {
		t.Errorf("after the reloads: status %d", status)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	if status, body := fetch(t, url+"/healthz", ""); status != 0 {
		t.Errorf("a host that has ended answers with %d, %s", status, body)
	}
	if said := log.String(); strings.Contains(said, strings.TrimPrefix(secret, "wring_")) || !strings.Contains(said, "the token is not known") {
		t.Errorf("the log:\n%s", said)
	}
}

// lingering is a backend that takes its time to clean up.
type lingering struct {
	*half
	cleanUp chan struct{}
}

func (l lingering) Compact(ctx context.Context, _ sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
	l.begun <- struct{}{}
	<-ctx.Done()
	<-l.cleanUp
	return sdk.CompactResult{}, ctx.Err()
}

func TestBusyIsReadyAndStoppingIsNot(t *testing.T) {
	backend := lingering{newHalf(), make(chan struct{})}
	p := newPlace(t, backend)
	p.configure("", `listen { address = "127.0.0.1:0" }`)
	address, _, stop := p.startLogged()
	readiness := func() (int, api.Readiness) {
		var ready api.Readiness
		status, body := fetch(t, "http://"+address+"/readyz", "")
		if err := json.Unmarshal([]byte(body), &ready); err != nil {
			t.Fatalf("status %d, %s: %v", status, body, err)
		}
		return status, ready
	}
	compacted := make(chan struct{})
	go func() {
		defer close(compacted)
		_, _ = p.client.Compact(context.Background(), api.CompactRequest{All: true}) // ends with the host
	}()
	<-backend.begun
	if status, ready := readiness(); status != http.StatusOK || !ready.Ready || !ready.Busy {
		t.Errorf("with a run: status %d, %+v", status, ready)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	p.wait("the host is not ready", func() bool {
		status, ready := readiness()
		return status == http.StatusServiceUnavailable && !ready.Ready && ready.Busy
	})
	if status, _ := fetch(t, "http://"+address+"/healthz", ""); status != http.StatusOK {
		t.Errorf("while it stops it is not alive: status %d", status)
	}
	close(backend.cleanUp)
	if err := <-stopped; err != nil {
		t.Errorf("the host ends with %v", err)
	}
	<-compacted
}

func TestDoorsThatCannotBeOpened(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for block, want := range map[string]string{
		fmt.Sprintf("address = %q", taken.Addr()):                      "another process listens on " + taken.Addr().String(),
		`address = "192.0.2.1:7333"`:                                   "192.0.2.1:7333 is no address of this machine",
		"tls {\n certificate = \"/none.pem\"\n key = \"/none.key\"\n}": "load certificate /none.pem and key /none.key",
	} {
		_, config := shortPlace(t, "listen {\n address = \"127.0.0.1:0\"\n"+block+"\n}")
		if strings.HasPrefix(block, "address") {
			_, config = shortPlace(t, "listen {\n"+block+"\n}")
		}
		err := daemon.Run(t.Context(), daemon.Config{File: config, Version: "test", Logger: hclog.NewNullLogger()})
		if err == nil || !strings.Contains(err.Error(), want) || sdk.HintOf(err) == "" {
			t.Errorf("%s: %v, want %s", block, err, want)
		}
	}
}
