package live_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// serve serves stores until stop is called, which returns when Serve has.
func serve(t *testing.T, stores ...live.Store) (client *sdk.Client, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "live") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- live.Serve(ctx, socket, stores...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "the application serves its stores", func() bool {
		client, err = sdk.Dial(t.Context(), socket, "test")
		return err == nil
	})
	t.Cleanup(func() { _ = client.Close() })
	return client, stop
}

func TestNewRefuses(t *testing.T) {
	a, b := openSwappable(t).live, openSwappable(t).live
	for name, c := range map[string]struct {
		stores []live.Store
		says   string
	}{
		"no stores":            {nil, "no stores"},
		"a store without a DB": {[]live.Store{{Name: "a"}}, "no DB"},
		"one without a name":   {[]live.Store{{Name: "a", DB: a}, {DB: b}}, "no name"},
		"two of a name":        {[]live.Store{{Name: "a", DB: a}, {Name: "a", DB: b}}, "two of that name"},
	} {
		_, err := live.New(c.stores...)
		served := live.Serve(t.Context(), filepath.Join(t.TempDir(), "s"), c.stores...)
		for by, err := range map[string]error{"New": err, "Serve": served} {
			if !errors.Is(err, sdk.ErrInvalidOption) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("%s, %s: error %v, want %q", name, by, err, c.says)
			}
		}
	}
	if _, err := live.New(live.Store{DB: a}); err != nil {
		t.Errorf("one store needs no name: %v", err)
	}
}

// An application with several stores is measured, compacted and swept over a real
// socket, each store by its name.
func TestServeSeveral(t *testing.T) {
	stores := map[string]*subject{"users": openSwappable(t), "events": openSwappable(t), "gone": openSwappable(t)}
	client, stop := serve(t,
		live.Store{Name: "users", DB: stores["users"].live},
		live.Store{Name: "events", DB: stores["events"].live},
		live.Store{Name: "gone", DB: stores["gone"].live})
	if d := client.Description(); d.Name != "bolt-live" || !d.Capabilities.ListsStores || len(d.Signatures) != 0 {
		t.Errorf("description %+v", d)
	}
	listed := func(want ...string) {
		t.Helper()
		list, err := client.Stores(t.Context())
		var got []string
		for _, s := range list {
			got = append(got, s.Name)
			if s.Path != stores[s.Name].Path() {
				t.Errorf("%s lies at %s, want %s", s.Name, s.Path, stores[s.Name].Path())
			}
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("stores %v, error %v; want %v", got, err, want)
		}
	}
	listed("users", "events", "gone")
	if err := stores["gone"].Close(); err != nil {
		t.Fatal(err)
	}
	listed("users", "events")

	for _, c := range []struct {
		name string
		want error
		says string
	}{
		{"users", nil, ""},
		{"events", nil, ""},
		{"nobody", sdk.ErrNotFound, "users, events"},
		{"", sdk.ErrNotFound, "users, events"}, // by its path alone
		{"gone", sdk.ErrNotFound, "closed"},
	} {
		store := sdk.Store{Name: c.name, Path: stores["users"].Path()}
		f, measured := client.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: store, Depth: sdk.DepthExact})
		r, compacted := client.Compact(t.Context(), sdk.CompactRequest{Store: store, Mode: bolt.ModeRewrite}, func(sdk.Progress) {})
		for what, err := range map[string]error{"measure": measured, "compact": compacted} {
			if !errors.Is(err, c.want) || !strings.Contains(sdk.HintOf(err), c.says) {
				t.Errorf("%s %q: error %v, hint %q; want %v, %q", what, c.name, err, sdk.HintOf(err), c.want, c.says)
			}
		}
		if c.want == nil && (f.ReclaimableBytes < 500<<10 || r.NoOp || r.ReclaimedBytes < 500<<10 || r.Pause <= 0) {
			t.Errorf("%s: %+v; %+v", c.name, f, r)
		}
		if _, err := client.Sweep(t.Context(), store); (c.name == "nobody" || c.name == "") && !errors.Is(err, sdk.ErrNotFound) || c.want == nil && err != nil {
			t.Errorf("sweep %q: error %v", c.name, err)
		}
	}
	for _, name := range []string{"users", "events"} {
		stores[name].put(t, "b")
		stores[name].wantKeys(t, "a", "b")
	}
	stop()
	stores["users"].put(t, "c") // the store is the application's still
}

