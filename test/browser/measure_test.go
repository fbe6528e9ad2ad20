package browser

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
)

// A store that takes minutes to measure is measured once at a time, and what
// comes in the end is shown.
func TestMeasuringThatTakesLong(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	var asked atomic.Int64
	measured := make(chan struct{})
	h.front.put("/v1/inspect", func(w http.ResponseWriter, r *http.Request) {
		answered := measured
		if asked.Add(1) > 1 {
			answered = nil // only the first one ever is
		}
		select {
		case <-answered:
			h.front.proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
	p.hurry()
	p.visit(h, "store/sessions")
	eventually(t, "the store is measured", func() bool { return asked.Load() == 1 })
	p.later(5)
	close(measured)
	p.waitFor(sum + " !== 0")
	p.waitText(".plans", "compact")
	if n := asked.Load(); n != 1 {
		t.Errorf("the store was asked for %d times while it was measured", n)
	}
}

// Who leaves a page gives up what is measured for it.
func TestMeasuringIsGivenUp(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	measuring := h.front.hold("/v1/inspect")
	t.Cleanup(measuring.release)
	p.visit(h, "store/sessions")
	eventually(t, "the store is measured", func() bool { return measuring.came.Load() == 1 })
	p.keys("1")
	eventually(t, "the measurement is given up", func() bool { return measuring.left.Load() == 1 })
}

// What was read in full is not replaced by a sample until something has changed.
func TestExactMeasurementStays(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	answers := map[string]string{}
	for _, depth := range []string{"sampled", "exact"} {
		answers[depth] = h.get("/v1/inspect?store=sessions&depth=" + depth)
	}
	var sampled, exactly atomic.Int64
	h.front.put("/v1/inspect", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("depth") == "exact" {
			exactly.Add(1)
		} else {
			sampled.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answers[r.URL.Query().Get("depth")]) // at once: how long it takes decides how often it is done
	})
	p.hurry()
	p.visit(h, "store/sessions")
	p.waitText(".plans", "compact")
	eventually(t, "a sample is measured again", func() bool { return sampled.Load() > 1 })
	// A sample of a small store is exact, too; and the button is not there while
	// the store is measured.
	eventually(t, "all of it is read", func() bool {
		p.press("Exactly")
		return exactly.Load() > 0
	})
	before := sampled.Load()
	p.later(5)
	if n := sampled.Load() - before; n != 0 {
		t.Errorf("the store was measured %d times more, and not exactly", n)
	}
	p.press("Compact")
	p.waitText("#history", "compacted")
	p.waitText(".plans", "skip")
	eventually(t, "the store is measured again", func() bool { return sampled.Load() > before })
}

// The page's own measurement is in the picture of sizes over time.
func TestChartHasThePagesOwnMeasurement(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	planning := h.front.hold("/v1/plan")
	t.Cleanup(planning.release)
	p.visit(h, "store/sessions")
	p.waitText("[aria-label='Size over time']", "Nothing has been sampled yet.")
	planning.release()
	p.waitFor("document.querySelector('.chart [role=img]')?.getAttribute('aria-label').startsWith('1 measurement')")
}
