package history

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wringdb/wring/sdk"
)

// writerPath names the variable that makes the test binary a writer.
const writerPath = "WRING_HISTORY_TEST_WRITER"

// writeForEver records runs and says on stdout what is certainly in the file,
// until somebody kills it.
func writeForEver(path string) {
	orExit := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	db, err := Open(path, 1000, nil)
	orExit(err)
	for n := 1; ; n++ {
		run := runOf(n, "a", "b")
		orExit(db.BeginRun(begun(run)))
		for _, r := range run.Results {
			orExit(db.BeginCompaction(r))
			fmt.Println("compacting", n, r.Store)
			orExit(db.AddResult(r))
			fmt.Println("compacted", n, r.Store)
		}
		orExit(db.AddRun(run))
		fmt.Println("run", n, "-")
	}
}

// startWriter returns the writer and its acknowledgements, read up to the first
// n.
func startWriter(t *testing.T, path string, n int) (*exec.Cmd, *bufio.Scanner, []string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), writerPath+"="+path)
	c.Stderr = os.Stderr
	out := must(c.StdoutPipe())(t)
	check(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	lines := bufio.NewScanner(out)
	var acknowledged []string
	for len(acknowledged) < n && lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
	}
	if len(acknowledged) < n {
		t.Fatalf("the writer ended by itself after %v", acknowledged)
	}
	return c, lines, acknowledged
}

func TestSurvivesKill(t *testing.T) {
	for i := range 12 {
		path := filepath.Join(t.TempDir(), FileName)
		c, lines, acknowledged := startWriter(t, path, 1+7*i)
		check(t, c.Process.Kill())
		for lines.Scan() {
			acknowledged = append(acknowledged, lines.Text())
		}

		db, l := openAt(t, path, 1000)
		if matches := must(filepath.Glob(path + ".damaged-*"))(t); len(matches) != 0 {
			t.Fatalf("killed after %d steps, the history was found damaged:\n%s", len(acknowledged), l)
		}
		runs := map[string]Run{}
		for _, run := range must(db.Runs(0))(t) {
			runs[run.ID] = run
		}
		for _, line := range acknowledged {
			var what, store string
			var n int
			if _, err := fmt.Sscan(line, &what, &n, &store); err != nil {
				t.Fatalf("acknowledgement %q: %v", line, err)
			}
			run, ok := runs[runOf(n).ID]
			if !ok {
				t.Fatalf("%q was acknowledged and the run is not there", line)
			}
			of := func(r Result) bool { return r.Store == store }
			switch what {
			case "run":
				if len(run.Results) != 2 || run.Results[0].Outcome != Compacted || run.Results[1].Outcome != Compacted {
					t.Errorf("%q was acknowledged: %+v", line, run)
				}
			case "compacted":
				if j := slices.IndexFunc(run.Results, of); run.Results[j].Outcome != Compacted {
					t.Errorf("%q was acknowledged: %+v", line, run)
				}
			case "compacting":
				if j := slices.IndexFunc(run.Results, of); run.Results[j].Outcome != Compacted && run.Results[j].Outcome != Unknown {
					t.Errorf("%q was acknowledged: %+v", line, run)
				}
			}
		}
		// The newest result of each store decides whether it is unresolved.
		for store, past := range must(db.Pasts())(t) {
			unknown := false
			for _, r := range slices.Backward(must(db.Results(store, 0))(t)) {
				unknown = r.Outcome == Unknown || unknown && r.Code == CodeNotReached
			}
			if past.Unresolved != unknown {
				t.Errorf("%s: unresolved is %t, and its results say %t", store, past.Unresolved, unknown)
			}
		}
		check(t, db.AddRun(runOf(100_000, "a")))
		check(t, db.Close())
	}
}

func TestHeldByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	c, _, _ := startWriter(t, path, 3)

	if _, err := OpenReadOnly(path); !errors.Is(err, sdk.ErrBusy) || sdk.HintOf(err) == "" {
		t.Errorf("read only: %v, want a hint and ErrBusy", err)
	}
	db, l := openAt(t, path, 5)
	if db.Path() != "" || l.warnings() != 1 || !strings.Contains(l.String(), "memory") {
		t.Errorf("want a history in memory and one warning:\n%s", l)
	}
	check(t, db.AddRun(runOf(1, "mine")))
	if got := must(db.Runs(0))(t); len(got) != 1 {
		t.Errorf("runs in memory: %v", got)
	}
	if matches := must(filepath.Glob(path + "*"))(t); len(matches) != 1 {
		t.Errorf("there are files beside the one that is held: %v", matches)
	}

	check(t, c.Process.Kill())
	_ = c.Wait()
	if got := must(must(OpenReadOnly(path))(t).Results("mine", 0))(t); len(got) != 0 {
		t.Errorf("the file of the other process has %v", got)
	}
}
