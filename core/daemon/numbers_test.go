package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// lists is half with a store whose place it tells.
type lists struct {
	*half

	path string
}

func (l *lists) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := l.half.Describe(ctx)
	d.Capabilities.ListsStores = true
	return d, err
}

func (l *lists) Stores(context.Context) ([]sdk.Store, error) {
	path := l.path
	if path == "" {
		path = os.TempDir()
	}
	return []sdk.Store{{Name: "a", Path: path}}, nil
}

// get asks the host on its socket, as curl does.
func (p *place) get(target string) string {
	p.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", api.SocketPath(filepath.Join(p.dir, "data")))
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://wring" + target)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %s %s, %v", target, response.Status, content, err)
	}
	return string(content)
}

func TestStatusHasWhatWasMeasured(t *testing.T) {
	p := newPlace(t, &lists{half: newHalf()})
	p.configure("", "")
	stop := p.start()
	defer func() { _ = stop() }()
	if s := p.store("a"); s.TotalBytes != nil || s.ReclaimableBytes != nil || s.GrowthBytesPerDay != nil || !s.MeasuredAt.IsZero() {
		t.Errorf("a store that was never measured has the figures %+v", s.Figures)
	}
	if _, err := p.client.Plan(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s := p.store("a")
	if s.TotalBytes == nil || *s.TotalBytes != 8<<20 || *s.AllocatedBytes != 8<<20 || *s.LiveBytes != 4<<20 || *s.ReclaimableBytes != 4<<20 || s.MeasuredAt.IsZero() {
		t.Errorf("after a plan the store has the figures %+v", s.Figures)
	}
	if _, err := p.client.Compact(t.Context(), api.CompactRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	s = p.store("a")
	if *s.TotalBytes != 4<<20 || *s.AllocatedBytes != 4<<20 || *s.LiveBytes != 4<<20 || *s.ReclaimableBytes != 0 || s.Engine != "half" {
		t.Errorf("after a compaction the store has the figures %+v", s.Figures)
	}
	p.wait("the room on the disk is known", func() bool { return p.store("a").DiskFreeBytes != nil })
	samples, err := p.client.Samples(t.Context(), "a", 10)
	var sizes []int64
	for _, sample := range samples {
		sizes = append(sizes, sample.AllocatedBytes>>20)
	}
	// The plan's, the run's and what the compaction has left.
	if err != nil || !slices.Equal(sizes, []int64{8, 8, 4}) {
		t.Errorf("the samples are of %v MiB, %v; want 8, 8 and 4", sizes, err)
	}
	if _, err := p.client.Results(t.Context(), "nonsuch", 10); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("the history of a store that nobody knows: %v", err)
	}
	if _, err := p.client.Samples(t.Context(), "nonsuch", 10); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("samples of a store that nobody knows: %v", err)
	}
}

func TestGrowthOutlivesARestart(t *testing.T) {
	p := newPlace(t, &lists{half: newHalf()})
	p.configure("  start_delay = \"1h\"", "")
	grown(t, filepath.Join(p.dir, "data"), "a", p.dir)
	stop := p.start()
	defer func() { _ = stop() }()
	p.wait("growth is known", func() bool { s := p.store("a"); return s.GrowthBytesPerDay != nil && !s.FullAt.IsZero() })
	s := p.store("a")
	if got := *s.GrowthBytesPerDay >> 30; got != 24 {
		t.Errorf("a store that has grown by 1 GiB an hour grows by %d GiB a day", got)
	}
	days := float64(*s.DiskFreeBytes) / float64(24<<30)
	if left := time.Until(s.FullAt).Hours() / 24; left < days*0.9-1 || left > days*1.1+1 {
		t.Errorf("%d bytes are free, and full in %.1f days, want %.1f", *s.DiskFreeBytes, left, days)
	}
}

