package pebble

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestNumbers has a store whose newest tables are there no more, since all in them was
// deleted: the new store gives none of their names again.
func TestNumbers(t *testing.T) {
	path := generate(t, pebbletest.Spec{LiveBytes: 1 << 20, Shape: pebbletest.Overwrites})
	// The names that tables have had, and the highest number that is left.
	had := map[string]bool{}
	options := &pebbledb.Options{Logger: &events{}, DisableAutomaticCompactions: true, EventListener: &pebbledb.EventListener{
		TableCreated: func(info pebbledb.TableCreateInfo) { had[filepath.Base(info.Path)] = true },
	}}
	db, err := pebbledb.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	compactAll := func() { must(db.Compact(t.Context(), []byte("zz"), []byte("zzz"), false)) }
	for range 4 { // tables that lie in the way of each other, in more than one level
		for i := range 100 {
			must(db.Set(fmt.Appendf(nil, "zz%d", i), make([]byte, 1000), pebbledb.NoSync))
		}
		must(db.Flush())
	}
	compactAll()
	must(db.DeleteRange([]byte("zz"), []byte("zzz"), pebbledb.NoSync))
	must(db.Flush())
	compactAll()
	must(db.Close())
	d, err := openDirectory(path)
	must(err)
	highest, err := d.highest()
	must(err)
	for name := range had {
		if number, ok := (engine.File{Name: name}).Number(".sst"); !ok || number > highest {
			t.Errorf("there was %s, and the highest number is said to be %d", name, highest)
		}
	}
	if len(had) < 5 {
		t.Fatalf("there were the tables %v", had)
	}
	if result := rewrite(t, path); result.NoOp {
		t.Fatal("nothing was rewritten")
	}
	tables, err := filepath.Glob(filepath.Join(path, "*.sst"))
	must(err)
	for _, table := range tables {
		if had[filepath.Base(table)] {
			t.Errorf("another table had the name of %s", table)
		}
	}
}

// TestNextNumber reads manifests that end anyhow.
func TestNextNumber(t *testing.T) {
	d, err := openDirectory(generate(t, pebbletest.Spec{}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(newest(t, d.path, "MANIFEST-*"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := nextNumber(strings.NewReader(string(text)))
	if err != nil || whole < 5 {
		t.Fatalf("the next number is %d, error %v", whole, err)
	}
	last := uint64(0)
	for n := range len(text) {
		next, err := nextNumber(strings.NewReader(string(text[:n])))
		if err != nil || next < last || next > whole {
			t.Fatalf("of %d bytes: %d after %d, error %v", n, next, last, err)
		}
		last = next
	}
}

// TestRecompressNote has a store all of which is compressed as it shall be.
func TestRecompressNote(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Dense})
	request := rewriteOf(path)
	request.Options = sdk.Options{optionRecompress: "snappy"}
	result, err := New(Config{}).Compact(t.Context(), request, func(sdk.Progress) {})
	if err != nil || !result.NoOp || !strings.HasPrefix(result.Note, "all tables have the compression Snappy already") {
		t.Errorf("%+v, %v", result, err)
	}
}
