package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// shop is an application with stores that are always worth compacting.
type shop struct {
	*half
	stores []string
}

func (s shop) Stores(context.Context) ([]sdk.Store, error) {
	var stores []sdk.Store
	for _, name := range s.stores {
		stores = append(stores, sdk.Store{Name: name})
	}
	return stores, nil
}

// open serves a backend in a directory for owners until the returned function is
// called.
func (p *place) open(name string, b sdk.Backend) (leave func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- sdk.ListenAndServe(ctx, filepath.Join(p.dir, "apps", name), b) }()
	leave = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			p.t.Errorf("the owner at %s ends with %v", name, err)
		}
	})
	p.t.Cleanup(leave)
	return leave
}

// The stores of an owner are on the timetable as long as it is there.
func TestStoresOfAnOwnerFollowTheirSchedule(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newHalf())
	settings := `  every         = "1s"
  start_delay   = "0s"
  min_gap       = "0s"
  overdue_after = "1s"`
	apps := fmt.Sprintf("store \"apps\" {\n  owner_dir = %q\n}\n", filepath.Join(p.dir, "apps"))
	p.configure(settings, apps)
	stop := p.start()
	backend := newHalf()
	leave := p.open("shop.sock", shop{backend, []string{"orders"}})
	p.wait("its store is compacted, and nothing is under way", func() bool {
		done := backend.compactions.Load()
		results, err := p.client.Results(t.Context(), "apps/shop/orders", 100)
		return err == nil && done > 1 && int64(len(results)) == done
	})
	leave()
	p.wait("it is away", func() bool { return p.store("apps/shop/orders").State == api.Away })
	if s := p.store("apps/shop/orders"); !s.NextAt.IsZero() || s.Configured != "apps" || s.LastSuccessAt.IsZero() {
		t.Errorf("a store whose owner is away is %+v", s)
	}
	done := backend.compactions.Load()

	// While it is away for longer than a store may be, others are looked after.
	seen, err := p.client.Runs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.wait("others have had their turns", func() bool {
		runs, err := p.client.Runs(t.Context(), 1)
		return err == nil && runs[0].StartedAt.Sub(seen[0].StartedAt) > 2500*time.Millisecond
	})
	if s := p.store("apps/shop/orders"); s.State != api.Away || s.Overdue || s.ConsecutiveFailures != 0 {
		t.Errorf("a store whose owner is away is %+v", s)
	}
	if backend.compactions.Load() != done {
		t.Error("a store whose owner had gone was compacted")
	}
	if results, err := p.client.Results(t.Context(), "apps/shop/orders", 100); err != nil || int64(len(results)) != done {
		t.Errorf("%d results (%v) of %d compactions: it was not asked for", len(results), err, done)
	}

	// It comes back with one more store, and with the delay that every start has.
	p.open("shop.sock", shop{backend, []string{"orders", "parts"}})
	p.wait("both stores are compacted", func() bool {
		parts, err := p.client.Results(t.Context(), "apps/shop/parts", 1)
		return err == nil && len(parts) == 1 && backend.compactions.Load() > done+1
	})
	err = p.client.Events(t.Context(), 0, func(e event.Event) error {
		switch {
		case e.Name == event.StoreOverdue && e.Store != "a":
			return fmt.Errorf("%s is overdue", e.Store)
		case e.Store == "apps/shop/parts" && e.Name == event.CompactionComplete:
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}

	// A configuration without them.
	p.configure(settings, "")
	if err := p.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := status(t, p); len(s.Stores) != 1 || len(s.Plugins) != 1 {
		t.Errorf("after a reload without them there are %+v and %+v", s.Stores, s.Plugins)
	}
	// And one with them again, and other settings.
	p.configure("  every = \"100h\"", apps)
	if err := p.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if next := p.store("apps/shop/parts").NextAt; time.Until(next) < 99*time.Hour {
		t.Errorf("by the new schedule it is due at %v", next)
	}
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

var errEnough = errors.New("enough")

// What accepts and never answers costs a run of other stores nothing, nor a
// status, nor the end of the host; named in the configuration or not.
func TestMuteOwnersHoldUpNobody(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newHalf())
	apps := filepath.Join(p.dir, "apps")
	if err := os.Mkdir(apps, 0o700); err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	config := fmt.Sprintf("store \"apps\" {\n  owner_dir = %q\n}\n", apps)
	for _, path := range []string{filepath.Join(apps, "m.sock"), filepath.Join(p.dir, "owner", "n.sock")} {
		mute, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer mute.Close()
		go func() {
			var open []net.Conn // or they would be closed as garbage
			for {
				conn, err := mute.Accept()
				if err != nil {
					break
				}
				open = append(open, conn)
				connections.Add(1)
			}
			for _, conn := range open {
				_ = conn.Close() // whoever was there has gone
			}
		}()
	}
	for i := range 3 {
		config += fmt.Sprintf("store \"n%d\" {\n  owner = %q\n}\n", i, filepath.Join(p.dir, "owner", "n.sock"))
	}
	p.configure("", config)
	began := time.Now()
	stop := p.start()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the host was ready after %s", took)
	}
	p.wait("both are known to hang", func() bool {
		away := 0
		for _, o := range status(t, p).Plugins {
			if o.State == "away" {
				away++
			}
		}
		return away == 2
	})
	asked := connections.Load()
	began = time.Now()
	run, err := p.client.Compact(t.Context(), api.CompactRequest{All: true, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a run past owners that hang took %s", took)
	}
	outcomes := map[string]history.Outcome{}
	for _, r := range run.Results {
		outcomes[r.Store] = r.Outcome
	}
	want := map[string]history.Outcome{
		"a": history.Compacted, "n0": history.Deferred, "n1": history.Deferred, "n2": history.Deferred, "apps": history.Deferred,
	}
	if fmt.Sprint(outcomes) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	if connections.Load() > asked+2 {
		t.Errorf("they were called %d times more, want at most once each", connections.Load()-asked)
	}
	began = time.Now()
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the host took %s to end", took)
	}
}
