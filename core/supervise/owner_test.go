package supervise

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// startOwner runs the test binary as an application that owns its stores.
func startOwner(t *testing.T, socket string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	app := exec.Command(self, "be-an-owner", socket, "app")
	app.Stderr = os.Stderr
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = app.Process.Kill() // it may have ended already
		_ = app.Wait()
	})
	return app
}

func TestOwnerComesAndGoes(t *testing.T) {
	socket := filepath.Join(shortDir(t), "owner", "app.sock")
	r := newReal(t, catalog.Config{}, func(c *Config) { c.StartTimeout = 3 * time.Second })
	store := config.Store{Name: "s", Owner: socket}
	away := func() {
		t.Helper()
		begun := time.Now()
		_, err := r.Acquire(t.Context(), store)
		says(t, err, "owner away: "+socket, "start the application")
		if !errors.Is(err, ErrOwnerAway) || !errors.Is(err, sdk.ErrNotFound) && !errors.Is(err, sdk.ErrConnection) || !sdk.Retryable(err) {
			t.Errorf("%v is of the wrong kind", err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %s to notice", took)
		}
		if s := r.status(socket); s.State != StateAway || s.Kind != KindOwner || s.LastError == "" {
			t.Errorf("status %+v", s)
		}
	}
	there := func() {
		t.Helper()
		var l *Lease
		eventually(t, "the owner answers", func() (ok bool) {
			var err error
			l, err = r.Acquire(t.Context(), store)
			return err == nil
		})
		r.measure(l)
		if s := r.status(socket); s.State != StateUp || s.Leases != 1 || s.Engine != "Test" || s.LastError != "" || s.StartedAt.IsZero() {
			t.Errorf("status %+v", s)
		}
		l.Release()
		l.Release()
		if s := r.status(socket); s.State != StateUp || s.Leases != 0 {
			t.Errorf("status after release %+v", s)
		}
	}
	away()
	away() // said once
	app := startOwner(t, socket)
	there()
	there()
	if err := app.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = app.Wait()
	away() // a socket without anybody behind it
	startOwner(t, socket)
	there()
	if got := r.events.names(); got != "plugin_down app.sock, plugin_up app.sock, plugin_down app.sock, plugin_up app.sock" {
		t.Errorf("events: %s", got)
	}
	r.Reconfigure(catalog.New(catalog.Config{}))
	if got := r.Status(); len(got) != 0 {
		t.Errorf("owners that may not be configured any more are shown: %+v", got)
	}
}

func TestOwnerThatDoesNotAnswer(t *testing.T) {
	socket := filepath.Join(shortDir(t), "mute.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := newReal(t, catalog.Config{}, func(c *Config) { c.StartTimeout = 200 * time.Millisecond })
	_, err = r.Acquire(t.Context(), config.Store{Name: "s", Owner: socket})
	says(t, err, "owner away: "+socket)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Acquire(ctx, config.Store{Name: "s", Owner: socket}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrOwnerAway) {
		t.Errorf("error %v, want the context's", err)
	}
}

func TestStopCutsOwnersAtLast(t *testing.T) {
	socket := filepath.Join(shortDir(t), "o", "app.sock")
	app := startOwner(t, socket)
	r := newReal(t, catalog.Config{}, nil)
	store := config.Store{Name: "s", Owner: socket}
	eventually(t, "the owner answers", func() bool {
		_, err := r.Acquire(t.Context(), store)
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r.Stop(ctx)
	if _, err := r.Acquire(t.Context(), store); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("after Stop: %v", err)
	}
	// The owner itself goes on.
	other := newReal(t, catalog.Config{}, nil)
	l, err := other.Acquire(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	other.measure(l)
	l.Release()
	if err := app.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("the owner has ended: %v", err)
	}
}

func TestOwnersRefusalIsNoAbsence(t *testing.T) {
	r := newRig(t, nil)
	refusal := sdk.Errorf(sdk.ErrProtocol, "speaks another version").WithHint("update it")
	r.dial = func(context.Context, string, string) (client, error) { return nil, refusal }
	_, err := r.Acquire(t.Context(), config.Store{Name: "s", Owner: "/run/app.sock"})
	says(t, err, "attach to owner /run/app.sock: speaks another version", "update it")
	if errors.Is(err, ErrOwnerAway) || !errors.Is(err, sdk.ErrProtocol) {
		t.Errorf("%v is of the wrong kind", err)
	}
	if s := r.status("/run/app.sock"); s.State != StateFailed {
		t.Errorf("status %+v", s)
	}
}

// An owner that hangs costs those who come to it in turn the wait once, and is
// used again as soon as a probe finds that it answers.
func TestWhoHangsIsSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Clock = nil })
		hangs := true
		dials := 0
		r.dial = func(ctx context.Context, _, _ string) (client, error) {
			dials++
			if hangs {
				<-ctx.Done()
				return nil, sdk.Errorf(sdk.ErrCancelled, "attach: %w", ctx.Err())
			}
			return &fakeOwner{stores: []sdk.Store{{Name: "x"}}}, nil
		}
		store := config.Store{Name: "s", Owner: "/run/app.sock"}
		acquire := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			_, err := r.Acquire(t.Context(), store)
			says(t, err, "owner away: /run/app.sock: no answer within 5s")
			if took := time.Since(began); took != want {
				t.Errorf("it took %s, want %s", took, want)
			}
		}
		acquire(ownerTimeout)
		acquire(0)
		time.Sleep(deafFor)
		acquire(ownerTimeout)
		if dials != 2 {
			t.Errorf("it was called %d times, want 2", dials)
		}
		if _, _, err := r.Probe(t.Context(), store.Owner); !errors.Is(err, ErrOwnerAway) || dials != 3 {
			t.Errorf("a probe did not ask: %v, after %d calls", err, dials)
		}
		hangs = false
		acquire(0)
		if stores, lists, err := r.Probe(t.Context(), store.Owner); err != nil || !lists || len(stores) != 1 || stores[0].Name != "x" {
			t.Errorf("Probe() = %v, %t, %v", stores, lists, err)
		}
		l, err := r.Acquire(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		// One that is probed is known until it is forgotten, and one in use longer.
		r.Reconfigure(catalog.New(catalog.Config{}))
		if r.Forget(store.Owner) {
			t.Error("an owner in use was forgotten")
		}
		if s := r.status(store.Owner); s.State != StateUp || s.Leases != 1 {
			t.Errorf("status %+v", s)
		}
		l.Release()
		r.Reconfigure(catalog.New(catalog.Config{}))
		if s := r.status(store.Owner); s.State != StateUp {
			t.Errorf("status %+v", s)
		}
		r.Forget(store.Owner)
		if got := r.Status(); len(got) != 0 {
			t.Errorf("an owner that was forgotten is shown: %+v", got)
		}
	})
}

