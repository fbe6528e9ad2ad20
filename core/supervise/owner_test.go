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
