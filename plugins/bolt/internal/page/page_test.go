package page_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// write makes a file of one bucket.
func write(t *testing.T, options bbolt.Options, fill func(*bbolt.Bucket) error) *page.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	options.Timeout, options.NoSync = time.Second, true
	db, err := bbolt.Open(path, 0o600, &options)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("bucket"))
		if err != nil {
			return err
		}
		return fill(b)
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	meta, err := page.ReadMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	return &page.File{R: f, Meta: meta}
}

// bucket reads the file's one bucket.
func bucket(t *testing.T, f *page.File) page.Bucket {
	t.Helper()
	root, err := f.Node(f.Meta.Root, true, new(page.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if root.Count != 1 || !root.IsBucket(0) {
		t.Fatalf("the root has %d entries, a bucket: %v", root.Count, root.IsBucket(0))
	}
	b, err := root.Bucket(0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPageSizes(t *testing.T) {
	for size := page.MinPageSize; size <= page.MaxPageSize; size <<= 2 {
		f := write(t, bbolt.Options{PageSize: size}, func(b *bbolt.Bucket) error {
			return b.Put([]byte("key"), []byte("value"))
		})
		if f.Meta.PageSize != size {
			t.Errorf("page size %d, want %d", f.Meta.PageSize, size)
		}
		b := bucket(t, f)
		if b.Root != 0 || b.Inline.Count != 1 || b.Inline.ValueSize(0) != len("value") {
			t.Errorf("page size %d: inline bucket %+v", size, b)
		}
		if key, err := b.Inline.Key(0); err != nil || string(key) != "key" {
			t.Errorf("page size %d: key %q, error %v", size, key, err)
		}
	}
}

// Of a node with large values the keys are read one by one.
func TestKeysBetweenLargeValues(t *testing.T) {
	f := write(t, bbolt.Options{PageSize: 4096}, func(b *bbolt.Bucket) error {
		for i := range 4 {
			if err := b.Put(fmt.Appendf(nil, "key-%d", i), bytes.Repeat([]byte{byte(i)}, 700<<10)); err != nil {
				return err
			}
		}
		return nil
	})
	b := bucket(t, f)
	for _, keys := range []bool{true, false} {
		var buf page.Buffer
		n, err := f.Node(b.Root, keys, &buf)
		if err != nil {
			t.Fatal(err)
		}
		if len(buf) > 1<<20 {
			t.Errorf("%d bytes were read of %d", len(buf), n.Bytes())
		}
		if n.Count != 4 || n.Pages < 4*700/4 || n.Bytes() != int64(n.Pages)*4096 {
			t.Fatalf("node %+v", n)
		}
		for i := range n.Count {
			if key, err := n.Key(i); err != nil || string(key) != fmt.Sprintf("key-%d", i) {
				t.Errorf("key %d is %q, error %v", i, key, err)
			}
		}
		if want := int64(page.HeaderSize + 4*(page.ElementSize+5+700<<10)); n.Used() != want {
			t.Errorf("%d bytes used, want %d", n.Used(), want)
		}
	}
}

// More free pages than a header can count are counted in the list.
func TestLongFreelist(t *testing.T) {
	const pages = 70_000
	f := write(t, bbolt.Options{PageSize: 1024}, func(b *bbolt.Bucket) error {
		return b.Put([]byte("key"), make([]byte, pages*1024))
	})
	path := f.R.(*os.File).Name() //nolint:errcheck,forcetypeassert // as write has made it
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: time.Second, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("bucket")) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if f.Meta, err = page.ReadMeta(f.R); err != nil {
		t.Fatal(err)
	}
	short, err := f.Freelist(false)
	if err != nil {
		t.Fatal(err)
	}
	long, err := f.Freelist(true)
	if err != nil {
		t.Fatal(err)
	}
	if short.Count < pages || short.IDs != nil || int64(len(long.IDs)) != long.Count || long.Count != short.Count || long.Pages < pages*8/1024 {
		t.Errorf("%d pages free, %d listed on %d pages, want more than %d", short.Count, len(long.IDs), long.Pages, pages)
	}
}

func TestReadMetaOfWhatIsNone(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":    nil,
		"short":      []byte("x"),
		"text":       bytes.Repeat([]byte("text "), 10_000),
		"zeros":      make([]byte, 64<<10),
		"magic only": append(make([]byte, 16), 0xED, 0xDA, 0x0C, 0xED),
	} {
		if _, err := page.ReadMeta(bytes.NewReader(b)); !errors.Is(err, page.ErrNoMeta) {
			t.Errorf("%s: error %v, want ErrNoMeta", name, err)
		}
	}
}

// Entries that share bytes would make a copy larger than the file.
func TestEntriesMustNotOverlap(t *testing.T) {
	b := make([]byte, 3*page.MinPageSize)
	entries := make([]page.Entry, 4)
	for i := range entries {
		entries[i] = page.Entry{Key: []byte{byte('a' + i)}, Value: make([]byte, 200)}
	}
	node := b[2*page.MinPageSize:]
	page.PutTable(node, 2, true, 0, entries)
	file := &page.File{R: bytes.NewReader(b), Data: b, Meta: page.Meta{PageSize: page.MinPageSize, HighWater: 3}}
	if _, err := file.Node(2, true, nil); err != nil {
		t.Fatalf("entries side by side: %v", err)
	}
	// Each is 800 bytes long now, and within the page by itself.
	for i := range entries {
		binary.NativeEndian.PutUint32(node[page.HeaderSize+i*page.ElementSize+4:], uint32((len(entries)-i)*page.ElementSize))
		binary.NativeEndian.PutUint32(node[page.HeaderSize+i*page.ElementSize+12:], 800)
	}
	var damage *page.Error
	if _, err := file.Node(2, true, nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("error %v, want that they overlap", err)
	}
}

func TestMetasMustAgreeOnThePageSize(t *testing.T) {
	b := make([]byte, 8*page.MinPageSize)
	page.PutMeta(b, page.Meta{PageSize: page.MinPageSize, Root: 3, Freelist: 2, HighWater: 4, TxID: 1})
	page.PutMeta(b[page.MinPageSize:], page.Meta{PageSize: 2 * page.MinPageSize, Root: 3, Freelist: 2, HighWater: 4, TxID: 2, Page: 1})
	var damage *page.Error
	if _, err := page.ReadMeta(bytes.NewReader(b)); !errors.As(err, &damage) {
		t.Errorf("error %v, want damage", err)
	}
}
