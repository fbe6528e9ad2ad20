package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wringdb/wring/core/history"
)

// BenchmarkThousandStores asks a host with 1 000 stores, each with results and
// samples, for what the dashboard and Prometheus ask for: time and bytes are
// those of one answer, over the socket. The host is a process of its own, and
// MB-resident the most memory that it has had.
func BenchmarkThousandStores(b *testing.B) {
	const stores = 1000
	p := newPlace(b, newHalf())
	var more strings.Builder
	names := make([]string, stores)
	for i := range names {
		names[i] = fmt.Sprintf("store-%04d", i)
		fmt.Fprintf(&more, "store %q {\n  owner = %q\n}\n", names[i], p.owner)
	}
	p.configure("  start_delay = \"10h\"", more.String())
	fillHistory(b, filepath.Join(p.dir, "data"), names)
	host := startChild(b, p.file())
	p.wait("the host answers", func() bool { _, err := p.client.Status(b.Context()); return err == nil })
	p.wait("the figures are there", func() bool {
		status, err := p.client.Status(b.Context())
		return err == nil && status.Stores[stores].GrowthBytesPerDay != nil
	})
	for _, target := range []string{"/v1/status", "/metrics"} {
		b.Run(target, func(b *testing.B) {
			var size int
			for b.Loop() {
				size = len(p.get(target))
			}
			b.ReportMetric(float64(size), "bytes/answer")
			if peak := peakMemory(b, host.cmd.Process.Pid); peak > 0 {
				b.ReportMetric(peak, "MB-resident")
			}
		})
	}
	host.stop()
}

// peakMemory is the most memory that a process has had resident (VmHWM), in
// megabytes; 0 on systems that do not tell.
func peakMemory(tb testing.TB, pid int) float64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil && n == 1 {
			return kib * 1024 / 1e6
		}
	}
	return 0
}

// fillHistory gives each store 20 results and 100 samples.
func fillHistory(tb testing.TB, dir string, names []string) {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	db, err := history.Open(filepath.Join(dir, history.FileName), 20, nil)
	if err != nil {
		tb.Fatal(err)
	}
	began := time.Now().Add(-100 * time.Hour)
	for n := range 100 {
		at := began.Add(time.Duration(n) * time.Hour)
		run := history.Run{ID: fmt.Sprintf("r%03d", n), StartedAt: at, FinishedAt: at}
		for _, name := range names {
			err := db.AddSample(name, history.Sample{At: at, TotalBytes: 8 << 20, AllocatedBytes: int64(8+n) << 20, LiveBytes: 4 << 20, ReclaimableBytes: 4 << 20}, 0)
			if err != nil {
				tb.Fatal(err)
			}
			if n >= 80 {
				run.Results = append(run.Results, history.Result{
					Store: name, Run: run.ID, Outcome: history.Skipped, StartedAt: at, FinishedAt: at,
					Reason: "4.0 MiB reclaimable, 5 % of the store, is below the threshold of 10 %",
				})
			}
		}
		if n < 80 {
			continue
		}
		if err := db.AddRun(run); err != nil {
			tb.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
}
