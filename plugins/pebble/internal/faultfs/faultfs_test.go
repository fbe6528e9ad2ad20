package faultfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
)

// must is for what only another test looks at.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestOperations does everything that Pebble does, and sees it.
func TestOperations(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	var seen []string
	var opened []int64
	fs := faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if op.Changes() && op.Reads() {
			t.Errorf("%s both changes and reads", op)
		}
		text := strings.ReplaceAll(op.String(), filepath.Base(dir), "DIR")
		if op.Kind == faultfs.Write {
			text += fmt.Sprintf(" %q at %d", op.Data, op.Offset)
		}
		if op.Changes() {
			text += " !"
		}
		seen = append(seen, text)
		opened = append(opened, op.File)
		return do()
	})
	f, err := fs.Create(path("a"), "")
	must(t, err)
	for _, word := range []string{"one", "two"} {
		_, err = f.Write([]byte(word))
		must(t, err)
	}
	must(t, f.Preallocate(0, 10), f.SyncData(), f.Close())
	must(t, fs.Rename(path("a"), path("b")), fs.Link(path("b"), path("c")))
	f, err = fs.ReuseForWrite(path("b"), path("d"), "")
	must(t, err)
	_, err = f.Write([]byte("T"))
	must(t, err, f.Sync(), f.Close())
	d, err := fs.OpenDir(dir)
	must(t, err, d.Sync(), d.Close())
	f, err = fs.Open(path("d"))
	must(t, err)
	content := make([]byte, 6)
	_, err = f.ReadAt(content, 0)
	must(t, err)
	_, err = f.Stat()
	must(t, err, f.Close(), fs.Remove(path("c")), fs.MkdirAll(dir, 0o700))
	names, err := fs.List(dir)
	must(t, err)
	_, err = fs.Stat(path("d"))
	must(t, err)
	_, err = fs.GetDiskUsage(dir)
	must(t, err)

	if string(content) != "Tnetwo" || !slices.Equal(names, []string{"d"}) {
		t.Errorf("files %q, content %q", names, content)
	}
	want := []string{
		"create a !", `write a "one" at 0 !`, `write a "two" at 3 !`, "allocate a", "sync a !", "close a",
		"rename a to b !", "link b to c !", "reuse b to d !", `write d "T" at 0 !`, "sync d !", "close d",
		"open DIR", "sync of directory DIR !", "open d", "read d", "stat d",
		"remove c !", "mkdir DIR", "list DIR", "stat d", "disk usage DIR",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("seen\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	// The numbers of files are those of their openings.
	if first, second := opened[0], opened[8]; first == second || opened[1] != first || opened[5] != first || opened[9] != second {
		t.Errorf("numbers of files: %d", opened)
	}
}

// TestFaults lets operations fail, or do a part of what they should.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	fault := errors.New("fault")
	var failing faultfs.Kind
	fs := faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if op.Kind != failing {
			return do()
		}
		if op.Kind == faultfs.Write {
			return errors.Join(op.WritePart(2), fault)
		}
		return fault
	})
	f, err := fs.Create(filepath.Join(dir, "a"), "")
	must(t, err)
	failing = faultfs.Write
	if n, err := f.Write([]byte("12345")); n != 2 || !errors.Is(err, fault) {
		t.Errorf("a write that fails: %d bytes, error %v", n, err)
	}
	failing = ""
	if n, err := f.Write([]byte("345")); n != 3 || err != nil {
		t.Errorf("the next: %d bytes, error %v", n, err)
	}
	failing = faultfs.Close
	if err := f.Close(); !errors.Is(err, fault) {
		t.Errorf("closed with %v", err)
	}
	if err := f.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("synced with %v, so that it is open still", err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(content) != "12345" {
		t.Errorf("content %q, error %v", content, err)
	}
	failing = faultfs.Create
	if f, err := fs.Create(filepath.Join(dir, "b"), ""); f != nil || !errors.Is(err, fault) {
		t.Errorf("created %v with %v", f, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there all the same: %v", err)
	}
}

// TestFaultAfter fails what was done: nobody else could close the file.
func TestFaultAfter(t *testing.T) {
	fault := errors.New("fault")
	kept := &keeping{FS: vfs.Default}
	fs := faultfs.New(kept, func(_ faultfs.Op, do func() error) error { return errors.Join(do(), fault) })
	if f, err := fs.Create(filepath.Join(t.TempDir(), "a"), ""); f != nil || !errors.Is(err, fault) {
		t.Errorf("created %v with %v", f, err)
	}
	if err := kept.last.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file was not closed: %v", err)
	}
}

// keeping keeps the file that was created last.
type keeping struct {
	vfs.FS
	last vfs.File
}

func (k *keeping) Create(name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	k.last, err = k.FS.Create(name, category)
	return k.last, err
}
