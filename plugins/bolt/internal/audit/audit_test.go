package audit_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/audit"
	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/writer"
)

const pageSize = 1 << 10

// written makes a file with trees of three levels, buckets of their own pages
// and inline ones.
func written(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "new.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	w := writer.New(context.Background(), f, writer.Config{PageSize: pageSize, Fill: 1, TxID: 5, Sequence: 9})
	defer w.Abort()
	for i := range 3 {
		err = errors.Join(err, w.Enter(fmt.Appendf(nil, "bucket-%d", i), uint64(i)))
		for k := range 700 {
			err = errors.Join(err, w.Put(fmt.Appendf(nil, "key-%05d", k), make([]byte, 100+k%200)))
		}
		for n := range 5 {
			err = errors.Join(err, w.Enter(fmt.Appendf(nil, "nested-%d", n), 7), w.Put([]byte("k"), make([]byte, n*100)), w.Leave())
		}
		err = errors.Join(err, w.Leave())
	}
	if _, finished := w.Finish(); errors.Join(err, finished) != nil {
		t.Fatal(err, finished)
	}
	return f
}

// audited audits a file in steps of so many bytes.
func audited(f *os.File, step int64) (content.Sum, error) {
	a := audit.New(f, pageSize, 3)
	defer a.Close()
	info, err := f.Stat()
	if err != nil {
		return content.Sum{}, err
	}
	for end := step; end < info.Size(); end += step {
		if err := a.To(end); err != nil {
			return content.Sum{}, err
		}
	}
	return a.Finish()
}

