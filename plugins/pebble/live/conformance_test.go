package live

import (
	"context"
	"sync"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
	"github.com/wringdb/wring/sdk/sdktest"
)

// TestConformance has an application that opens a store for each call.
func TestConformance(t *testing.T) {
	owned := "an owner has its stores open, or does not serve them"
	sdktest.Run(t, sdktest.Factory{
		Backend:   func() sdk.Backend { return newApplication() },
		StoreName: "events",
		Dir:       true,
		Bytes:     256 << 10,
		SlowBytes: 2 << 20,
		Make: func(path string, spec sdktest.Spec) error {
			s := pebbletest.Spec{Seed: spec.Seed, Shape: pebbletest.Deletes, LiveBytes: spec.Bytes}
			switch spec.Shape {
			case sdktest.Empty:
				db, err := pebbledb.Open(path, options())
				if err != nil {
					return err
				}
				return db.Close()
			case sdktest.Dense:
				s.Shape, s.LiveBytes = pebbletest.Dense, 2*spec.Bytes // values compress to about half
			case sdktest.Fragmented: // as it is
			}
			return pebbletest.Generate(path, s)
		},
		Digest: func(path string) (string, error) {
			digest, _, err := pebbletest.Digest(path, nil)
			return digest, err
		},
		Skip: map[string]string{
			"locked":                           owned,
			"damaged":                          owned,
			"measure_changes_nothing":          "opening the store changes it; TestMeasuringWritesNothing looks at what measuring does",
			"subprocess/progress":              "an owner has no process of its own; TestOwner hears of progress over its socket",
			"subprocess/killed":                "an owner's death is that of its application; Pebble is whole after it by itself",
			"subprocess/compact_twice_at_once": "a second application cannot open the store",
		},
	})
}

// options of the application, small enough for small stores.
func options() *pebbledb.Options {
	return &pebbledb.Options{
		FormatMajorVersion:          pebbledb.FormatNewest,
		MemTableSize:                64 << 10,
		Logger:                      quiet{},
		DisableAutomaticCompactions: true,
		L0StopWritesThreshold:       1 << 20,
	}
}

// application opens the store of a call, unless it is open already.
type application struct {
	sdk.Backend // for Describe, of a store in memory that is closed
}

func newApplication() *application {
	o := options()
	o.FS = vfs.NewMem()
	db, err := pebbledb.Open("", o)
	if err != nil {
		panic(err)
	}
	b, err := New(Store{Name: "none", DB: db, Options: o})
	if err != nil {
		panic(err)
	}
	if err := db.Close(); err != nil {
		panic(err)
	}
	return &application{Backend: b}
}

func (a *application) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (f sdk.Fragmentation, err error) {
	err = held.with(ctx, req.Store, func(b sdk.Backend) error {
		f, err = b.Fragmentation(ctx, req)
		return err
	})
	return f, err
}

func (a *application) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (r sdk.CompactResult, err error) {
	err = held.with(ctx, req.Store, func(b sdk.Backend) error {
		r, err = b.Compact(ctx, req, report)
		return err
	})
	return r, err
}

// held are the stores that this process has open, by path.
var held = &holding{stores: map[string]*heldStore{}}

type holding struct {
	mu     sync.Mutex
	stores map[string]*heldStore
}

type heldStore struct {
	db      *pebbledb.DB
	backend sdk.Backend
	calls   int
}

func (h *holding) with(ctx context.Context, s sdk.Store, call func(sdk.Backend) error) (err error) {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	store, err := h.open(s.Path)
	if err != nil {
		return err
	}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if store.calls--; store.calls > 0 {
			return
		}
		delete(h.stores, s.Path)
		if cerr := store.db.Close(); err == nil {
			err = cerr
		}
	}()
	return call(store.backend)
}

func (h *holding) open(path string) (*heldStore, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if store := h.stores[path]; store != nil {
		store.calls++
		return store, nil
	}
	db, err := pebbledb.Open(path, options())
	if err != nil {
		return nil, err
	}
	b, err := New(Store{Name: "under-test", DB: db, Options: options()})
	if err != nil {
		return nil, err
	}
	store := &heldStore{db: db, backend: b, calls: 1}
	h.stores[path] = store
	return store, nil
}
