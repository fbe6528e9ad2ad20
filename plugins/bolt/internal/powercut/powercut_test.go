package powercut_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	randv2 "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/bolt/internal/powercut"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

const (
	old   = "old old old"
	fresh = "new"
)

// record makes a replacement of old by new, and returns its journal.
func record(t *testing.T, exchange func(a, b string) error) *powercut.Journal {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, []byte(old), 0o640); err != nil {
		t.Fatal(err)
	}
	journal, err := powercut.New(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	temp, err := replace.NewTemp(path, f, 7, rand.Reader, journal.Record)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	if _, err := temp.WriteAt([]byte(fresh), 0); err != nil {
		t.Fatal(err)
	}
	r := replace.Replacement{
		Path: path, Old: f, Temp: temp, Hook: journal.Record, Exchange: exchange,
		Verify:  func(context.Context) error { return nil },
		Poison:  []replace.Span{{Offset: 0, Length: 3}, {Offset: 4, Length: 3}},
		Release: func() error { return nil },
	}
	if replaced, err := r.Run(context.Background()); !replaced || err != nil {
		t.Fatalf("replaced: %v, error %v", replaced, err)
	}
	return journal
}

// states are those that many cuts leave, each as the names and contents of the
// files with their modes.
func states(t *testing.T, journal *powercut.Journal, n int, names powercut.Names) []string {
	t.Helper()
	found := map[string]bool{}
	random := randv2.New(randv2.NewPCG(1, uint64(n)))
	for range 150 {
		image, err := journal.Cut(n, names, random)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if _, err := image.Write(dir); err != nil {
			t.Fatal(err)
		}
		found[describe(t, dir)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func describe(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, entry := range list {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		name := "a.db"
		switch strings.Count(entry.Name(), "-") {
		case 3:
			name = "unsigned"
		case 4:
			name = "temp"
		}
		text := strings.NewReplacer("\xff", "~", "\x00", "0").Replace(string(b))
		lines = append(lines, fmt.Sprintf("%s %o %q", name, info.Mode().Perm(), text))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// before returns how many operations precede the nth of a kind.
func before(t *testing.T, journal *powercut.Journal, kind replace.OpKind, n int) int {
	t.Helper()
	for i, op := range journal.Ops() {
		if op.Kind == kind {
			if n--; n == 0 {
				return i
			}
		}
	}
	t.Fatalf("no operation %s", kind)
	return 0
}

func canExchange(t *testing.T) {
	t.Helper()
	for _, op := range record(t, nil).Ops() {
		if op.Kind == replace.OpUnlink {
			return
		}
	}
	bolttest.Skip(t, "files cannot be exchanged here")
}

func TestCut(t *testing.T) {
	canExchange(t)
	journal := record(t, nil)
	const a, b = `a.db 640 "old old old"`, `a.db 640 "new"`
	for _, test := range []struct {
		kind replace.OpKind
		n    int
		want []string
	}{
		{replace.OpCreate, 1, []string{a}},
		{replace.OpRename, 1, []string{a, a + `, unsigned 600 ""`}},
		{replace.OpAttributes, 1, []string{a, a + `, temp 600 ""`, a + `, unsigned 600 ""`}},
		{replace.OpSyncDir, 1, []string{a, a + `, temp 640 "new"`, a + `, unsigned 640 "new"`}},
		{replace.OpExchange, 1, []string{a + `, temp 640 "new"`}},
		{replace.OpSyncDir, 2, []string{b + `, temp 640 "old old old"`, a + `, temp 640 "new"`}},
		{replace.OpPoison, 1, []string{b + `, temp 640 "old old old"`}},
		{replace.OpUnlink, 1, []string{
			b + `, temp 640 "old old old"`, b + `, temp 640 "old ~~~ old"`,
			b + `, temp 640 "~~~ old old"`, b + `, temp 640 "~~~ ~~~ old"`,
		}},
	} {
		got := states(t, journal, before(t, journal, test.kind, test.n), powercut.Journalled)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("before %s %d:\n%s\nwant:\n%s", test.kind, test.n, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
	// The content of a temp that is not synced may be there with or without
	// its attributes and its size.
	got := states(t, journal, before(t, journal, replace.OpSync, 1), powercut.Journalled)
	for _, want := range []string{a + `, temp 600 "000"`, a + `, temp 600 "new"`, a + `, temp 640 ""`, a + `, temp 640 "new"`} {
		if !slices.Contains(got, want) {
			t.Errorf("before the sync:\n%s\nhave not %s", strings.Join(got, "\n"), want)
		}
	}
}

// Without order a later name may be on the disk before an earlier one.
func TestCutWithoutOrder(t *testing.T) {
	canExchange(t)
	journal := record(t, nil)
	all := len(journal.Ops())
	// With the second sync of the directory the exchange is there; without it
	// the unlink may be there alone.
	const want = `a.db 640 "old old old"`
	for _, names := range []powercut.Names{powercut.Journalled, powercut.Unordered} {
		if got := states(t, journal, all, names); slices.Contains(got, want) {
			t.Errorf("%s: %q", names, got)
		}
		unsynced := journal.Without(func(i int, op replace.Op) bool {
			return op.Kind == replace.OpSyncDir && i > before(t, journal, replace.OpExchange, 1) || op.Kind == replace.OpPoison
		})
		got := states(t, unsynced, len(unsynced.Ops()), names)
		if found := slices.Contains(got, want); found != (names == powercut.Unordered) {
			t.Errorf("%s: %q", names, got)
		}
	}
}

// A file that was renamed over has no name any more.
func TestCutOfARename(t *testing.T) {
	journal := record(t, func(string, string) error { return errors.ErrUnsupported })
	// What is noted of the exchange that was refused was not done.
	journal = journal.Without(func(_ int, op replace.Op) bool { return op.Kind == replace.OpExchange })
	got := states(t, journal, before(t, journal, replace.OpSyncDir, 2), powercut.Journalled)
	want := []string{`a.db 640 "new"`, `a.db 640 "old old old", temp 640 "new"`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A process that resumes finds everything; what was not synced may be lost
// still.
func TestResume(t *testing.T) {
	canExchange(t)
	journal := record(t, nil)
	dir := t.TempDir()
	next, path, err := journal.Resume(before(t, journal, replace.OpSyncDir, 2), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, dir), `a.db 640 "new", temp 640 "old old old"`; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	removed, err := replace.Sweep(path, func(f *os.File) (replace.State, error) {
		return replace.State{Version: 7, Poison: []replace.Span{{Length: 3}}}, nil
	}, next.Record)
	if err != nil || len(removed) != 1 {
		t.Fatalf("removed %q, error %v", removed, err)
	}
	var kinds []string
	for _, op := range next.Ops() {
		kinds = append(kinds, string(op.Kind))
	}
	if want := []string{"syncdir", "poison", "unlink"}; !slices.Equal(kinds, want) {
		t.Errorf("swept by %q, want %q", kinds, want)
	}
	got := states(t, next, 0, powercut.Journalled)
	if want := []string{`a.db 640 "new", temp 640 "old old old"`, `a.db 640 "old old old", temp 640 "new"`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := states(t, next, 3, powercut.Journalled), `a.db 640 "new"`; !slices.Contains(got, want) {
		t.Errorf("%q have not %q", got, want)
	}
}

// Writes before the journal that were not synced may be lost, block by block.
func TestUnsynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	was, is := strings.Repeat("a", 8192), strings.Repeat("b", 8192)
	if err := os.WriteFile(path, []byte(is), 0o600); err != nil {
		t.Fatal(err)
	}
	journal, err := powercut.New(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Unsynced([]byte(was)); err != nil {
		t.Fatal(err)
	}
	if err := journal.Unsynced([]byte("short")); err == nil {
		t.Error("another length: no error")
	}
	found := states(t, journal, 0, powercut.Journalled)
	for _, want := range []string{was, is, was[:4096] + is[:4096], is[:4096] + was[:4096]} {
		if !slices.Contains(found, fmt.Sprintf("a.db 600 %q", want)) {
			t.Errorf("no state has %s… and %s…", want[:1], want[4096:4097])
		}
	}
	if err := journal.Record(replace.Op{Kind: replace.OpSync, Path: path}); err != nil {
		t.Fatal(err)
	}
	if got := states(t, journal, 1, powercut.Journalled); len(got) != 1 || got[0] != fmt.Sprintf("a.db 600 %q", is) {
		t.Errorf("after a sync there are %d states", len(got))
	}
}
