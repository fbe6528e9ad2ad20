package walk_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/walk"
)

// recorder writes events down, and fails at one of them.
type recorder struct {
	events   []string
	branches int
	ahead    int
	failAt   string
}

var errStop = errors.New("stop")

func (r *recorder) note(format string, args ...any) error {
	r.events = append(r.events, fmt.Sprintf(format, args...))
	if r.failAt != "" && r.events[len(r.events)-1] == r.failAt {
		return errStop
	}
	return nil
}

func (r *recorder) Node(n *page.Node, _ int) error {
	if !n.Leaf {
		r.branches++
	}
	return nil
}

func (r *recorder) Ahead(*page.Node) { r.ahead++ }
func (r *recorder) Leave() error     { return r.note("}") }

func (r *recorder) Item(n *page.Node, i int) error {
	key, value, err := n.Item(i)
	return errors.Join(err, r.note("%x=%x", key, value))
}

func (r *recorder) Enter(n *page.Node, i int, b *page.Bucket) error {
	key, err := n.Key(i)
	return errors.Join(err, r.note("%x #%d {", key, b.Sequence))
}

// expected is what bbolt itself finds.
func expected(t *testing.T, path string) []string {
	t.Helper()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := &recorder{}
	if err := db.View(func(tx *bbolt.Tx) error { return r.bucket(tx.Cursor()) }); err != nil {
		t.Fatal(err)
	}
	return r.events
}

func (r *recorder) bucket(c *bbolt.Cursor) (err error) {
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if value != nil {
			err = errors.Join(err, r.note("%x=%x", key, value))
			continue
		}
		b := c.Bucket().Bucket(key)
		err = errors.Join(err, r.note("%x #%d {", key, b.Sequence()), r.bucket(b.Cursor()), r.note("}"))
	}
	return err
}

// open returns the file, mapped or to be read page by page.
func open(t *testing.T, path string, mapped bool) *page.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	meta, err := page.ReadMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	file := &page.File{R: f, Meta: meta}
	if mapped {
		m, err := page.Map(f, meta.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		file.Data = m.Data
	}
	return file
}

func TestWalkFindsWhatBboltFinds(t *testing.T) {
	for _, shape := range bolttest.Shapes() {
		for _, mapped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/mapped=%v", shape, mapped), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "a.db")
				if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 200 << 10, GarbageRatio: 0.4, Shape: shape}); err != nil {
					t.Fatal(err)
				}
				file, r := open(t, path, mapped), &recorder{}
				reached, err := walk.Walk(file, r)
				if err != nil {
					t.Fatal(err)
				}
				if want := expected(t, path); !slices.Equal(r.events, want) {
					t.Errorf("%d events, want %d, or they differ", len(r.events), len(want))
				}
				list, err := file.Freelist(false)
				if err != nil {
					t.Fatal(err)
				}
				if all := reached.Count() + list.Count + int64(list.Pages) + 2; all != int64(file.Meta.HighWater) {
					t.Errorf("%d pages are accounted for, of %d", all, file.Meta.HighWater)
				}
				if err := file.EachFree(func(id page.ID) error {
					if reached.Has(id) {
						t.Errorf("page %d is free and was reached", id)
					}
					list.Count--
					return nil
				}); err != nil || list.Count != 0 {
					t.Errorf("error %v, %d free pages were not named", err, list.Count)
				}
				if r.ahead != r.branches {
					t.Errorf("told early of %d branches of %d", r.ahead, r.branches)
				}
			})
		}
	}
}

func TestWalkStopsAtAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 50 << 10, Shape: bolttest.ShapeNested}); err != nil {
		t.Fatal(err)
	}
	all := expected(t, path)
	for _, at := range []int{0, 1, len(all) / 2, len(all) - 1} {
		r := &recorder{failAt: all[at]}
		if _, err := walk.Walk(open(t, path, true), r); !errors.Is(err, errStop) {
			t.Errorf("at %s: error %v, want the visitor's", all[at], err)
		}
		if last := r.events[len(r.events)-1]; last != all[at] {
			t.Errorf("went on to %s after %s", last, all[at])
		}
	}
}

