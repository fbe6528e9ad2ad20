package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/discovery"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// never is a rescan that no test waits for: what is noticed with it, the system
// has told.
const never = time.Hour

// app is an application with stores, which may change.
type app struct {
	mu     sync.Mutex
	stores []string
	stuck  chan struct{} // Stores does not answer until it is closed, unless nil
}

func (a *app) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{Name: "app", Version: "1", Engine: "Test", Capabilities: sdk.Capabilities{Modes: []string{"live"}}}, nil
}

func (a *app) Fragmentation(context.Context, sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	return sdk.Fragmentation{}, nil
}

func (a *app) Compact(context.Context, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
	return sdk.CompactResult{}, nil
}

func (a *app) have(stores ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stores = stores
}

// lister is an app that says which stores it has.
type lister struct{ *app }

func (l lister) Stores(context.Context) ([]sdk.Store, error) {
	if l.stuck != nil {
		<-l.stuck
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var stores []sdk.Store
	for _, name := range l.stores {
		stores = append(stores, sdk.Store{Name: name})
	}
	return stores, nil
}

// recorder keeps what is published.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) Publish(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// names are "plugin_up a.sock, …".
func (r *recorder) names() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, e := range r.events {
		names = append(names, fmt.Sprintf("%s %s", e.Name, filepath.Base(e.Plugin)))
	}
	return strings.Join(names, ", ")
}

// place is a directory that a Watcher watches, with a real supervisor to ask.
type place struct {
	*testing.T
	dir     string
	watcher *discovery.Watcher
	events  *recorder
	changes chan struct{} // one for each call of Changed
}

func newPlace(t *testing.T, rescan time.Duration) *place {
	t.Helper()
	root, err := os.MkdirTemp("", "wo") //nolint:usetesting // its paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	p := &place{T: t, dir: filepath.Join(root, "run"), events: &recorder{}, changes: make(chan struct{}, 1000)}
	s := supervise.New(supervise.Config{Events: p.events, StartTimeout: 300 * time.Millisecond})
	p.watcher = discovery.New(discovery.Config{
		Prober: s, Events: p.events, Rescan: rescan, Changed: func() { p.changes <- struct{}{} },
	})
	p.watcher.Watch([]string{p.dir}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.watcher.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		s.Stop(context.Background())
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return p
}

// serve is an application until stop is called.
func (p *place) serve(name string, b sdk.Backend) (stop func()) {
	p.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- sdk.ListenAndServe(ctx, filepath.Join(p.dir, name), b) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			p.Errorf("the owner at %s ends with %v", name, err)
		}
	})
	p.Cleanup(stop)
	return stop
}

