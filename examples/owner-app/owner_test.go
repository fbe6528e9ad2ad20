package main

import (
	"net/http"
	"syscall"
	"testing"
)

// The service is compacted by the host, twice in a row, and whoever uses it
// meanwhile sees no error and loses nothing.
func TestCompactedUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "20MiB/s")
	load := w.load()
	for i, flags := range [][]string{nil, {"--force"}} {
		compaction := w.compact(flags...)
		w.underWay()
		if status, body, err := w.request("PUT", "/kv/meanwhile/key", "value"); err != nil || status != http.StatusNoContent {
			t.Errorf("write meanwhile: %d %s, %v", status, body, err)
		}
		if !compaction.running() {
			t.Fatal("the compaction had ended before the write: nothing was shown")
		}
		r := compaction.result(t)
		if r.Outcome != "compacted" || !r.Verified || r.PauseMS == nil {
			t.Fatalf("compaction %d: %s", i+1, compaction)
		}
		t.Logf("compaction %d: %d to %d bytes in %d ms, writers held up for %d ms", i+1, r.TotalBytesBefore, r.TotalBytesAfter, r.DurationMS, *r.PauseMS)
		if *r.PauseMS == 0 || *r.PauseMS > r.DurationMS/4 {
			t.Errorf("writers were held up for %d ms of %d ms", *r.PauseMS, r.DurationMS)
		}
		if i == 0 && r.TotalBytesAfter > r.TotalBytesBefore/2 {
			t.Errorf("the file was not made smaller: from %d to %d bytes", r.TotalBytesBefore, r.TotalBytesAfter)
		}
		w.await("the next generation", func() bool { s, err := w.stats(); return err == nil && s.Generations == i+2 })
		if status, body, err := w.request("GET", "/kv/meanwhile/key", ""); status != http.StatusOK || body != "value" {
			t.Errorf("read what was written meanwhile: %d %s, %v", status, body, err)
		}
	}
	w.checkAccount(load, false)
	w.endApp()
}

// The service is killed in the middle of a compaction. When it is back nothing
// that was acknowledged is missing, and no copy is left lying about. Then it ends
// in an orderly way in the middle of another one.
func TestEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8MiB/s")
	load := w.load()
	compaction := w.compact()
	w.underWay()
	w.app.end(syscall.SIGKILL)
	if len(w.beside(".tmp")) == 0 {
		t.Fatal("the kill came after the compaction: nothing was shown")
	}
	if r := compaction.result(t); r.Outcome != "unknown" {
		t.Errorf("outcome %q, want unknown: %s", r.Outcome, compaction)
	}

	w.startApp()
	if left := w.beside(".tmp"); len(left) > 0 {
		t.Errorf("left beside the store: %q", left)
	}
	w.writing()
	w.checkAccount(load, true)

	compaction = w.compact()
	w.underWay()
	w.endApp()
	if r := compaction.result(t); r.Outcome != "cancelled" {
		t.Errorf("outcome %q, want cancelled: %s", r.Outcome, compaction)
	}
}
