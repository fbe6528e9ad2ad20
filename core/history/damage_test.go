package history

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/wringdb/wring/sdk"
)

func TestDamagedFileIsSetAside(t *testing.T) {
	valid := func(t *testing.T, path string) []byte {
		t.Helper()
		db, _ := openAt(t, path, 20)
		for n := range 30 {
			check(t, db.AddRun(runOf(n, "a", "b", "c", "d", "e", "f", "g", "h")))
		}
		check(t, db.Close())
		return must(os.ReadFile(path))(t)
	}
	for name, spoil := range map[string]func(t *testing.T, path string, content []byte) []byte{
		"text":           func(*testing.T, string, []byte) []byte { return []byte("hello") },
		"zeros":          func(*testing.T, string, []byte) []byte { return make([]byte, 100_000) },
		"one page":       func(_ *testing.T, _ string, b []byte) []byte { return b[:os.Getpagesize()] },
		"three pages":    func(_ *testing.T, _ string, b []byte) []byte { return b[:3*os.Getpagesize()] },
		"half":           func(_ *testing.T, _ string, b []byte) []byte { return b[:len(b)/2] },
		"odd length":     func(*testing.T, string, []byte) []byte { return make([]byte, 81) },
		"both metas":     func(_ *testing.T, _ string, b []byte) []byte { b[70]++; b[os.Getpagesize()+70]++; return b },
		"pages of zeros": func(_ *testing.T, _ string, b []byte) []byte { clear(b[2*os.Getpagesize():]); return b },
		"pages of 0xff": func(_ *testing.T, _ string, b []byte) []byte {
			for i := range b[2*os.Getpagesize():] {
				b[2*os.Getpagesize()+i] = 0xff
			}
			return b
		},
		"records of garbage": func(_ *testing.T, _ string, b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), `"store":"`, `"store":,`))
		},
		"another version": func(t *testing.T, path string, _ []byte) []byte {
			t.Helper()
			db := must(bolt.Open(path, 0o600, nil))(t)
			check(t, db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte("0")) }))
			check(t, db.Close())
			return must(os.ReadFile(path))(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			spoilt := spoil(t, path, valid(t, path))
			check(t, os.WriteFile(path, spoilt, 0o600))

			if _, err := OpenReadOnly(path); !errors.Is(err, sdk.ErrCorrupt) || sdk.HintOf(err) == "" {
				t.Errorf("read only: %v, want a hint and ErrCorrupt", err)
			}
			if got := must(os.ReadFile(path))(t); string(got) != string(spoilt) {
				t.Error("read only: changed the file")
			}
			db, l := openAt(t, path, 20)
			if l.warnings() != 1 || !strings.Contains(l.String(), "set aside") {
				t.Errorf("want one warning:\n%s", l)
			}
			check(t, db.AddRun(runOf(1, "a")))
			if got := must(db.Runs(0))(t); len(got) != 1 {
				t.Errorf("the new history has %d runs, want 1", len(got))
			}
			aside := must(filepath.Glob(path + ".damaged-*"))(t)
			if len(aside) != 1 || filepath.Base(aside[0]) != "history.db.damaged-20260301T120000Z" {
				t.Fatalf("set aside as %v", aside)
			}
			if got := must(os.ReadFile(aside[0]))(t); string(got) != string(spoilt) {
				t.Error("what was set aside is not what was found")
			}

			// A second one in the same second does not replace the first.
			check(t, db.Close())
			check(t, os.WriteFile(path, []byte("again"), 0o600))
			openAt(t, path, 20)
			if aside := must(filepath.Glob(path + ".damaged-*"))(t); len(aside) != 2 {
				t.Errorf("set aside as %v, want two files", aside)
			}
		})
	}
}

// A database of somebody else's at the place is neither moved nor changed.
func TestDatabaseOfOthersIsRefused(t *testing.T) {
	for name, fill := range map[string]func(tx *bolt.Tx) error{
		"other buckets": func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err },
		"a bucket of the same name": func(tx *bolt.Tx) error { // as etcd has
			b, err := tx.CreateBucket(bucketMeta)
			if err != nil {
				return err
			}
			return b.Put([]byte("consistent_index"), []byte("7"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			theirs := must(bolt.Open(path, 0o640, nil))(t)
			check(t, theirs.Update(fill))
			check(t, theirs.Close())
			check(t, os.Chmod(path, 0o640))
			before := must(os.ReadFile(path))(t)

			_, opened := Open(path, 20, nil)
			_, read := OpenReadOnly(path)
			for what, err := range map[string]error{"open": opened, "read only": read} {
				if !errors.Is(err, sdk.ErrCorrupt) || !strings.Contains(err.Error(), "somebody else's history.db") || sdk.HintOf(err) == "" {
					t.Errorf("%s: %v, hint %q", what, err, sdk.HintOf(err))
				}
			}
			if got := must(os.ReadFile(path))(t); string(got) != string(before) {
				t.Error("the file was changed")
			}
			if mode := must(os.Stat(path))(t).Mode(); mode != 0o640 {
				t.Errorf("its mode became %v", mode)
			}
			if all := must(filepath.Glob(path + "*"))(t); len(all) != 1 {
				t.Errorf("there are %v", all)
			}
			// Its owner can open it: no lock is left behind.
			again := must(bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second}))(t)
			check(t, again.Close())
		})
	}
}

