package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/sdk"
)

// damaged is a store whose bytes a test changes.
type damaged struct {
	t     *testing.T
	path  string
	bytes []byte
	meta  page.Meta
}

func (d *damaged) at(id page.ID) []byte { return d.bytes[d.meta.Offset(id):][:d.meta.PageSize] }

// branch is a branch page: the root of the first bucket.
func (d *damaged) branch() (id page.ID, children []page.ID) {
	f, err := os.Open(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	file := page.File{R: f, Meta: d.meta}
	root, err := file.Node(d.meta.Root, true, new(page.Buffer))
	if err != nil {
		d.t.Fatal(err)
	}
	b, err := root.Bucket(0)
	if err != nil {
		d.t.Fatal(err)
	}
	n, err := file.Node(b.Root, true, new(page.Buffer))
	if err != nil || n.Leaf {
		d.t.Fatalf("no branch page: %v", err)
	}
	for i := range n.Count {
		children = append(children, n.Child(i))
	}
	return n.ID, children
}

func (d *damaged) breakMeta(id page.ID) {
	for i := range 64 {
		d.at(id)[page.HeaderSize+i] = 0xFF
	}
}

func TestDamagedStores(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(d *damaged)
		want   string // part of the message
		quick  bool   // seen at depth quick too
	}{
		{"both metas broken", func(d *damaged) { d.breakMeta(0); d.breakMeta(1) }, "no valid meta page", true},
		{"truncated at one page", func(d *damaged) { d.bytes = d.bytes[:4096] }, "beyond the end of the file: it has 4096 bytes", true},
		{"truncated in the middle", func(d *damaged) { d.bytes = d.bytes[:len(d.bytes)/3] }, "beyond the end of the file", true},
		{"truncated within a page", func(d *damaged) { d.bytes = d.bytes[:d.meta.Bytes()-100] }, "beyond the end of the file", true},
		{"a page of garbage", func(d *damaged) {
			_, children := d.branch()
			for i := range d.at(children[1]) {
				d.at(children[1])[i] = byte(i*7 + 1)
			}
		}, "says that it is page", false},
		{"a loop", func(d *damaged) {
			id, _ := d.branch()
			binary.NativeEndian.PutUint64(d.at(id)[page.HeaderSize+8:], uint64(id))
		}, "page", false},
		{"a freelist of garbage", func(d *damaged) { d.at(d.meta.Freelist)[8] = 0xFF }, "freelist", true},
		{"empty", func(d *damaged) { d.bytes = nil }, "empty (0 bytes)", true},
		{"text", func(d *damaged) { d.bytes = []byte(strings.Repeat("this is no database\n", 2000)) }, "no bbolt file", true},
		{"a few bytes", func(d *damaged) { d.bytes = []byte("tiny") }, "no bbolt file", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := damagedStore(t, 500<<10)
			test.damage(d)
			if err := os.WriteFile(d.path, d.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			was := state(t, d.path)
			depths := []sdk.Depth{sdk.DepthSampled, sdk.DepthExact}
			if test.quick {
				depths = append(depths, sdk.DepthQuick)
			}
			for _, depth := range depths {
				_, err := New().Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: d.path}, Depth: depth})
				checkCorrupt(t, "measured "+string(depth), err, test.want)
			}
			_, err := New().Compact(context.Background(), request(d.path), func(sdk.Progress) {})
			checkCorrupt(t, "compacted", err, test.want)
			if now := state(t, d.path); now != was {
				t.Error("the file has changed")
			}
			onlyTheStore(t, d.path)
		})
	}
}

func damagedStore(t *testing.T, live int64) *damaged {
	t.Helper()
	d := &damaged{t: t, path: generate(t, bolttest.Spec{Seed: 1, LiveBytes: live, GarbageRatio: 0.5, Shape: bolttest.ShapeAppend})}
	var err error
	if d.bytes, err = os.ReadFile(d.path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if d.meta, err = page.ReadMeta(f); err != nil {
		t.Fatal(err)
	}
	return d
}

func checkCorrupt(t *testing.T, what string, err error, want string) {
	t.Helper()
	if !errors.Is(err, sdk.ErrCorrupt) || !strings.Contains(err.Error(), want) || sdk.HintOf(err) == "" {
		t.Errorf("%s: error %v (hint %q), want ErrCorrupt with %q", what, err, sdk.HintOf(err), want)
	}
	if sdk.Retryable(err) {
		t.Errorf("%s: error %v asks to try again", what, err)
	}
}

// One meta is enough, as it is for bbolt; the result has two again.
func TestOneBrokenMeta(t *testing.T) {
	for id := range page.ID(2) {
		d := damagedStore(t, 3<<20) // more than one transaction's worth
		d.breakMeta(id)
		if err := os.WriteFile(d.path, d.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if f := measure(t, d.path, sdk.DepthExact); f.ReclaimableBytes == 0 {
			t.Errorf("meta %d broken: nothing measured", id)
		}
		if result := compact(t, d.path); result.NoOp {
			t.Errorf("meta %d broken: %s", id, result.Note)
		}
		f, err := os.Open(d.path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range int64(2) {
			b := make([]byte, 4)
			if _, err := f.ReadAt(b, i*4096+page.HeaderSize); err != nil || binary.LittleEndian.Uint32(b) != page.Magic {
				t.Errorf("meta %d of the result begins with %x, error %v", i, b, err)
			}
		}
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		want error
	}{
		{dir, sdk.ErrUnsupported},
		{fifo, sdk.ErrUnsupported},
		{filepath.Join(dir, "missing"), sdk.ErrNotFound},
		{filepath.Join(dir, "missing", "too"), sdk.ErrNotFound},
	} {
		done := make(chan error, 2)
		go func() {
			_, err := New().Fragmentation(context.Background(), sdk.FragmentationRequest{Store: sdk.Store{Path: test.path}})
			done <- err
			_, err = New().Compact(context.Background(), request(test.path), func(sdk.Progress) {})
			done <- err
		}()
		for _, what := range []string{"measured", "compacted"} {
			select {
			case err := <-done:
				if !errors.Is(err, test.want) || sdk.HintOf(err) == "" {
					t.Errorf("%s: %s: error %v (hint %q), want %v", test.path, what, err, sdk.HintOf(err), test.want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: not %s within 10 s", test.path, what)
			}
		}
	}
}
