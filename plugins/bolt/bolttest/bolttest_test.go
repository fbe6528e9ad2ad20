package bolttest_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

func TestGenerate(t *testing.T) {
	digest := func(t *testing.T, spec bolttest.Spec) string {
		path := filepath.Join(t.TempDir(), "a.db")
		if err := bolttest.Generate(path, spec); err != nil {
			t.Fatal(err)
		}
		sum, err := bolttest.Digest(path)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	seen := make(map[string]bolttest.Shape)
	for _, shape := range bolttest.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			spec := bolttest.Spec{Seed: 1, LiveBytes: 256 << 10, GarbageRatio: 0.5, Shape: shape}
			sum := digest(t, spec)
			if again := digest(t, spec); again != sum {
				t.Errorf("the same seed made %s, then %s", sum, again)
			}
			if other, ok := seen[sum]; ok {
				t.Errorf("the content is that of %s", other)
			}
			seen[sum] = shape
			if shape == bolttest.ShapeEmpty || shape == bolttest.ShapeOneKey {
				return
			}
			spec.Seed = 2
			if other := digest(t, spec); other == sum {
				t.Error("another seed made the same content")
			}
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"an existing file":    bolttest.Generate(there, bolttest.Spec{}),
		"nothing but garbage": bolttest.Generate(filepath.Join(dir, "a"), bolttest.Spec{GarbageRatio: 1}),
		"an unknown shape":    bolttest.Generate(filepath.Join(dir, "b"), bolttest.Spec{Shape: "round"}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDigestTellsContentsApart(t *testing.T) {
	digest := func(fill func(*bbolt.Tx) error) string {
		path := filepath.Join(t.TempDir(), "a.db")
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(fill); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		sum, err := bolttest.Digest(path)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	with := func(key, value string, sequence uint64) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("bucket"))
			if err != nil {
				return err
			}
			if err := b.SetSequence(sequence); err != nil {
				return err
			}
			return b.Put([]byte(key), []byte(value))
		}
	}
	base := digest(with("key", "value", 0))
	if again := digest(with("key", "value", 0)); again != base {
		t.Errorf("equal content has the digests %s and %s", base, again)
	}
	for name, other := range map[string]string{
		"key":      digest(with("yek", "value", 0)),
		"value":    digest(with("key", "eulav", 0)),
		"boundary": digest(with("keyv", "alue", 0)),
		"sequence": digest(with("key", "value", 1)),
	} {
		if other == base {
			t.Errorf("another %s has the same digest", name)
		}
	}
}
