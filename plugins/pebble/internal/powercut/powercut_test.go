package powercut_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/internal/powercut"
)

// record does something in a directory that has the file old.
func record(t *testing.T, do func(do *doer)) *powercut.Journal {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	journal, err := powercut.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	do(&doer{t: t, dir: dir, FS: faultfs.New(vfs.Default, journal.Around)})
	return journal
}

// doer does things that must succeed.
type doer struct {
	vfs.FS
	t   *testing.T
	dir string
}

func (d *doer) path(name string) string { return filepath.Join(d.dir, name) }

func (d *doer) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// write writes a file in pieces, and syncs it if it is told to.
func (d *doer) write(f vfs.File, err error, sync bool, pieces ...string) {
	d.t.Helper()
	d.must(err)
	for _, piece := range pieces {
		_, err := f.Write([]byte(piece))
		d.must(err)
	}
	if sync {
		d.must(f.Sync())
	}
	d.must(f.Close())
}

func (d *doer) create(name string, sync bool, pieces ...string) {
	d.t.Helper()
	f, err := d.Create(d.path(name), "")
	d.write(f, err, sync, pieces...)
}

func (d *doer) syncDir() {
	d.t.Helper()
	f, err := d.OpenDir(d.dir)
	d.must(err)
	d.must(f.Sync())
	d.must(f.Close())
}

// states are those that many cuts leave behind all operations, each as the names and
// contents of the files.
func states(t *testing.T, journal *powercut.Journal, names powercut.Names) []string {
	t.Helper()
	found := map[string]bool{}
	random := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		image, err := journal.Cut(len(journal.Ops()), names, random)
		if err != nil {
			t.Fatal(err)
		}
		found[describe(image)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func describe(image powercut.Image) string {
	var files []string
	for _, name := range slices.Sorted(maps.Keys(image.Files)) {
		files = append(files, fmt.Sprintf("%s=%s", name, strings.ReplaceAll(string(image.Files[name]), "\x00", "0")))
	}
	return strings.Join(files, " ")
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*doer)
		// journalled and unordered are all the states; the latter the same where nil.
		journalled, unordered []string
	}{
		{"all is synced", func(d *doer) { d.create("a", true, "one"); d.syncDir() }, []string{"a=one old=old"}, nil},
		{"a file is not synced", func(d *doer) { d.create("a", false, "one"); d.syncDir() },
			[]string{"a= old=old", "a=000 old=old", "a=o old=old", "a=o00 old=old", "a=on old=old", "a=on0 old=old", "a=one old=old"}, nil},
		{"the directory is not synced", func(d *doer) { d.create("a", true, "one") }, []string{"a=one old=old", "old=old"}, nil},
		{"what comes first", func(d *doer) {
			d.create("a", true, "1")
			d.must(d.Remove(d.path("old")))
		}, []string{"a=1", "a=1 old=old", "old=old"}, []string{"", "a=1", "a=1 old=old", "old=old"}},
		{"a rename", func(d *doer) { d.must(d.Rename(d.path("old"), d.path("new"))) }, []string{"new=old", "old=old"}, nil},
		{"a rename over another", func(d *doer) {
			d.create("new", true, "new")
			d.must(d.Rename(d.path("new"), d.path("old")))
		}, []string{"new=new old=old", "old=new", "old=old"}, nil},
		{"a link", func(d *doer) { d.must(d.Link(d.path("old"), d.path("new"))) }, []string{"new=old old=old", "old=old"}, nil},
		{"a file is written over", func(d *doer) {
			f, err := d.ReuseForWrite(d.path("old"), d.path("new"), "")
			d.write(f, err, false, "N")
			d.syncDir()
		}, []string{"new=Nld", "new=old"}, nil},
		{"one takes the place of another", func(d *doer) { d.create("old", true, "new") }, []string{"", "old=new", "old=old"}, []string{"", "old=new", "old=old"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			journal := record(t, c.do)
			if c.unordered == nil {
				c.unordered = c.journalled
			}
			for names, want := range map[powercut.Names][]string{powercut.Journalled: c.journalled, powercut.Unordered: c.unordered} {
				if got := states(t, journal, names); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", names, got, want)
				}
			}
		})
	}
}

// TestCutOfBlocks loses any of the blocks of what was written, however that was cut
// into writes.
func TestCutOfBlocks(t *testing.T) {
	const block = 4096
	piece := strings.Repeat("x", block/2)
	journal := record(t, func(d *doer) {
		d.create("a", false, piece, piece, piece, piece)
		d.syncDir()
	})
	lost := map[string]bool{}
	random := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		image, err := journal.Cut(len(journal.Ops()), powercut.Journalled, random)
		if err != nil {
			t.Fatal(err)
		}
		var shape string
		for at := 0; at+block <= len(image.Files["a"]); at += block {
			switch part := string(image.Files["a"][at : at+block]); part {
			case piece + piece:
				shape += "x"
			case strings.Repeat("\x00", block):
				shape += "0"
			default:
				shape += "?"
			}
		}
		lost[shape] = true
	}
	for _, want := range []string{"", "xx", "x0", "0x", "00", "?", "x?"} {
		if !lost[want] {
			t.Errorf("no state has the blocks %q; there are %q", want, slices.Sorted(maps.Keys(lost)))
		}
	}
}

