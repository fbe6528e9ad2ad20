package live_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
	"github.com/wringdb/wring/sdk/sdktest"
)

// TestConformance has an application that opens a store for each call.
func TestConformance(t *testing.T) {
	owned := "an owner has its stores open, or does not serve them"
	sdktest.Run(t, sdktest.Factory{
		Backend:   func() sdk.Backend { return newApplication() },
		StoreName: "store.db",
		Make:      makeStore,
		Digest:    bolttest.Digest,
		Skip: map[string]string{
			"locked":                           owned,
			"damaged":                          owned,
			"subprocess/compact_twice_at_once": "a second application cannot open the store",
		},
	})
}

func makeStore(path string, spec sdktest.Spec) error {
	s := bolttest.Spec{Seed: spec.Seed, LiveBytes: spec.Bytes, Shape: bolttest.ShapeDense}
	switch spec.Shape {
	case sdktest.Dense:
	case sdktest.Empty:
		s.Shape = bolttest.ShapeEmpty
	case sdktest.Fragmented:
		s.Shape, s.GarbageRatio, s.LiveBytes = bolttest.ShapeRandom, 0.4, spec.Bytes/4
	}
	return bolttest.Generate(path, s)
}

// application opens the store of a call, unless it is open already.
type application struct {
	backend sdk.Backend // describes itself, and has nothing open
}

func newApplication() *application {
	// What describes itself needs a store, which need not be open.
	b, err := live.New(live.Store{Name: "none", DB: new(live.DB)})
	if err != nil {
		panic(err)
	}
	return &application{backend: b}
}

// Describe adds what an owner lacks, since it knows its own stores: how to tell them
// from other files.
func (a *application) Describe(ctx context.Context) (sdk.Description, error) {
	file, err := bolt.New().Describe(ctx)
	if err != nil {
		return file, err
	}
	d, err := a.backend.Describe(ctx)
	if len(d.Signatures) > 0 {
		return d, errors.New("an owner that tells its stores from other files")
	}
	d.Signatures = file.Signatures
	return d, err
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

func (a *application) Sweep(ctx context.Context, store sdk.Store) (removed []string, err error) {
	err = held.with(ctx, store, func(b sdk.Backend) error {
		removed, err = b.(sdk.Sweeper).Sweep(ctx, store) //nolint:errcheck // it is one
		return err
	})
	return removed, err
}

// held are the stores that this process has open, by path.
var held = &holding{stores: map[string]*heldStore{}}

type holding struct {
	mu     sync.Mutex
	stores map[string]*heldStore
}

type heldStore struct {
	db      *live.DB
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
	db, err := live.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	b, err := live.New(live.Store{Name: "under-test", DB: db})
	if err != nil {
		return nil, err
	}
	store := &heldStore{db: db, backend: b, calls: 1}
	h.stores[path] = store
	return store, nil
}
