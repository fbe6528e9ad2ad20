package notify

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
)

// The variables that make the test binary one that accepts notices: the history,
// where they are to be delivered, and the number of the store to begin with.
const (
	accepterPath    = "WRING_NOTIFY_TEST_ACCEPTER"
	accepterAddress = "WRING_NOTIFY_TEST_ADDRESS"
	accepterFirst   = "WRING_NOTIFY_TEST_FIRST"
)

// acceptForEver observes stores that fail more and more, and says on stdout what
// was certainly accepted, until somebody kills it. Its first store may be one
// that an earlier process was killed over.
func acceptForEver(path string) {
	orExit := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	db, err := history.Open(path, 0, nil)
	orExit(err)
	first, err := strconv.Atoi(os.Getenv(accepterFirst))
	orExit(err)
	n := New(Config{Records: db, FirstDelay: time.Millisecond, LastDelay: time.Millisecond}, []config.Notify{webhook("ops", os.Getenv(accepterAddress))})
	for i := first; ; i++ {
		for _, failures := range []int{1, 3} {
			n.Observe(failing(fmt.Sprint(i), failures))
			fmt.Println(i, failures)
		}
	}
}

func TestWhatWasAcceptedSurvivesKill(t *testing.T) {
	const kills = 10
	var down atomic.Bool
	var taken sync.Map // IDs
	var again atomic.Int64
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		} else if _, twice := taken.LoadOrStore(r.Header.Get(HeaderID), true); twice {
			again.Add(1)
		}
	})
	path := filepath.Join(t.TempDir(), history.FileName)
	accepted, next := map[string]bool{}, 0
	for i := range kills {
		down.Store(i%3 == 1)
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), accepterPath+"="+path, accepterAddress+"="+r.address(), fmt.Sprintf("%s=%d", accepterFirst, next))
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := 1 + 5*i; lines.Scan(); left-- {
			var store, failures int
			if _, err := fmt.Sscan(lines.Text(), &store, &failures); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			accepted[fmt.Sprintf("%d %s", store, map[int]Event{1: Failed, 3: Degraded}[failures])] = true
			next = store // perhaps not whole
			if left == 0 {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the process ended with %v", err)
		}
	}
	down.Store(false)

	p := &place{t: t, path: path}
	p.reopen()
	defer func() { _ = p.db.Close() }()
	n := p.start(webhook("ops", r.address()))
	wait(t, "the queue is empty", func() bool { return n.Status()[0].Queued == 0 })
	n.Stop()

	ids := map[string]map[string]bool{} // by what was told
	last := map[string]Event{}
	for _, got := range r.requests() {
		story := got.notice.Store + " " + string(got.notice.Event)
		if ids[story] == nil {
			ids[story] = map[string]bool{}
		}
		ids[story][got.notice.ID] = true
		if got.notice.Event == Failed && last[got.notice.Store] == Degraded {
			t.Errorf("store %s is told failed after degraded", got.notice.Store)
		}
		last[got.notice.Store] = got.notice.Event
	}
	for story := range accepted {
		if len(ids[story]) == 0 {
			t.Errorf("%q was accepted and never told", story)
		}
	}
	for story, of := range ids {
		if len(of) != 1 {
			t.Errorf("%q was told under %d IDs", story, len(of))
		}
	}
	if len(accepted) < 2*kills || n.Status()[0].Dropped != 0 {
		t.Errorf("only %d were accepted, %d dropped", len(accepted), n.Status()[0].Dropped)
	}
	if again.Load() > kills {
		t.Errorf("%d came again that had been taken, more than one for each of %d kills", again.Load(), kills)
	}
	t.Logf("%d killed, %d accepted, %d told, %d of them again, in %d requests", kills, len(accepted), len(ids), again.Load(), len(r.requests()))
}
