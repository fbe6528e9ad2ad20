package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// serve serves stores until stop is called, which returns when Serve has.
func serve(t *testing.T, stores ...Store) (client *sdk.Client, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "live") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, socket, stores...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		client, err = sdk.Dial(t.Context(), socket, "test")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, stop
}

// load writes and reads until it is stopped, and keeps a log of what Pebble has
// acknowledged.
type load struct {
	db           *pebbledb.DB
	first, keys  int // its own part of the keys
	acknowledged map[int]string
	writes       atomic.Int64
}

// run overwrites and deletes its keys in turn, and holds what it reads against
// its log.
func (l *load) run(stop <-chan struct{}) error {
	filler := strings.Repeat("x", 200)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		i := l.first + n*7%l.keys
		if err := l.check(i); err != nil {
			return fmt.Errorf("while it is compacted: %w", err)
		}
		if n%5 == 0 {
			if err := l.db.Delete(pebbletest.Key(i), pebbledb.Sync); err != nil {
				return err
			}
			delete(l.acknowledged, i)
		} else {
			value := fmt.Sprintf("%d of %d %s", n, i, filler)
			if err := l.db.Set(pebbletest.Key(i), []byte(value), pebbledb.NoSync); err != nil {
				return err
			}
			l.acknowledged[i] = value
		}
		l.writes.Add(1)
	}
}

// check holds a key against the log; keys that were never written are not there.
func (l *load) check(i int) error {
	value, closer, err := l.db.Get(pebbletest.Key(i))
	want, ok := l.acknowledged[i]
	switch {
	case errors.Is(err, pebbledb.ErrNotFound) && !ok:
		return nil
	case err != nil:
		return fmt.Errorf("key %d: %w, acknowledged was %q", i, err, want)
	}
	defer closer.Close()
	if !ok || string(value) != want {
		return fmt.Errorf("key %d is %q, acknowledged was %q (%v)", i, value, want, ok)
	}
	return nil
}

// TestOwner is an application with two stores that a host measures and compacts
// over a real socket while it writes and reads.
func TestOwner(t *testing.T) {
	busy := open(t, pebbletest.Spec{LiveBytes: 512 << 10}, func(o *pebbledb.Options) {
		// Pebble compacts by itself too, but seldom what overlaps in level 0.
		o.DisableAutomaticCompactions, o.L0CompactionThreshold, o.L0CompactionFileThreshold = false, 1000, 1000
	})
	idle := open(t, pebbletest.Spec{LiveBytes: 256 << 10, Shape: pebbletest.Overwrites}, nil)
	client, stop := serve(t,
		Store{Name: "busy", DB: busy.db, Options: busy.options, Dir: busy.path},
		Store{Name: "idle", DB: idle.db, Options: idle.options})
	if d := client.Description(); d.Engine != "Pebble" || !d.Capabilities.ListsStores {
		t.Errorf("description %+v", d)
	}
	stores, err := client.Stores(t.Context())
	if err != nil || len(stores) != 2 {
		t.Fatalf("stores %v, %v", stores, err)
	}

	quit := make(chan struct{})
	loads := make([]*load, 3)
	failed := make(chan error, len(loads))
	for i := range loads {
		// Behind the generated keys, and between each other.
		loads[i] = &load{db: busy.db, first: 1_000_000 + 300*i, keys: 300, acknowledged: map[int]string{}}
		go func() { failed <- loads[i].run(quit) }()
	}
	wrote := func() (n int64) {
		for _, l := range loads {
			n += l.writes.Load()
		}
		return n
	}
	for round := range 3 {
		for deadline := time.Now().Add(10 * time.Second); wrote() < int64(round+1)*2000; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody writes")
			}
		}
		for _, s := range stores {
			f, err := client.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: s})
			if err != nil {
				t.Fatalf("measure %s: %v", s.Name, err)
			}
			if round == 0 && f.ReclaimableBytes == 0 {
				t.Errorf("%s has nothing to give back", s.Name)
			}
			var phases []string
			result, err := client.Compact(t.Context(), sdk.CompactRequest{Store: s}, func(p sdk.Progress) { phases = append(phases, p.Phase) })
			switch {
			case err != nil:
				t.Fatalf("compact %s: %v", s.Name, err)
			case s.Name == "idle" && round > 0:
				if !result.NoOp {
					t.Errorf("%s had nothing left to do: %+v", s.Name, result)
				}
			case result.NoOp || result.Verification == nil || result.Verification.ItemsBefore == 0:
				t.Errorf("compact %s: %+v", s.Name, result)
			case round == 0 && s.Name == "idle" && result.ReclaimedBytes <= 0:
				t.Errorf("%s: reclaimed %d bytes", s.Name, result.ReclaimedBytes)
			case s.Name == "busy" && !strings.Contains(result.Note, "the application wrote"):
				t.Errorf("%s: note %q", s.Name, result.Note)
			case len(phases) == 0:
				t.Errorf("%s: nothing was told of", s.Name)
			}
		}
	}
	close(quit)
	for range loads {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	stop()
	busy.close(t)
	busy.open(t)
	n := 0
	for _, l := range loads {
		l.db = busy.db
		for i := l.first; i < l.first+l.keys; i++ {
			if err := l.check(i); err != nil {
				t.Errorf("after the store was opened again: %v", err)
			}
		}
		n += len(l.acknowledged)
	}
	t.Logf("%d writes acknowledged, %d keys in the end", wrote(), n)
	if n == 0 {
		t.Error("no key is left to be lost")
	}
}

// TestEndOfServe ends the context in the middle of a compaction: Serve returns
// when that has given everything back, and the store can be closed.
func TestEndOfServe(t *testing.T) {
	o := open(t, pebbletest.Spec{}, nil)
	client, stop := serve(t, Store{Name: "events", DB: o.db, Options: o.options})
	under := make(chan struct{})
	began := sync.OnceFunc(func() { close(under) })
	ended := make(chan error, 1)
	go func() {
		_, err := client.Compact(t.Context(), sdk.CompactRequest{Store: events, Pace: sdk.NewPace(64 << 10)}, func(sdk.Progress) { began() })
		ended <- err
	}()
	<-under
	stop()
	o.close(t) // complains of what is still in use
	if err := <-ended; !sdk.IsCancelled(err) {
		t.Errorf("the compaction ended with %v, want %v", err, sdk.ErrCancelled)
	}
}
