package engine

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestSumInPieces reads one content with iterators of every length: the digest
// is that of a single one, range keys over many points included.
func TestSumInPieces(t *testing.T) {
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), FormatMajorVersion: pebbledb.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := range 500 {
		if err := db.Set(fmt.Appendf(nil, "k%03d", i), bytes.Repeat([]byte{byte(i)}, i%50), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, span := range [][3]string{{"a", "k100", "x"}, {"k100", "k300", "y"}, {"k300", "k300z", "x"}, {"k400", "z", "x"}, {"k450", "k460", "z"}} {
		if err := db.RangeKeySet([]byte(span[0]), []byte(span[1]), nil, []byte(span[2]), nil); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := ReadContent(context.Background(), db, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(500 + 6); whole.Items != want {
		t.Errorf("%d items, want %d", whole.Items, want)
	}
	for _, renew := range []int64{1, 7, 100, 1000, 1 << 20} {
		sum := NewSum(bytes.Compare, renew)
		last := int64(0)
		err := sum.Add(context.Background(), db, nil, nil, func(bytes int64) error {
			if bytes < last {
				t.Errorf("%d bytes after %d", bytes, last)
			}
			last = bytes
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := sum.Content(); got != whole || last != whole.Bytes {
			t.Errorf("a new iterator after %d bytes: %+v (told of %d), want %+v", renew, got, last, whole)
		}
	}
	if err := db.Set([]byte("k250"), []byte("another"), nil); err != nil {
		t.Fatal(err)
	}
	sum := NewSum(bytes.Compare, 100)
	if err := sum.Add(context.Background(), db, nil, nil, func(int64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if sum.Content().Digest == whole.Digest {
		t.Error("a value changed, and the digest did not")
	}
}

// TestStepPanic takes a step on a closed store, which panics in a goroutine of
// its own: whoever called hears of it.
func TestStepPanic(t *testing.T) {
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p == nil {
			t.Error("a step on a closed store did not panic")
		}
	}()
	_ = KeyRange{Start: []byte("a"), End: []byte("b")}.Compact(context.Background(), db, 1<<30, func() error { return nil })
}

// quiet keeps Pebble's chatter out of tests.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