// picture is "a[x y] b? …" of the owners that are there: up with their stores,
// "!" for one that is away, "X" for one that is refused.
func (p *place) picture() string {
	var all []string
	for _, o := range p.watcher.Owners(p.dir) {
		text := o.Name
		switch {
		case o.State == discovery.Up && o.Lists:
			text += fmt.Sprint(o.Stores)
		case o.State == discovery.Away:
			text += "!"
		case o.State == discovery.Refused:
			text += "X"
		case o.State == discovery.Asking:
			text += "?"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func (p *place) wait(want string) {
	p.Helper()
	deadline := time.After(20 * time.Second)
	for p.picture() != want {
		select {
		case <-p.changes: // without it nobody would look
		case <-deadline:
			p.Fatalf("waited in vain for %q, there is %q", want, p.picture())
		}
	}
}

func (p *place) waitFor(what string, met func() bool) {
	p.Helper()
	for deadline := time.Now().Add(20 * time.Second); !met(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("waited in vain until %s: %q, events %s", what, p.picture(), p.events.names())
		}
	}
}

func (p *place) mkdir() {
	p.Helper()
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		p.Fatal(err)
	}
}

func TestOwnersComeAndGo(t *testing.T) {
	p := newPlace(t, never)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p.watcher.Settled(ctx)
	if got := p.picture(); got != "" || ctx.Err() != nil {
		t.Fatalf("in a directory that is not there is %q (%v)", got, ctx.Err())
	}
	// The first one makes the directory.
	stopB := p.serve("b.sock", lister{&app{stores: []string{"y", "x"}}})
	p.wait("b[x y]")
	stopA := p.serve("a", &app{})
	p.wait("a b[x y]")
	stopB()
	p.wait("a")
	p.waitFor("it is told", func() bool { return strings.Contains(p.events.names(), "plugin_down b.sock") })
	p.serve("b.sock", lister{&app{}})
	p.wait("a b[]")
	stopA()
	p.wait("b[]")
	p.waitFor("each is told once, in order", func() bool {
		return p.events.names() == "plugin_up b.sock, plugin_up a, plugin_down b.sock, plugin_up b.sock, plugin_down a"
	})
	p.watcher.Watch(nil, nil)
	if got := p.watcher.Owners(p.dir); got != nil {
		t.Errorf("a directory that is not watched any more has %v", got)
	}
}

func TestDirectoryIsReplaced(t *testing.T) {
	p := newPlace(t, never)
	p.mkdir()
	p.serve("a.sock", lister{&app{stores: []string{"x"}}})
	p.wait("a[x]")
	if err := os.Rename(p.dir, p.dir+".old"); err != nil {
		t.Fatal(err)
	}
	p.wait("")
	p.serve("b.sock", lister{&app{stores: []string{"y"}}})
	p.wait("b[y]")
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	p.wait("")
	p.serve("c.sock", lister{&app{stores: []string{"z"}}})
	p.wait("c[z]")
}

// Of what happens behind a socket the system tells nothing.
func TestRescan(t *testing.T) {
	p := newPlace(t, 30*time.Millisecond)
	p.mkdir()
	a := &app{stores: []string{"x"}}
	p.serve("a.sock", lister{a})
	p.wait("a[x]")
	a.have("x", "y", "x", "", "new\nline", strings.Repeat("n", 201))
	p.wait("a[x y]")
	a.have("")
	p.wait("a")
	a.have()
	p.wait("a[]")

	// A process that dies leaves its socket, which is no error.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(p.dir, "d.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	p.wait("a[] d!")
	if o := p.watcher.Owners(p.dir)[1]; o.Err == nil || !strings.Contains(o.Err.Error(), "owner away") {
		t.Errorf("%+v, want it to be away", o)
	}
	// The next process takes its place.
	p.serve("d.sock", lister{&app{stores: []string{"z"}}})
	p.wait("a[] d[z]")
}

// late is a Prober for which nobody listens the first times.
type late struct {
	mu    sync.Mutex
	times int
}

func (l *late) Probe(context.Context, string) ([]sdk.Store, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.times > 0 {
		l.times--
		return nil, false, sdk.Errorf(sdk.ErrConnection, "nobody listens")
	}
	return nil, true, nil
}

func (*late) Lose(string, error) {}

// An application that is not made with our sdk can be seen before it listens.
// One that is dead is not asked again and again.
func TestSocketIsSeenBeforeItListens(t *testing.T) {
	for _, test := range []struct {
		times int
		want  discovery.State
	}{{3, discovery.Up}, {1000, discovery.Away}} {
		root, err := os.MkdirTemp("", "wo") //nolint:usetesting // its paths are too long for sockets
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(root)
		listener, err := net.Listen("unix", filepath.Join(root, "a.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		w := discovery.New(discovery.Config{Prober: &late{times: test.times}, Rescan: never})
		w.Watch([]string{root}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Run(ctx) }()
		settled, stop := context.WithTimeout(ctx, 20*time.Second)
		w.Settled(settled)
		if got := w.Owners(root); len(got) != 1 || got[0].State != test.want {
			t.Errorf("nobody listens %d times, and the owners are %+v", test.times, got)
		}
		stop()
		cancel()
		<-ended
	}
}

func TestWhoHangsHoldsUpNobody(t *testing.T) {
	p := newPlace(t, 30*time.Millisecond)
	p.mkdir()
	mute, err := net.Listen("unix", filepath.Join(p.dir, "mute.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	stuck := &app{stuck: make(chan struct{})}
	p.serve("stuck.sock", lister{stuck})
	p.wait("mute! stuck!")
	p.serve("well.sock", lister{&app{stores: []string{"x"}}})
	p.wait("mute! stuck! well[x]")
	close(stuck.stuck)
	p.wait("mute! stuck[] well[x]")
}

func TestRefused(t *testing.T) {
	p := newPlace(t, 30*time.Millisecond)
	p.mkdir()
	p.serve("a.sock", lister{&app{stores: []string{"x"}}})
	p.serve("b.sock", lister{&app{}})
	p.wait("a[x] b[]")

	// What is no socket, or hidden, or a link, is none of ours.
	if err := os.WriteFile(filepath.Join(p.dir, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(p.dir, "a.sock"), filepath.Join(p.dir, "link.sock")); err != nil {
		t.Fatal(err)
	}
	p.serve(".hidden.sock", &app{})
	// Two of one name, and one that nobody can write down.
	p.serve("b", &app{})
	p.serve("\x1b.sock", &app{})
	p.wait("\x1bX a[x] bX b[]")

	refusals := func() string {
		var texts []string
		for _, o := range p.watcher.Owners(p.dir) {
			if o.State == discovery.Refused {
				texts = append(texts, o.Err.Error()+" "+sdk.HintOf(o.Err))
			}
		}
		return strings.Join(texts, "\n")
	}
	for _, want := range []string{"is called as " + p.dir + "/b.sock is", "has a name that no store can have"} {
		if !strings.Contains(refusals(), want) {
			t.Errorf("refused for %s, want %s", refusals(), want)
		}
	}

	if err := os.Chmod(p.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	refusedFor := func(want string) {
		t.Helper()
		p.waitFor("it is refused for "+want, func() bool { return strings.Contains(refusals(), want) })
	}
	refusedFor("others may write to " + p.dir + " (mode 0777), so no owner in it is believed chmod go-w")
	if got := p.picture(); got != "X" {
		t.Errorf("of a directory that is refused there is %q", got)
	}
	if err := os.Chmod(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.wait("\x1bX a[x] bX b[]")
	if err := os.Remove(filepath.Join(p.dir, "b")); err != nil {
		t.Fatal(err)
	}
	p.wait("\x1bX a[x] b[]")

	if os.Geteuid() != 0 {
		t.Log("only root can give a socket to another user")
		return
	}
	const nobody = 65534
	if err := os.Chown(filepath.Join(p.dir, "a.sock"), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	p.wait("\x1bX aX b[]")
	refusedFor("a.sock belongs to user 65534, not to user 0")
	if err := os.Chown(p.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	refusedFor(p.dir + " belongs to user 65534")
	if err := os.Chown(p.dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(p.dir), 0o777); err != nil {
		t.Fatal(err)
	}
	refusedFor("others may replace " + p.dir)
	if err := os.Chmod(filepath.Dir(p.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Dir(p.dir), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	refusedFor("user 65534 may replace " + p.dir)
	if !strings.Contains(p.events.names(), "plugin_down run") {
		t.Errorf("events: %s", p.events.names())
	}
}

// Of a socket that is named it matters that it answers, not who has made it.
func TestNamedSockets(t *testing.T) {
	p := newPlace(t, 30*time.Millisecond)
	p.mkdir()
	p.serve("other.sock", lister{&app{}})
	p.watcher.Watch(nil, []string{filepath.Join(p.dir, "a.sock"), filepath.Join(p.dir, "mute.sock")})
	p.wait("")
	stop := p.serve("a.sock", lister{&app{stores: []string{"x"}}})
	p.wait("a[x]")
	if err := os.Chmod(p.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("unix", filepath.Join(p.dir, "mute.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	p.waitFor("it is known that the mute one hangs", func() bool {
		return p.watcher.Hangs(filepath.Join(p.dir, "mute.sock")) != nil
	})
	p.wait("a[x] mute!")
	for _, name := range []string{"a.sock", "other.sock", "none.sock"} {
		if err := p.watcher.Hangs(filepath.Join(p.dir, name)); err != nil {
			t.Errorf("%s is said to hang: %v", name, err)
		}
	}
	stop()
	p.wait("mute!")
}

func TestWhoMayBeCalled(t *testing.T) {
	p := newPlace(t, never)
	path := filepath.Join(p.dir, "a.sock")
	may := func(want error) {
		t.Helper()
		if err := p.watcher.Trusts(path); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	may(sdk.ErrNotFound)
	stop := p.serve("a.sock", lister{&app{}})
	p.wait("a[]")
	may(nil)
	if err := os.Chmod(p.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	p.wait("X")
	may(sdk.ErrPermission)
	if err := os.Chmod(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.wait("a[]")
	may(nil)
	stop()
	p.wait("")
	may(supervise.ErrOwnerAway)
}