func TestSumIsTheSameInAllSteps(t *testing.T) {
	f := written(t)
	want, err := audited(f, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if want.Items != 3*(1+700+5+5) {
		t.Errorf("%d items", want.Items)
	}
	for _, step := range []int64{pageSize, 3 * pageSize, 64 * pageSize} {
		if got, err := audited(f, step); err != nil || got != want {
			t.Errorf("in steps of %d bytes: %+v, error %v, want %+v", step, got, err, want)
		}
	}
}

// A file with any bit of a tree's page changed is unsound, or has another sum;
// but for bits that mean nothing, as those beyond a node's entries do.
func TestNoticesEveryChange(t *testing.T) {
	f := written(t)
	want, err := audited(f, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	means := meaningful(whole)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		at := 3*pageSize + random.IntN(len(whole)-3*pageSize)
		bit := byte(1) << random.IntN(8)
		if _, err := f.WriteAt([]byte{whole[at] ^ bit}, int64(at)); err != nil {
			t.Fatal(err)
		}
		got, err := audited(f, 1<<30)
		if noticed := err != nil || got != want; noticed != means[at] {
			t.Errorf("byte %d of page %d, bit %02x: noticed %v (%v), want %v", at%pageSize, at/pageSize, bit, noticed, err, means[at])
		}
		if _, err := f.WriteAt(whole[at:at+1], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

// meaningful says of each byte whether it is part of a header, an entry, a key
// or a value.
func meaningful(whole []byte) []bool {
	means := make([]bool, len(whole))
	for at := 3 * pageSize; at < len(whole); {
		leaf := binary.NativeEndian.Uint16(whole[at+8:]) == 2
		count := int(binary.NativeEndian.Uint16(whole[at+10:]))
		used := page.HeaderSize + count*page.ElementSize
		for i := range count {
			e := whole[at+page.HeaderSize+i*page.ElementSize:]
			if leaf {
				used += int(binary.NativeEndian.Uint32(e[8:]) + binary.NativeEndian.Uint32(e[12:]))
			} else {
				used += int(binary.NativeEndian.Uint32(e[4:]))
			}
		}
		for i := range used {
			means[at+i] = true
		}
		at += (1 + int(binary.NativeEndian.Uint32(whole[at+12:]))) * pageSize
	}
	return means
}

func TestNoticesAWrongHead(t *testing.T) {
	for name, change := range map[string]struct {
		meta func(*page.Meta)
		want string // of the newer one
	}{
		"root":            {func(m *page.Meta) { m.Root = 3 }, "no tree begins"},
		"high-water mark": {func(m *page.Meta) { m.HighWater++ }, "high-water mark"},
		"page size":       {func(m *page.Meta) { m.PageSize *= 2 }, "page size"},
		"freelist":        {func(m *page.Meta) { m.Freelist = 4 }, "freelist"},
		"sequence":        {func(m *page.Meta) { m.Sequence++ }, ""},
		"transaction":     {func(m *page.Meta) { m.TxID += 2 }, "beside"},
	} {
		t.Run(name, func(t *testing.T) {
			f := written(t)
			want, err := audited(f, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			metas, err := page.ReadMetas(f, pageSize)
			if err != nil {
				t.Fatal(err)
			}
			// One of them alone is noticed, whichever it is, and both are.
			for _, changed := range [][]int{{0}, {1}, {0, 1}} {
				for i, m := range metas {
					if slices.Contains(changed, i) {
						change.meta(&m)
					}
					b := make([]byte, pageSize)
					page.PutMeta(b, m)
					if _, err := f.WriteAt(b, int64(i)*pageSize); err != nil {
						t.Fatal(err)
					}
				}
				if name == "transaction" && changed[0] == 0 {
					continue // 6 after 5 and 7 after 6 are as good as 5 after 4
				}
				got, err := audited(f, 1<<30)
				var damage *page.Error
				if err == nil && got == want || err != nil && !errors.As(err, &damage) {
					t.Errorf("metas %d: error %v, want damage", changed, err)
				}
				if len(changed) == 2 && change.want != "" && (err == nil || !strings.Contains(err.Error(), change.want)) {
					t.Errorf("error %v, want one of the %s", err, change.want)
				}
			}
		})
	}
}

func TestNoticesWhatIsMissing(t *testing.T) {
	f := written(t)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(info.Size() - pageSize); err != nil {
		t.Fatal(err)
	}
	var damage *page.Error
	if _, err := audited(f, 1<<30); !errors.As(err, &damage) {
		t.Errorf("error %v, want that a page is missing", err)
	}
}

// A branch has two children at least, and a tree no level that leads nowhere.
func TestNoticesABranchWithOneChild(t *testing.T) {
	f := written(t)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	metas, err := page.ReadMetas(f, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	root := page.ID(info.Size() / pageSize)
	key := []byte(nil)
	old, err := (&page.File{R: f, Meta: metas[0]}).Node(metas[0].Root, true, new(page.Buffer))
	if err == nil {
		key, err = old.Key(0)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, pageSize)
	binary.NativeEndian.PutUint64(b, uint64(root))
	binary.NativeEndian.PutUint16(b[8:], 1) // a branch
	binary.NativeEndian.PutUint16(b[10:], 1)
	binary.NativeEndian.PutUint32(b[page.HeaderSize:], page.ElementSize)
	binary.NativeEndian.PutUint32(b[page.HeaderSize+4:], uint32(len(key)))
	binary.NativeEndian.PutUint64(b[page.HeaderSize+8:], uint64(metas[0].Root))
	copy(b[page.HeaderSize+page.ElementSize:], key)
	if _, err := f.WriteAt(b, info.Size()); err != nil {
		t.Fatal(err)
	}
	for i, m := range metas {
		m.Root, m.HighWater = root, root+1
		head := make([]byte, pageSize)
		page.PutMeta(head, m)
		if _, err := f.WriteAt(head, int64(i)*pageSize); err != nil {
			t.Fatal(err)
		}
	}
	var damage *page.Error
	if _, err := audited(f, 1<<30); !errors.As(err, &damage) || !strings.Contains(err.Error(), "fewer than two children") {
		t.Errorf("error %v", err)
	}
}
