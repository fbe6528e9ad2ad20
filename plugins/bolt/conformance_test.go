package bolt_test

import (
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	sdktest.Run(t, sdktest.Factory{
		Backend:   bolt.New,
		Program:   sdktest.Build("./cmd/wring-plugin-bolt"),
		StoreName: "store.db",
		Make:      makeStore,
		Digest:    bolttest.Digest,
		Hold: func(path string) (release func() error, err error) {
			db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second})
			if err != nil {
				return nil, err
			}
			return db.Close, nil
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
		// Half full pages, of which half of the content is deleted.
		s.Shape, s.GarbageRatio, s.LiveBytes = bolttest.ShapeRandom, 0.4, spec.Bytes/4
	}
	return bolttest.Generate(path, s)
}