// A connection on which no question is answered is no owner that is there.
func TestProbeOfWhoAnswersNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Clock = nil })
		o := &fakeOwner{mute: true}
		r.dial = func(context.Context, string, string) (client, error) { return o, nil }
		_, _, err := r.Probe(t.Context(), "/run/app.sock")
		if !errors.Is(err, ErrOwnerAway) {
			t.Errorf("Probe() = %v, want it to be away", err)
		}
		if s := r.status("/run/app.sock"); s.State != StateAway || !o.closed {
			t.Errorf("status %+v, connection closed: %t", s, o.closed)
		}
		if got := r.events.names(); got != "plugin_down app.sock" {
			t.Errorf("events: %s", got)
		}
	})
}

// fakeOwner is a client that lists stores.
type fakeOwner struct {
	testBackend
	stores []sdk.Store
	mute   bool // does not answer
	closed bool
}

func (o *fakeOwner) Description() sdk.Description {
	return sdk.Description{Name: "app", Capabilities: sdk.Capabilities{ListsStores: true}}
}
func (o *fakeOwner) Healthy(context.Context) error { return nil }
func (o *fakeOwner) Close() error                  { o.closed = true; return nil }

func (o *fakeOwner) Stores(ctx context.Context) ([]sdk.Store, error) {
	if o.mute {
		<-ctx.Done()
		return nil, sdk.Errorf(sdk.ErrCancelled, "list stores: %w", ctx.Err())
	}
	return o.stores, nil
}

var (
	_ client          = (*fakeOwner)(nil)
	_ sdk.StoreLister = (*fakeOwner)(nil)
)
