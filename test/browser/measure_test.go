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

// A measurement whose answer may never come does not keep the page from another.
func TestMeasuringIsBegunAnew(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	lost := h.front.cut("/v1/events")
	measuring := h.front.hold("/v1/inspect")
	t.Cleanup(measuring.release)
	p.visit(h, "store/sessions")
	eventually(t, "the store is measured", func() bool { return measuring.came.Load() == 1 })
	p.press("Measuring…")
	eventually(t, "the measurement is begun anew", func() bool { return measuring.came.Load() == 2 && measuring.left.Load() == 1 })

	h.front.put("/v1/status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	lost()
	p.waitText("#away", "The host does not answer.")
	eventually(t, "the measurement is given up", func() bool { return measuring.left.Load() == 2 })
	p.waitText("#picture", "Not measured yet.")
	h.front.pass("/v1/inspect")
	h.front.pass("/v1/events")
	h.front.pass("/v1/status")
	p.waitFor(sum + " !== 0")
	p.waitText(".plans", "compact")
	p.excuse()
}

// depths are how often a store was measured.
type depths struct{ sampled, exactly atomic.Int64 }

// measured answers for the host, at once: how long it takes decides how often it is
// done. A sample of a small store is exact, too.
func (h *host) measured(store string) *depths {
	h.Helper()
	answers := map[string]string{}
	for _, depth := range []string{"sampled", "exact"} {
		answers[depth] = h.get("/v1/inspect?store=" + store + "&depth=" + depth)
	}
	d := &depths{}
	h.front.put("/v1/inspect", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("depth") == "exact" {
			d.exactly.Add(1)
		} else {
			d.sampled.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answers[r.URL.Query().Get("depth")])
	})
	return d
}

// What was read in full is not replaced by a sample until something has changed.
func TestExactMeasurementStays(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	d := h.measured("sessions")
	p.hurry()
	p.visit(h, "store/sessions")
	p.waitText(".plans", "compact")
	eventually(t, "a sample is measured again", func() bool { return d.sampled.Load() > 1 })
	p.press("Exactly")
	eventually(t, "all of it is read", func() bool { return d.exactly.Load() > 0 })
	before := d.sampled.Load()
	p.later(5)
	if n := d.sampled.Load() - before; n != 0 {
		t.Errorf("the store was measured %d times more, and not exactly", n)
	}
	p.press("Compact")
	p.waitText("#history", "compacted")
	p.waitText(".plans", "skip")
	eventually(t, "the store is measured again", func() bool { return d.sampled.Load() > before })
}

// Where events were missed, the store may have changed.
func TestExactMeasurementEndsWithWhatWasMissed(t *testing.T) {
	t.Parallel()
	for name, miss := range map[string]func(h *host, lost func(), events chan<- string){
		"events":     func(_ *host, _ func(), events chan<- string) { events <- `{"id":90,"name":"run_started","dropped":3}` },
		"connection": func(h *host, lost func(), _ chan<- string) { h.front.pass("/v1/events"); lost() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, p := newThree(t), newTab(t)
			d := h.measured("sessions")
			lost, events := make(chan struct{}), make(chan string)
			h.front.put("/v1/events", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for {
					_ = http.NewResponseController(w).Flush()
					select {
					case e := <-events:
						_, _ = io.WriteString(w, "data: "+e+"\n\n")
					case <-lost:
						return
					case <-r.Context().Done():
						return
					}
				}
			})
			p.hurry()
			p.visit(h, "store/sessions")
			p.waitText(".plans", "compact")
			p.press("Exactly")
			eventually(t, "all of it is read", func() bool { return d.exactly.Load() > 0 })
			p.later(5)
			before := d.sampled.Load()
			miss(h, func() { close(lost) }, events)
			eventually(t, "a sample is measured", func() bool { return d.sampled.Load() > before })
			p.excuse()
		})
	}
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