// small makes a file with a branch and some leaves, and returns its bytes and
// the first branch.
func small(t *testing.T) (path string, branch page.ID) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a.db")
	if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 40 << 10, Shape: bolttest.ShapeDense, PageSize: 1 << 10}); err != nil {
		t.Fatal(err)
	}
	b := &firstBranch{}
	if _, err := walk.Walk(open(t, path, false), b); err != nil {
		t.Fatal(err)
	}
	return path, b.id
}

type firstBranch struct {
	recorder
	id page.ID
}

func (b *firstBranch) Node(n *page.Node, _ int) error {
	if !n.Leaf && b.id == 0 {
		b.id = n.ID
	}
	return nil
}

// Damage to a branch that would lead a reader in circles, twice to the same
// place, or out of the file.
func TestWalkNoticesWrongChildren(t *testing.T) {
	for name, test := range map[string]struct {
		child func(b []byte, branch page.ID) page.ID // by the branch's page
		want  string
	}{
		"itself":          {func(_ []byte, branch page.ID) page.ID { return branch }, "twice"},
		"another child":   {func(b []byte, _ page.ID) page.ID { return childOf(b, 0) }, "out of order"},
		"a meta":          {func([]byte, page.ID) page.ID { return 1 }, "outside of"},
		"beyond the file": {func([]byte, page.ID) page.ID { return 1 << 40 }, "outside of"},
	} {
		for _, mapped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/mapped=%v", name, mapped), func(t *testing.T) {
				path, branch := small(t)
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				b := whole[int(branch)<<10:]
				binary.NativeEndian.PutUint64(b[page.HeaderSize+page.ElementSize+8:], uint64(test.child(b, branch)))
				if err := os.WriteFile(path, whole, 0o600); err != nil {
					t.Fatal(err)
				}
				var damage *page.Error
				_, err = walk.Walk(open(t, path, mapped), &recorder{})
				if !errors.As(err, &damage) || !strings.Contains(err.Error(), test.want) && !strings.Contains(err.Error(), "twice") {
					t.Errorf("error %v, want one that says %q", err, test.want)
				}
			})
		}
	}
}

func childOf(b []byte, i int) page.ID {
	return page.ID(binary.NativeEndian.Uint64(b[page.HeaderSize+i*page.ElementSize+8:]))
}

func TestCheckFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := bolttest.Generate(path, bolttest.Spec{Seed: 1, LiveBytes: 100 << 10, GarbageRatio: 0.6, PageSize: 1 << 10}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file := open(t, path, false)
	reached, err := walk.Walk(file, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	if err := walk.CheckFree(file, reached); err != nil {
		t.Errorf("a sound file: %v", err)
	}
	ids := whole[file.Meta.Offset(file.Meta.Freelist)+page.HeaderSize:]
	second := binary.NativeEndian.Uint64(ids[8:])
	for want, id := range map[string]uint64{
		"in use and on the freelist": uint64(file.Meta.Root),
		"on the freelist twice":      second,
		"outside of":                 uint64(file.Meta.HighWater),
	} {
		binary.NativeEndian.PutUint64(ids, id)
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		var damage *page.Error
		if err := walk.CheckFree(file, reached); !errors.As(err, &damage) || !strings.Contains(err.Error(), want) {
			t.Errorf("page %d: error %v, want that it is %s", id, err, want)
		}
	}
}

// Whatever has become of a file, a walk ends, with or without an error.
func TestWalkSurvivesAnything(t *testing.T) {
	path, _ := small(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	damaged := 0
	for range 500 {
		mutant := slices.Clone(whole)
		for range 1 + random.IntN(20) {
			mutant[2048+random.IntN(len(mutant)-2048)] = byte(random.IntN(256))
		}
		if err := os.WriteFile(path, mutant, 0o600); err != nil {
			t.Fatal(err)
		}
		file := open(t, path, true)
		fromDisk := &page.File{R: file.R, Meta: file.Meta}
		_, mapped := walk.Walk(file, &recorder{})
		_, read := walk.Walk(fromDisk, &recorder{})
		if (mapped == nil) != (read == nil) {
			t.Fatalf("mapped: %v, read: %v", mapped, read)
		}
		if mapped != nil {
			damaged++
		}
	}
	if damaged < 100 {
		t.Errorf("%d of 500 mutants were noticed: what was mutated?", damaged)
	}
}