// A single store answers to any name.
func TestServeOne(t *testing.T) {
	s := openSwappable(t)
	client, _ := serve(t, live.Store{DB: s.live})
	for _, store := range []sdk.Store{{Name: "whatever"}, {Path: "/anywhere"}} {
		f, err := client.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: store})
		if err != nil || f.TotalBytes == 0 {
			t.Errorf("%+v: %+v, error %v", store, f, err)
		}
	}
	if list, err := client.Stores(t.Context()); err != nil || len(list) != 1 || list[0].Path != s.Path() {
		t.Errorf("stores %v, error %v", list, err)
	}
}

// What the host asks for is what the store is compacted by.
func TestServeOptions(t *testing.T) {
	s := openSwappable(t)
	client, _ := serve(t, live.Store{Name: "a", DB: s.live})
	tx, err := s.Begin(true) // no pause is long enough, as none comes
	if err != nil {
		t.Fatal(err)
	}
	s.live.SetWriterWait(1)
	_, err = client.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Name: "a"}, Mode: bolt.ModeRewrite}, func(sdk.Progress) {})
	if !errors.Is(err, sdk.ErrBusy) || !strings.Contains(sdk.HintOf(err), "transaction") {
		t.Errorf("error %v, hint %q", err, sdk.HintOf(err))
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	s.live.SetWriterWait(never)
	for name, c := range map[string]struct {
		options map[string]any
		mode    string
		want    error
	}{
		"a pause that is too short to mean": {map[string]any{"max_pause": "1us"}, "", sdk.ErrInvalidOption},
		"a mode that there is not":          {nil, "fold", sdk.ErrInvalidOption},
		"an option that there is not":       {map[string]any{"speed": "high"}, "", sdk.ErrInvalidOption},
	} {
		options := sdk.Options{}
		for k, v := range c.options {
			options[k] = v
		}
		if _, err := client.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Name: "a"}, Mode: c.mode, Options: options}, func(sdk.Progress) {}); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	sizes := map[float64]int64{}
	for _, fill := range []float64{0.5, 1} {
		if err := s.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("many"))
			for k := 0; k < 4000 && err == nil; k++ {
				err = b.Put(fmt.Appendf(nil, "%08d", k), make([]byte, 100))
			}
			return errors.Join(err, tx.Bucket([]byte("bucket")).Put([]byte("large"), make([]byte, 1<<20)))
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bucket")).Delete([]byte("large")) }); err != nil {
			t.Fatal(err)
		}
		r, err := client.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Name: "a"}, Mode: bolt.ModeRewrite, Options: sdk.Options{
			"max_pause": "2s", bolt.OptionFill: fill, bolt.OptionVerify: bolt.VerifyFull,
		}}, func(sdk.Progress) {})
		if err != nil || r.NoOp || r.Verification == nil {
			t.Fatalf("pages filled to %v: %+v, error %v", fill, r, err)
		}
		sizes[fill] = r.After.AllocatedBytes
	}
	if sizes[0.5] < sizes[1]*3/2 {
		t.Errorf("of pages that are half full the file has %d bytes, of full ones %d", sizes[0.5], sizes[1])
	}
	s.wantKeys(t, "a")
}

// The end of Serve ends a compaction, and the store goes on.
func TestEndOfServe(t *testing.T) {
	s := openSwappable(t)
	client, stop := serve(t, live.Store{DB: s.live})
	under, ended := make(chan struct{}), make(chan error, 1)
	tx, err := s.Begin(true) // what the compaction waits for
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		began := sync.OnceFunc(func() { close(under) })
		_, err := client.Compact(t.Context(), sdk.CompactRequest{Store: sdk.Store{Name: "a"}, Mode: bolt.ModeRewrite}, func(sdk.Progress) { began() })
		ended <- err
	}()
	<-under
	stop()
	if err := <-ended; !sdk.IsCancelled(err) {
		t.Errorf("the compaction ended with %v, want %v", err, sdk.ErrCancelled)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(s.Path())); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, error %v", entries, err)
	}
	s.swap(t)
	s.wantKeys(t, "a")
}