// One broken meta page is what a power failure leaves, and no damage.
func TestOneBrokenMetaIsFine(t *testing.T) {
	for page := range 2 {
		path := filepath.Join(t.TempDir(), FileName)
		db, _ := openAt(t, path, 5)
		for n := range 4 {
			check(t, db.AddRun(runOf(n, "a")))
		}
		check(t, db.Close())
		content := must(os.ReadFile(path))(t)
		content[page*os.Getpagesize()+70]++
		check(t, os.WriteFile(path, content, 0o600))
		db, l := openAt(t, path, 5)
		if l.warnings() != 0 || len(must(db.Runs(0))(t)) < 3 {
			t.Errorf("meta page %d broken: %d runs\n%s", page, len(must(db.Runs(0))(t)), l)
		}
	}
}

// A file that becomes shorter under a running host gives errors, where touching
// its pages would end the process.
func TestTruncatedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := openAt(t, path, 20)
	for n := range 20 {
		check(t, db.AddRun(runOf(n, "a", "b", "c")))
	}
	check(t, os.Truncate(path, 0))
	if _, err := db.Runs(0); !errors.Is(err, errDamaged) {
		t.Errorf("reading: %v", err)
	}
	if err := db.AddRun(runOf(21, "a")); !errors.Is(err, errDamaged) {
		t.Errorf("writing: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if db, l := openAt(t, path, 20); db.Path() == "" {
		t.Errorf("the lock was not given up:\n%s", l)
	}
}

func TestNotAFile(t *testing.T) {
	if _, err := Open(t.TempDir(), 1, nil); err == nil {
		t.Error("opened a directory")
	}
	if _, err := OpenReadOnly(filepath.Join(t.TempDir(), FileName)); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("read only, no file: %v", err)
	}
	empty := filepath.Join(t.TempDir(), FileName)
	check(t, os.WriteFile(empty, nil, 0o600))
	if got := must(must(OpenReadOnly(empty))(t).Runs(0))(t); len(got) != 0 {
		t.Errorf("read only, empty file: %v", got)
	}
}

// Whoever waited for a file that was set aside meanwhile must not take the old
// one for the history.
func TestLockOfAFileThatWasReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	check(t, os.WriteFile(path, []byte("old"), 0o600))
	old := must(os.OpenFile(path, os.O_RDWR, 0))(t)
	defer old.Close()
	check(t, os.Rename(path, path+".damaged"))
	if err := lockAt(old, path, syscall.LOCK_EX); !errors.Is(err, errLocked) {
		t.Errorf("path is gone: %v", err)
	}
	check(t, os.WriteFile(path, []byte("new"), 0o600))
	if err := lockAt(old, path, syscall.LOCK_EX); !errors.Is(err, errLocked) {
		t.Errorf("path is another file: %v", err)
	}
}

// The newest meta page decides how long the file must be, whichever of the two
// it is; the other may be content with less.
func TestIntactGoesByTheNewestMeta(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	page := int64(os.Getpagesize())
	seen := [2]bool{}
	for n := 0; n < 200 && seen != [2]bool{true, true}; n++ {
		db, _ := openAt(t, path, 1000)
		for i := range n%3 + 1 { // so that either page may be the newest
			check(t, db.AddRun(runOf(3*n+i, "a", "b", "c", "d", "e", "f")))
		}
		check(t, db.Close())
		cut := path + ".cut"
		check(t, os.WriteFile(cut, must(os.ReadFile(path))(t), 0o600))
		f := must(os.OpenFile(cut, os.O_RDWR, 0))(t)
		metas := [2]meta{must(readMeta(f, 0))(t), must(readMeta(f, page))(t)}
		newest := 0
		if metas[1].txid > metas[0].txid {
			newest = 1
		}
		if metas[newest].highWater > metas[1-newest].highWater {
			seen[newest] = true
			check(t, f.Truncate(int64(metas[1-newest].highWater)*page))
			if err := checkIntact(f); !errors.Is(err, errDamaged) {
				t.Errorf("newest meta is number %d, and the file is as long as the other wants it: %v", newest, err)
			}
		}
		check(t, f.Close())
	}
	if seen != [2]bool{true, true} {
		t.Fatalf("no file was found in which the metas differ both ways: %v", seen)
	}
}
