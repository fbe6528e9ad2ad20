package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// A benchmark of a wrong result counts for nothing, so the check must notice.
func TestCheckNoticesWrongResults(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	f, err := openFile(ctx, io.Discard, dir, spec{Name: "random", Shape: shapeRandom, Live: 1_000_000, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	bboltProgram := filepath.Join(dir, "bbolt")
	if _, err := command(ctx, "go", "build", "-o", bboltProgram, "go.etcd.io/bbolt/cmd/bbolt").output(); err != nil {
		t.Fatal(err)
	}
	b := &bench{tools: tools{bbolt: bboltProgram}, checked: make(map[string]string)}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
		want   string // in the error; empty for none
	}{
		{"same", func(*testing.T, string) {}, ""},
		{"same again", func(*testing.T, string) {}, ""},
		{"one value", func(t *testing.T, path string) { put(t, path, "random", "x", "y") }, "other content"},
		{"another bucket", func(t *testing.T, path string) { put(t, path, "more", "", "") }, "other content"},
		{"unsound", damage, "exit status"},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := filepath.Join(t.TempDir(), "result.db")
			content, err := os.ReadFile(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(result, content, 0o600); err != nil {
				t.Fatal(err)
			}
			c.change(t, result)
			err = b.check(context.WithoutCancel(ctx), f, result)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}

func put(t *testing.T, path, bucket, key, value string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil || key == "" {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	}); err != nil {
		t.Fatal(err)
	}
}

// damage gives a leaf another number in its header than it has by its place.
func damage(t *testing.T, path string) {
	t.Helper()
	m, err := openImage(path)
	if err != nil {
		t.Fatal(err)
	}
	var victim uint64
	if err := m.eachLeaf(m.root, func(id uint64, _, _ int) { victim = id }); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xEE}, int64(victim*m.pageSize)); err != nil {
		t.Fatal(err)
	}
}
