package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// cell is one of a store's in the list.
func cell(store, column string) string {
	return fmt.Sprintf("[data-store=%s] .c-%s", store, column)
}

// shown says whether a person sees an element, as an expression.
func shown(selector string) string {
	return fmt.Sprintf("document.querySelector(%q)?.checkVisibility()", selector)
}

// newGrown starts a host with three stores, of which one is known to grow.
func newGrown(t *testing.T) *host {
	h := newHost(t, three)
	h.store(smallBolt, "sessions.db")
	h.store(largeBolt, "archive.db")
	h.store(onePebble, "events")
	h.grown(13, 64<<20, 512<<20, "sessions")
	h.start()
	return h
}

// What is known of a store's past and future is in the list at any width, and
// the list is never wider than its window.
func TestOverviewTellsWhatWillBe(t *testing.T) {
	t.Parallel()
	h, p := newGrown(t), newTab(t)
	h.post("/v1/compact", `{"stores":["sessions"]}`)
	h.post("/v1/pause?store=archive", "")
	for _, width := range []int64{1280, 1180, 1024, 901, 900, 768, 360} {
		p.size(width, 800)
		p.visit(h, "")
		p.waitText(cell("sessions", "growth"), "+512.0 MiB/d")
		p.waitFor(fmt.Sprintf("/in \\d+ (days|years|h)/.test(document.querySelector(%q).innerText)", cell("sessions", "full")))
		p.waitFor(fmt.Sprintf("/ago|now/.test(document.querySelector(%q).innerText)", cell("sessions", "last")))
		p.waitText(cell("sessions", "next"), "in ")
		p.waitText(cell("archive", "next"), "paused")
		p.waitText(cell("archive", "last"), "never")
		for _, column := range []string{"name", "size", "reclaimable", "growth", "full", "last", "next", "health"} {
			p.within("[data-store=sessions]", cell("sessions", column))
		}
		p.within("[data-store=archive]", cell("archive", "next"))
		p.noSideways()
		p.shoot(fmt.Sprintf("overview %d", width))
	}
}

// within fails when an element cannot be seen in full within another.
func (p *tab) within(outer, inner string) {
	p.Helper()
	said := eval[string](p, fmt.Sprintf(`(() => {
		const o = document.querySelector(%q), i = document.querySelector(%q)
		if (!i.checkVisibility()) return 'is not shown'
		const a = o.getBoundingClientRect(), b = i.getBoundingClientRect()
		if (b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1) return 'lies outside'
		return i.scrollWidth > i.clientWidth + 1 ? 'is cut off: ' + i.innerText : ''
	})()`, outer, inner))
	if said != "" {
		p.Errorf("in a window of %d pixels %s %s", eval[int](p, "innerWidth"), inner, said)
	}
}

// On cards the order is chosen from a list, and turned round.
func TestCardsAreSorted(t *testing.T) {
	t.Parallel()
	h, p := newGrown(t), newTab(t)
	h.get("/v1/plan")
	p.size(360, 740)
	p.visit(h, "")
	first := "document.querySelector('[aria-rowindex=\"2\"]').dataset.store"
	choose := func(column string) {
		t.Helper()
		eval[bool](p, fmt.Sprintf(`(() => { const s = document.querySelector('.sort select'); s.value = %q
			s.dispatchEvent(new Event('change', {bubbles: true})); return true })()`, column))
	}
	p.waitFor("document.querySelectorAll('[data-store]').length === 3")
	for _, value := range eval[[]string](p, "[...document.querySelectorAll('.sort option')].map((o) => o.value)") {
		if selector := cell("sessions", value); !eval[bool](p, shown(selector)) {
			t.Errorf("the cards are sorted by %s, which they do not show", value)
		}
	}
	choose("name")
	p.waitFor(first + " === 'archive'")
	p.press("↑")
	p.waitFor(first + " === 'sessions'")
	p.press("↓")
	p.waitFor(first + " === 'archive'")
	choose("growth")
	p.waitFor(first + " === 'sessions'")
}

// One run that has failed is enough to be looked at.
func TestFailedRunNeedsAttention(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	if err := os.Remove(filepath.Join(h.dir, "sessions.db")); err != nil {
		t.Fatal(err)
	}
	h.post("/v1/compact", `{"stores":["sessions","events"],"force":true}`)
	p.visit(h, "")
	p.waitText("[data-store=sessions] .c-health", "run failed")
	p.waitFor("document.querySelector('[data-store=sessions] .c-health .badge').title.includes('no such file')")
	p.waitText("[data-store=events] .c-health", "healthy")
	p.waitText(".figures", "1 needs attention")
	p.press("Need attention")
	p.waitFor("document.querySelectorAll('[data-store]').length === 1")
	p.waitText("output", "1 of 3 stores")
}

// All schedules are paused at once, and go on at once.
func TestAllSchedules(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	paused := func() int {
		t.Helper()
		return len(h.paused())
	}
	h.post("/v1/pause?store=events", "")
	p.visit(h, "")
	p.press("Pause all")
	p.waitFor("[...document.querySelectorAll('[data-store] .c-next')].every((c) => c.innerText === 'paused')")
	if n := paused(); n != 3 {
		t.Errorf("%d of 3 schedules are paused", n)
	}
	p.waitFor("![...document.querySelectorAll('button')].some((b) => b.innerText === 'Pause all')")
	p.press("Resume all")
	p.waitFor("[...document.querySelectorAll('[data-store] .c-next')].every((c) => c.innerText.startsWith('in '))")
	if n := paused(); n != 0 {
		t.Errorf("%d schedules are still paused", n)
	}
}
