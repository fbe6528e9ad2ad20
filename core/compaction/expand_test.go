package compaction_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// A directory that is not there, or is a file, is said to be so; it is not the
// same as one in which nothing matches.
func TestExpandWithoutDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"))
	for glob, want := range map[string]string{
		"nowhere/*.db":  "no such file or directory",
		"nowhere/*/*":   "no such file or directory",
		"nowhere/a.db":  "no such file or directory",
		"file/*.db":     "not a directory",
		"file/x/*/*.db": "not a directory",
	} {
		store := config.Store{Name: "s", Glob: filepath.Join(dir, glob)}
		_, err := compaction.Expand(store)
		if !errors.Is(err, sdk.ErrNotFound) || !strings.Contains(err.Error(), want) || !strings.Contains(sdk.HintOf(err), store.Glob) {
			t.Errorf("%s: %v, hint %q; want %s", glob, err, sdk.HintOf(err), want)
		}
	}
}

// A run says why nothing was found in a directory that may not be read, and
// counts it as a failure.
func TestRunWithoutDirectory(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		logs := newStore("logs", "")
		logs.Glob = filepath.Join(w.dir, "logs", "*.db")
		r := w.run(logs).Results[0]
		if r.Outcome != history.Failed || r.Code != history.CodeError || !strings.Contains(r.Reason, "no such file or directory") || r.Hint == "" {
			t.Errorf("got %+v", r)
		}
		if past := w.past("logs"); past.ConsecutiveFailures != 1 || !past.LastSuccessAt.IsZero() {
			t.Errorf("past is %+v", past)
		}
		if err := os.Mkdir(w.dir+"/logs", 0o700); err != nil {
			t.Fatal(err)
		}
		if r := w.run(logs).Results[0]; r.Code != history.CodeNoFiles {
			t.Errorf("got %+v", r)
		}
		if past := w.past("logs"); !past.LastSuccessAt.IsZero() || past.LastAttemptAt.IsZero() {
			t.Errorf("a pattern that matches nothing has the past %+v", past)
		}
	})
}

// Root may read everything, so a process without rights looks: this test again.
func TestExpandWithoutPermission(t *testing.T) {
	if dir := os.Getenv("WRING_TEST_CLOSED_DIR"); dir != "" {
		for _, glob := range []string{"/closed/*.db", "/*/closed/*.db"} {
			stores, err := compaction.Expand(config.Store{Name: "s", Glob: dir + glob})
			if glob == "/closed/*.db" && (!errors.Is(err, sdk.ErrPermission) || sdk.HintOf(err) == "") {
				t.Errorf("%s: %v and %v, want no permission", glob, stores, err)
			}
			if glob != "/closed/*.db" && (err != nil || len(stores) != 0) {
				t.Errorf("%s: %v (%v)", glob, stores, err)
			}
		}
		stores, err := compaction.Expand(config.Store{Name: "s", Glob: dir + "/listed/*.db"})
		if err != nil || len(stores) != 1 || stores[0].Name != "s/a.db" {
			t.Errorf("a file that cannot be looked at is left for its backend to report: %v (%v)", stores, err)
		}
		return
	}
	dir, err := os.MkdirTemp("", "wring-expand-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write(t, dir+"/closed/a.db")
	write(t, dir+"/listed/a.db")
	for path, mode := range map[string]os.FileMode{dir: 0o755, dir + "/closed": 0o300, dir + "/listed": 0o704} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	// A copy, since the directory of the original may be closed to others.
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "test")
	if err := os.WriteFile(self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	again := exec.Command(self, "-test.run=^TestExpandWithoutPermission$", "-test.v")
	again.Dir = dir
	again.Env = append(os.Environ(), "WRING_TEST_CLOSED_DIR="+dir)
	if os.Geteuid() == 0 {
		again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else if err := os.Chmod(dir+"/listed", 0o400); err != nil {
		t.Fatal(err)
	}
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestExpandWithoutPermission") {
		t.Errorf("%v\n%s", err, out)
	}
}

// One database that is several stores is compacted once at a time.
func TestOneDatabaseOfSeveralStores(t *testing.T) {
	inBubble(t, compaction.Config{MaxParallel: 8}, func(t *testing.T, w *world) {
		write(t, w.dir+"/logs/a.db")
		if err := os.Symlink("logs", w.dir+"/link"); err != nil {
			t.Fatal(err)
		}
		b := &backend{}
		w.clients.other = sdk.Guard(b)
		all, some, linked, missing, gone := newStore("all", ""), newStore("some", ""), newStore("linked", w.dir+"/link/a.db"), newStore("missing", "/m"), newStore("gone", "/m")
		all.Glob, some.Glob = w.dir+"/logs/*.db", w.dir+"/*/a.*"
		owners := []config.Store{newStore("queue", ""), newStore("stack", "")}
		for i := range owners {
			owners[i].Plugin, owners[i].Owner = "", "/run/app.sock"
		}
		run := w.run(append(owners, all, some, linked, missing, gone)...)
		var got []string
		for _, r := range run.Results {
			got = append(got, r.Store+" "+r.Code)
		}
		if want := []string{
			"queue worthwhile", "stack worthwhile", "all/a.db worthwhile", "some/link/a.db already_running",
			"some/logs/a.db already_running", "linked already_running", "missing worthwhile", "gone already_running",
		}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if want := "already running: store all/a.db is the same database, and it is in run " + run.ID; run.Results[5].Reason != want {
			t.Errorf("got %s, want %s", run.Results[5].Reason, want)
		}
		if n := b.count("compact"); n != 4 {
			t.Errorf("%d compactions, want one for each database", n)
		}
	})
}