func TestPauseStopsTheSchedule(t *testing.T) {
	backend := newHalf()
	p := newPlace(t, backend)
	settings := "  every = \"1s\"\n  start_delay = \"0s\"\n  overdue_after = \"1s\"\n  min_gap = \"0s\""
	p.configure(settings, fmt.Sprintf("store \"b\" {\n  owner = %q\n}\n", p.owner))
	stop := p.start()
	<-backend.begun
	if names, err := p.client.Pause(t.Context(), ""); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Fatalf("Pause() = %v, %v", names, err)
	}
	if names, err := p.client.Pause(t.Context(), ""); err != nil || len(names) != 0 {
		t.Errorf("a second Pause() = %v, %v; want no change", names, err)
	}
	runs := func() int {
		t.Helper()
		all, err := p.client.Runs(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	// What was under way ends, and is in the history, before the host does.
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}

	stop = p.start()
	defer func() { _ = stop() }()
	before := runs()
	if run, err := p.client.Compact(t.Context(), api.CompactRequest{Stores: []string{"a"}}); err != nil || run.Results[0].Outcome != history.Compacted {
		t.Errorf("a compaction that is asked for: %+v, %v", run, err)
	}
	s := p.store("a")
	if s.PausedAt.IsZero() || !s.NextAt.IsZero() {
		t.Errorf("after a restart the store is %+v, want paused and not due", s)
	}
	if plans, err := p.client.Plan(t.Context(), []string{"a"}); err != nil || !plans[0].NextAt.IsZero() || len(plans[0].Warnings) == 0 {
		t.Errorf("the plan is %+v, %v; want that it is not due, and why", plans, err)
	}
	// An interval and more after it would have been due, and overdue.
	last := p.store("b").LastSuccessAt
	p.wait("it would be overdue", func() bool { return time.Since(last) > 3*time.Second })
	if s := p.store("b"); s.Overdue {
		t.Errorf("a store that is paused is overdue: %+v", s)
	}
	if n := runs(); n != before+1 {
		t.Errorf("while all were paused there were %d runs, want the one that was asked for", n-before)
	}
	if _, err := p.client.Resume(t.Context(), "a"); !errors.Is(err, sdk.ErrBusy) || sdk.HintOf(err) == "" {
		t.Errorf("one of all is resumed: %v, want a refusal that says how", err)
	}
	if names, err := p.client.Resume(t.Context(), ""); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("Resume() = %v, %v", names, err)
	}
	if s := p.store("b"); s.Overdue || !s.PausedAt.IsZero() {
		t.Errorf("a store whose schedule has just gone on is %+v", s)
	}
	p.wait("what was due is looked at", func() bool { return runs() > before+1 })
}

func TestOneStoreIsPaused(t *testing.T) {
	p := newPlace(t, newHalf())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure("  start_delay = \"1h\"", fmt.Sprintf(
		"plugin \"broken\" {\n  command = \"/bin/false\"\n}\nstore \"logs\" {\n  plugin = \"broken\"\n  glob = %q\n}\n", dir+"/*.db"))
	stop := p.start()
	defer func() { _ = stop() }()
	if names, err := p.client.Pause(t.Context(), "logs"); err != nil || !slices.Equal(names, []string{"logs"}) {
		t.Errorf("Pause(logs) = %v, %v", names, err)
	}
	if p.store("logs").PausedAt.IsZero() || !p.store("a").PausedAt.IsZero() || p.store("a").NextAt.IsZero() {
		t.Errorf("paused are %+v and %+v, want the first alone", p.store("logs"), p.store("a"))
	}
	if _, err := p.client.Pause(t.Context(), "logs/x.db"); !errors.Is(err, sdk.ErrInvalidOption) || sdk.HintOf(err) != "pause or resume logs" {
		t.Errorf("one file of a pattern is paused: %v, hint %q", err, sdk.HintOf(err))
	}
	if _, err := p.client.Pause(t.Context(), "nonsuch"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("a store that nobody knows is paused: %v", err)
	}
	if names, err := p.client.Resume(t.Context(), "logs"); err != nil || !slices.Equal(names, []string{"logs"}) || !p.store("logs").PausedAt.IsZero() {
		t.Errorf("Resume(logs) = %v, %v", names, err)
	}
}

// A store that waits for its turn in a run which has begun is not looked at once
// it is paused, and due when that ends.
func TestPauseHoldsForWhatWaitsForItsTurn(t *testing.T) {
	backend := newHalf()
	backend.hold = make(chan struct{})
	p := newPlace(t, backend)
	p.configure("  start_delay = \"0s\"\n  every = \"10h\"", fmt.Sprintf("store \"b\" {\n  owner = %q\n}\n", p.owner))
	stop := p.start()
	defer func() { _ = stop() }()
	<-backend.begun // a is being compacted, and b waits for it
	if _, err := p.client.Pause(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	close(backend.hold)
	p.wait("the run has ended", func() bool { runs, err := p.client.Runs(t.Context(), 1); return err == nil && len(runs) == 1 })
	outcomes := map[string]history.Outcome{}
	runs, err := p.client.Runs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs[0].Results {
		outcomes[r.Store] = r.Outcome
	}
	if outcomes["a"] != history.Compacted || outcomes["b"] != history.Cancelled {
		t.Errorf("the run has come to %v, want a compacted and b cancelled", outcomes)
	}
	if _, err := p.client.Resume(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	p.wait("it has its turn", func() bool { return p.store("b").LastOutcome == history.Compacted })
}