// TestEachMoment cuts before each operation.
func TestEachMoment(t *testing.T) {
	journal := record(t, func(d *doer) {
		d.create("a", true, "one")
		d.syncDir()
		d.must(d.Remove(d.path("old")))
		d.syncDir()
	})
	var certain []string
	for n := range len(journal.Ops()) + 1 {
		found := map[string]bool{}
		random := rand.New(rand.NewPCG(1, 1))
		for range 100 {
			image, err := journal.Cut(n, powercut.Journalled, random)
			if err != nil {
				t.Fatal(err)
			}
			found[describe(image)] = true
		}
		if len(found) == 1 {
			certain = append(certain, fmt.Sprint(n, " ", slices.Collect(maps.Keys(found))[0]))
		}
	}
	if want := []string{"0 old=old", "4 a=one old=old", "6 a=one"}; !slices.Equal(certain, want) {
		t.Errorf("one state alone is possible at %q, want %q", certain, want)
	}
}

// TestResume has a process that is killed, and another that finds everything; what
// was not synced may be lost still.
func TestResume(t *testing.T) {
	journal := record(t, func(d *doer) { d.create("a", false, "one"); d.create("b", true, "two") })
	dir := filepath.Join(t.TempDir(), "next")
	next, err := journal.Resume(2, powercut.Journalled, dir) // a is created and written to
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(content) != "one" {
		t.Fatalf("content %q, error %v", content, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); err == nil {
		t.Error("b is there before it was created")
	}
	d := &doer{t: t, dir: dir, FS: faultfs.New(vfs.Default, next.Around)}
	d.must(d.Remove(d.path("old")))
	d.syncDir()
	want := []string{"a=", "a=000", "a=o", "a=o00", "a=on", "a=on0", "a=one"}
	if got := states(t, next, powercut.Journalled); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestWithout leaves the syncs out.
func TestWithout(t *testing.T) {
	journal := record(t, func(d *doer) { d.create("a", true, "1"); d.syncDir() })
	without := journal.Without(func(_ int, op faultfs.Op) bool { return op.Kind == faultfs.Sync || op.Kind == faultfs.SyncDir })
	if got, want := states(t, journal, powercut.Journalled), []string{"a=1 old=old"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := states(t, without, powercut.Journalled), []string{"a= old=old", "a=0 old=old", "a=1 old=old", "old=old"}; !slices.Equal(got, want) {
		t.Errorf("without syncs: %q, want %q", got, want)
	}
}

// TestExchange has a directory take the place of another, as a rewrite does, with all
// that makes it last but one thing.
func TestExchange(t *testing.T) {
	const temp = ".store.wring-0.tmp"
	replace := func(t *testing.T, without string) *powercut.Journal {
		root := t.TempDir()
		d := &doer{t: t, dir: root}
		d.must(os.Mkdir(d.path("store"), 0o700))
		for _, name := range []string{"LOCK", "old"} {
			d.must(os.WriteFile(d.path(filepath.Join("store", name)), []byte(name), 0o600))
		}
		journal, err := powercut.New(root)
		d.must(err)
		d.FS = faultfs.New(vfs.Default, journal.Around)
		other := func(what, name string, do func() error) {
			op := faultfs.Op{Kind: faultfs.Other, Name: filepath.Join(filepath.Dir(d.path(name)), what+" "+filepath.Base(d.path(name)))}
			d.must(journal.Around(op, func() error { return nil }))
			d.must(do())
		}
		nothing := func() error { return nil }
		in := func(name string) string { return filepath.Join(temp, name) }
		other("mkdir", temp, func() error { return os.Mkdir(d.path(temp), 0o700) })
		other("link", in("LOCK"), func() error { return os.Link(d.path("store/LOCK"), d.path(in("LOCK"))) })
		other("create", in("marker"), func() error { return os.WriteFile(d.path(in("marker")), []byte("marked"), 0o600) })
		d.create(in("new"), false, "new")
		for _, name := range []string{"marker", "new", ""} {
			if name != without {
				other("sync", in(name), nothing)
			}
		}
		other("exchange", temp, func() error {
			return errors.Join(os.Rename(d.path("store"), d.path("aside")), os.Rename(d.path(temp), d.path("store")), os.Rename(d.path("aside"), d.path(temp)))
		})
		if without != "above" {
			other("sync", ".", nothing)
		}
		other("remove", in("old"), func() error { return os.Remove(d.path(in("old"))) })
		other("remove", in("LOCK"), func() error { return os.Remove(d.path(in("LOCK"))) })
		other("rmdir", temp, func() error { return os.Remove(d.path(temp)) })
		return journal
	}
	for _, c := range []struct {
		without string
		// lost are stores without the old file and without the new one.
		journalled, unordered bool
	}{{"nothing", false, false}, {"new", true, true}, {"", false, true}, {"above", false, true}} {
		t.Run("without "+c.without, func(t *testing.T) {
			journal := replace(t, c.without)
			for names, want := range map[powercut.Names]bool{powercut.Journalled: c.journalled, powercut.Unordered: c.unordered} {
				lost, linked := false, false
				random := rand.New(rand.NewPCG(1, 1))
				for n := range len(journal.Ops()) + 1 {
					for range 100 {
						image, err := journal.Cut(n, names, random)
						if err != nil {
							t.Fatal(err)
						}
						is := func(name string) bool { return string(image.Files[filepath.Join("store", name)]) == name }
						lost = lost || !is("LOCK") || !is("old") && (!is("new") || string(image.Files["store/marker"]) != "marked")
						if _, ok := image.Files[filepath.Join(temp, "LOCK")]; ok && !linked {
							linked = true
							dir := filepath.Join(t.TempDir(), "image")
							if err := image.Write(dir); err != nil {
								t.Fatal(err)
							}
							one, err := os.Stat(filepath.Join(dir, "store", "LOCK"))
							other, oerr := os.Stat(filepath.Join(dir, temp, "LOCK"))
							if err != nil || oerr != nil || !os.SameFile(one, other) {
								t.Error("the two directories have not the same LOCK")
							}
						}
					}
				}
				if lost != want || !linked {
					t.Errorf("%s: the store can be lost: %v, want %v", names, lost, want)
				}
			}
		})
	}
}
