package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/sdk"
)

// moody is a backend whose compactions fail, and whose store is too large for any
// disk, as the test wants.
type moody struct {
	*half
	fails, large atomic.Bool
}

func (m *moody) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	f, err := m.half.Fragmentation(ctx, req)
	if m.large.Load() {
		f.TotalBytes += 1 << 60
		f.Obstacle = sdk.Errorf(sdk.ErrNoSpace, "1 EiB is needed").WithHint("buy disks")
	}
	return f, err
}

func (m *moody) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	if m.fails.Load() {
		return sdk.CompactResult{}, errors.New("it broke")
	}
	return m.half.Compact(ctx, req, report)
}

// ears hear what is told.
type ears struct {
	*place
	mu    sync.Mutex
	heard []notify.Notice
}

func newEars(p *place) (*ears, string) {
	e := &ears{place: p}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var notice notify.Notice
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &notice)
		}
		if err != nil {
			p.t.Errorf("came %q: %v", body, err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = append(e.heard, notice)
	}))
	p.t.Cleanup(server.Close)
	return e, fmt.Sprintf("notify \"ops\" {\n  webhook = %q\n}\n", server.URL)
}

// expect waits until all that was told are these, store and event.
func (e *ears) expect(want ...string) notify.Notice {
	e.t.Helper()
	var got []string
	var last notify.Notice
	e.wait(fmt.Sprintf("%d events are told", len(want)), func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		got = nil
		for _, n := range e.heard {
			last = n
			got = append(got, n.Store+" "+string(n.Event))
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		e.t.Fatalf("told %q, want %q", got, want)
	}
	return last
}

func (e *ears) compact() {
	e.t.Helper()
	if _, err := e.client.Compact(e.t.Context(), api.CompactRequest{Stores: []string{"a"}, Force: true}); err != nil {
		e.t.Fatal(err)
	}
}

const quiet = "  start_delay = \"1h\"\n  retry {\n    attempts = 0\n  }"

func TestFailuresAndRecoveryAreToldOnceOverRestarts(t *testing.T) {
	backend := &moody{half: newHalf()}
	backend.fails.Store(true)
	p := newPlace(t, backend)
	e, block := newEars(p)
	p.configure(quiet, block)
	stop := p.start()
	e.compact()
	n := e.expect("a failed")
	if n.Result == nil || n.Result.Outcome != history.Failed || n.Message != "a could not be compacted: compact a: it broke" || n.Host == "" {
		t.Errorf("the first failure is told as %+v", n)
	}
	e.compact()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stop = p.start()
	e.compact()
	e.expect("a failed", "a degraded")
	e.compact()
	backend.fails.Store(false)
	e.compact()
	n = e.expect("a failed", "a degraded", "a recovered")
	if len(n.Recovered) != 2 || n.Recovered[1].Event != notify.Degraded || n.Result == nil || n.Result.Outcome != history.Compacted {
		t.Errorf("the recovery is told as %+v", n)
	}
	e.compact()
	p.wait("nothing is queued", func() bool {
		told := status(t, p).Notify
		return len(told) == 1 && told[0].Queued == 0 && told[0].Delivered == 2 // of the second host
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	e.expect("a failed", "a degraded", "a recovered")
}

// A host that was killed has not told what it wrote to its history last.
func TestWhatAnEarlierHostHasNotToldIsTold(t *testing.T) {
	backend := &moody{half: newHalf()}
	backend.fails.Store(true)
	p := newPlace(t, backend)
	e, block := newEars(p)
	p.configure(quiet+"\n  overdue_after = \"1h\"", block+fmt.Sprintf("store \"b\" {\n  owner = %q\n}\n", filepath.Join(p.dir, "gone.sock")))
	db, err := history.Open(filepath.Join(p.dir, "data", history.FileName), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-100 * time.Hour)
	for i, outcome := range []history.Outcome{history.Skipped, history.Failed, history.Failed, history.Failed} {
		at := long.Add(time.Duration(i) * time.Hour)
		id := fmt.Sprint(i)
		err := db.AddRun(history.Run{ID: id, StartedAt: at, FinishedAt: at, Results: []history.Result{
			{Store: "b", Run: id, Outcome: outcome, Reason: "as it was", StartedAt: at, FinishedAt: at},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	stop := p.start()
	n := e.expect("b degraded", "b overdue")
	if !n.LastSuccessAt.Equal(long) {
		t.Errorf("the last success is told as %s, want %s", n.LastSuccessAt, long)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stop = p.start()
	e.compact() // after all stores were looked at
	e.expect("b degraded", "b overdue", "a failed")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestADiskWithoutRoomIsTold(t *testing.T) {
	backend := &moody{half: newHalf()}
	p := newPlace(t, backend)
	e, block := newEars(p)
	p.configure(quiet, block)
	stop := p.start()
	e.compact() // so that somebody knows how large it is
	backend.large.Store(true)
	backend.fails.Store(true)
	e.compact()
	e.expect("a failed")
	if err := p.client.Reload(t.Context()); err != nil { // looks at the disks
		t.Fatal(err)
	}
	n := e.expect("a failed", "a disk_full_soon")
	if d := n.Disk; d == nil || !filepath.IsAbs(d.Mount) || d.FreeBytes <= 0 || d.Reason != "1 EiB is needed" || n.Hint != "buy disks" || d.FullAt.After(n.Time) {
		t.Errorf("the disk is told as %+v with %+v", n, n.Disk)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stop = p.start() // which looks again
	backend.fails.Store(false)
	e.compact()
	e.expect("a failed", "a disk_full_soon", "a recovered")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestReloadTakesWhoIsToldAndWhatIsWrongWithIt(t *testing.T) {
	p := newPlace(t, newHalf())
	e, block := newEars(p)
	p.configure(quiet, "")
	stop := p.start()
	defer func() { _ = stop() }()
	if _, err := p.client.TestNotify(t.Context(), ""); !errors.Is(err, sdk.ErrNotFound) || sdk.HintOf(err) == "" {
		t.Errorf("TestNotify() of nobody = %v", err)
	}
	p.configure(quiet, block+"notify \"bad\" {\n  command = [\"/nonexistent/pager\"]\n}\n")
	if err := p.client.Reload(t.Context()); err == nil || len(status(t, p).Notify) != 0 {
		t.Errorf("a command that is not there is taken: %v", err)
	}
	p.configure(quiet, block)
	if err := p.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers, err := p.client.TestNotify(t.Context(), "ops")
	if err != nil || len(answers) != 1 || !answers[0].OK {
		t.Errorf("TestNotify() = %+v, %v", answers, err)
	}
	e.expect(" test")
}
