package pebble_test

import (
	"context"
	"slices"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
	"github.com/wringdb/wring/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	f := factory()
	f.Program = sdktest.Build("./cmd/wring-plugin-pebble")
	sdktest.Run(t, f)
}

// TestConformanceOfRewrite has a backend whose default is mode rewrite.
func TestConformanceOfRewrite(t *testing.T) {
	f := factory()
	f.Backend = func() sdk.Backend { return rewriting{pebble.New(pebble.Config{})} }
	sdktest.Run(t, f)
}

type rewriting struct{ sdk.Backend }

func (b rewriting) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := b.Backend.Describe(ctx)
	slices.Reverse(d.Capabilities.Modes)
	return d, err
}

func (b rewriting) Sweep(ctx context.Context, store sdk.Store) ([]string, error) {
	return b.Backend.(sdk.Sweeper).Sweep(ctx, store) //nolint:errcheck // it is one
}

func factory() sdktest.Factory {
	return sdktest.Factory{
		Backend:   func() sdk.Backend { return pebble.New(pebble.Config{}) },
		StoreName: "events",
		SlowBytes: 16 << 20,
		Dir:       true,
		Make:      makeStore,
		Digest: func(path string) (string, error) {
			digest, _, err := pebbletest.Digest(path, nil)
			return digest, err
		},
		Hold: func(path string) (release func() error, err error) {
			db, err := pebbledb.Open(path, &pebbledb.Options{})
			if err != nil {
				return nil, err
			}
			return db.Close, nil
		},
	}
}

// makeStore takes into account that values compress to about half.
func makeStore(path string, spec sdktest.Spec) error {
	s := pebbletest.Spec{Seed: spec.Seed}
	switch spec.Shape {
	case sdktest.Empty:
		return makeEmpty(path)
	case sdktest.Dense:
		s.Shape, s.LiveBytes = pebbletest.Dense, 2*spec.Bytes
	case sdktest.Fragmented:
		s.Shape, s.LiveBytes = pebbletest.Deletes, spec.Bytes
	}
	return pebbletest.Generate(path, s)
}

func makeEmpty(path string) error {
	db, err := pebbledb.Open(path, &pebbledb.Options{})
	if err != nil {
		return err
	}
	return db.Close()
}
