package browser

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// three are a bbolt store that is compacted at once, one that takes its time,
// and a Pebble store.
const three = `
store "sessions" {
  plugin = "bolt"
  path   = "DIR/sessions.db"
}
store "archive" {
  plugin = "bolt"
  path   = "DIR/archive.db"
  limit  = "1MiB/s"
}
store "events" {
  plugin = "pebble"
  path   = "DIR/events"
}
`

// newThree starts a host with them.
func newThree(t *testing.T) *host {
	h := newHost(t, three)
	h.store(smallBolt, "sessions.db")
	h.store(largeBolt, "archive.db")
	h.store(onePebble, "events")
	h.start()
	return h
}

// visit opens a page of the dashboard, at #/ and what follows.
func (p *tab) visit(h *host, page string) {
	p.Helper()
	p.do(chromedp.Navigate(h.address + "/#/" + page))
	p.waitFor("document.querySelector('[data-link=live]')")
}

func TestOverviewListsTheStores(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	h.get("/v1/plan") // by which the host knows how large they are
	p.visit(h, "")
	p.waitFor("document.querySelectorAll('[data-store]').length === 3")
	for _, name := range []string{"sessions", "archive", "events"} {
		p.waitText(fmt.Sprintf("[data-store=%s]", name), "healthy")
		p.waitText(fmt.Sprintf("[data-store=%s] .c-reclaimable", name), "MiB")
	}
	p.waitText(".figures", "3")
	p.shoot("overview light")

	// By name, then the other way round.
	names := `[...document.querySelectorAll('[data-store]')].map((e) => e.dataset.store).join(' ')`
	p.press("Store")
	p.waitFor(names + " === 'archive events sessions'")
	p.press("Store")
	p.waitFor(names + " === 'sessions events archive'")
	p.waitFor("document.querySelector('[role=columnheader].c-name').getAttribute('aria-sort') === 'descending'")

	p.do(chromedp.SendKeys(chromedp.CSS("[type=search]"), "pebble"))
	p.waitFor(names + " === 'events'")
	p.waitText("output", "1 of 3 stores")
	p.do(chromedp.SendKeys(chromedp.CSS("[type=search]"), kb.Escape))
	p.press("Need attention")
	p.waitText("body", "No store is like that.")
	p.press("All")
	p.waitFor("document.querySelectorAll('[data-store]').length === 3")
}

// sum of the pixels of the picture, which another picture does not have.
const sum = `(() => {
	const c = document.querySelector('.map canvas')
	if (!c || !c.width) return 0
	const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data
	let s = 0
	for (let i = 0; i < d.length; i += 4) s = (s * 31 + d[i] * 65536 + d[i + 1] * 256 + d[i + 2]) % 4294967291
	return s
})()`

// front is the cell at which the compaction under way is; -1 without one.
const frontCell = `Number(document.querySelector('.map canvas')?.dataset.front ?? -1)`

func TestCompactionIsWatchedAndCancelled(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.visit(h, "store/archive")
	p.waitFor(sum + " !== 0")
	p.waitText(".plans", "compact")
	still := eval[float64](p, sum)
	before := sha(t, h, "archive.db")

	p.press("Compact")
	p.waitFor(frontCell + " > 0")
	p.waitText(".running", "of")
	moving := eval[float64](p, sum)
	if moving == still {
		t.Error("the picture does not show that a compaction is under way")
	}
	at := eval[int](p, frontCell)
	p.waitFor(fmt.Sprintf("%s > %d", frontCell, at))
	if eval[float64](p, sum) == moving {
		t.Error("the front has moved, and the picture is the same")
	}
	p.waitText(".running", "left in this phase")
	p.shoot("store compacting light")

	// Meanwhile, on the other pages.
	p.keys("2")
	p.waitText(".now", "archive")
	p.waitFor("document.querySelector('.now [role=progressbar]').getAttribute('aria-valuenow') > 0")
	p.shoot("runs live")
	p.keys("1")
	p.waitFor("document.querySelector('[data-store=archive] [role=progressbar]')")

	p.visit(h, "store/archive")
	p.press("Cancel")
	p.waitText("#history", "cancelled")
	p.waitFor("!document.querySelector('.running')")
	p.waitFor(frontCell + " === -1")
	if after := sha(t, h, "archive.db"); after != before {
		t.Error("the store is not as it was before")
	}
}

func TestCompactionAppearsInTheHistory(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	for _, store := range []string{"sessions", "events"} {
		p.visit(h, "store/"+store)
		p.waitFor(sum + " !== 0")
		still := eval[float64](p, sum)
		p.waitText("#history", "No run has looked at this store yet.")
		p.press("Compact")
		p.waitText("#history", "compacted")
		p.waitText("#history", "✓")
		p.waitText("#history", "reaches the threshold")
		// Measured again, there is nothing left to do.
		p.waitText(".plans", "skip")
		p.waitFor(fmt.Sprintf("%s !== %.0f", sum, still))
		p.shoot("store after " + store)
	}
	p.keys("2")
	p.waitText(".runs", "sessions")
	p.waitText(".runs", "manual")
	p.keys("4")
	p.waitText(".events", "complete")
	p.shoot("events")

	// What is not worth it is skipped, and compacted all the same after a question.
	p.visit(h, "store/sessions")
	p.press("Compact")
	p.waitText("#history", "skipped")
	p.press("Force…")
	p.waitText("dialog", "The policy would skip")
	p.shoot("force")
	p.do(chromedp.Click(chromedp.CSS("dialog .primary")))
	p.waitFor("document.querySelectorAll('#history tbody tr').length === 3")
	p.waitFor("!document.querySelector('dialog')")
}

func TestScheduleIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.visit(h, "store/sessions")
	p.press("Pause schedule")
	p.waitText(".title h1", "paused")
	if got := h.paused(); !slices.Equal(got, []string{"sessions"}) {
		t.Errorf("paused are %q, says the host", got)
	}
	p.press("Resume schedule")
	p.waitFor("!document.querySelector('.title h1').innerText.includes('paused')")
	if got := h.paused(); len(got) != 0 {
		t.Errorf("paused are %q, says the host, and nothing should be", got)
	}
	p.keys("p")
	p.waitText(".title h1", "paused")
	if got := h.paused(); !slices.Equal(got, []string{"sessions"}) {
		t.Errorf("paused are %q after the shortcut, says the host", got)
	}
}

// A store that is written in layers has a strip for each, which can be read.
func TestLayers(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.visit(h, "store/events")
	p.waitFor("document.querySelectorAll('.layers canvas').length > 0")
	p.waitFor(`[...document.querySelectorAll('.layers canvas')].every((c) => /^L\d: .* % live, /.test(c.getAttribute('aria-label')))`)
	drawn := `[...document.querySelectorAll('.layers canvas')].map((c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)`
	p.waitFor(drawn + ".every((colours) => colours > 3)")
	p.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('.layers').scrollIntoView({block: 'center'})"))
	p.shoot("layers")
	p.visit(h, "store/sessions")
	p.waitFor(sum + " !== 0")
	if eval[bool](p, "document.querySelector('.layers') !== null") {
		t.Error("a store without layers shows some")
	}
}

func TestDarkAndLight(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	dark := "document.documentElement.dataset.theme === 'dark'"
	background := "getComputedStyle(document.body).backgroundColor"
	p.prefers("prefers-color-scheme", "dark")
	p.visit(h, "store/events")
	p.waitFor(dark)
	p.waitFor(sum + " !== 0")
	inDark, drawnInDark := eval[string](p, background), eval[float64](p, sum)
	p.waitText(".plans", "compact")
	p.shoot("store dark")

	p.keys("t") // the person's own choice, which the next page has too
	p.waitFor("!(" + dark + ")")
	if got := eval[string](p, background); got == inDark {
		t.Errorf("the background is %s in light and in dark", got)
	}
	p.waitFor(fmt.Sprintf("%s !== %.0f", sum, drawnInDark))
	p.do(chromedp.Reload())
	p.waitFor("document.querySelector('[data-link=live]')")
	p.waitFor("!(" + dark + ")")
	p.keys("t")
	p.prefers("prefers-color-scheme", "light") // back to following the system
	p.waitFor("!(" + dark + ")")
}

func TestPhone(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.size(360, 740)
	p.visit(h, "store/sessions")
	p.waitFor(sum + " !== 0")
	p.press("Compact")
	p.waitText("#history", "compacted")
	h.get("/v1/inspect?store=events")
	for _, page := range []string{"", "store/sessions", "store/events", "runs", "plugins", "events"} {
		p.visit(h, page)
		p.waitFor("document.querySelector('main').innerText.length > 40")
		if strings.HasPrefix(page, "store/") {
			p.waitFor(sum + " !== 0")
		}
		p.noSideways()
		p.shoot("phone " + strings.ReplaceAll(page, "/", " "))
	}
	p.keys("?")
	p.waitText("dialog[open]", "Keyboard shortcuts")
	p.noSideways()
}

func TestKeyboard(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.visit(h, "")
	p.waitFor("document.querySelectorAll('[data-store]').length === 3")
	focused := func(name string) string {
		return fmt.Sprintf("document.activeElement.closest('[data-store]')?.dataset.store === %q", name)
	}
	order := strings.Fields(eval[string](p, `[...document.querySelectorAll('[data-store]')].map((e) => e.dataset.store).join(' ')`))

	p.keys("j")
	p.waitFor(focused(order[0]))
	p.keys(kb.ArrowDown)
	p.waitFor(focused(order[1]))
	if outline := eval[string](p, "getComputedStyle(document.activeElement, '::after').outlineStyle"); outline != "solid" {
		t.Errorf("the row that has the focus has the outline %q", outline)
	}
	p.keys(kb.End)
	p.waitFor(focused(order[2]))
	p.keys("k")
	p.waitFor(focused(order[1]))
	p.keys(kb.Enter)
	p.waitFor(fmt.Sprintf("location.hash === '#/store/%s'", order[1]))
	p.waitFor(sum + " !== 0")

	// The picture is read cell by cell.
	p.do(chromedp.Focus(chromedp.CSS(".map canvas")))
	p.keys(kb.ArrowRight)
	p.waitText("#map-cell", "% full")

	p.keys("f")
	p.waitText("dialog[open]", "in any case?")
	p.keys(kb.Escape)
	p.waitFor("!document.querySelector('dialog')")
	p.keys(kb.Escape)
	p.waitFor("location.hash === '#/'")
	p.waitFor("document.querySelector('[type=search]')")
	p.keys("/")
	p.waitFor("document.activeElement.type === 'search'")
	p.keys("3t?") // typed, and no shortcut
	p.waitFor("document.activeElement.value === '3t?' && location.hash === '#/'")
	p.keys(kb.Escape)
	p.keys("?")
	p.waitText("dialog[open]", "Keyboard shortcuts")
	p.shoot("shortcuts")
	p.keys(kb.Escape)
	p.keys("3")
	p.waitText("h1", "Plugins and owners")

	// By Tab alone everything that can be pressed is reached, and it shows.
	p.visit(h, "store/sessions")
	p.waitFor(sum + " !== 0")
	p.waitFor("[...document.querySelectorAll('#picture button')].every((b) => !b.disabled)")
	reach := eval[int](p, `[...document.querySelectorAll('a[href], button, input, select, summary, canvas[tabindex]')]
		.filter((e) => !e.disabled && e.checkVisibility()).length`)
	p.do(chromedp.Evaluate[chromedp.Void]("document.activeElement.blur(); window.reached = new Set()"))
	for range reach + 2 {
		p.keys(kb.Tab)
		p.do(chromedp.Evaluate[chromedp.Void](`(() => { const e = document.activeElement
			if (e !== document.body) { reached.add(e); if (getComputedStyle(e).outlineStyle === 'none') throw new Error('no outline: ' + e.outerHTML) } })()`))
	}
	if got := eval[int](p, "reached.size"); got < reach {
		t.Errorf("Tab reaches %d of %d: not %q", got, reach, eval[[]string](p, `[...document.querySelectorAll('a[href], button, input, select, summary, canvas[tabindex]')]
			.filter((e) => !e.disabled && e.checkVisibility() && !reached.has(e)).map((e) => e.outerHTML.slice(0, 90))`))
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	h := newHost(t, "store \"sessions\" {\n  plugin = \"bolt\"\n  path   = \"DIR/sessions.db\"\n}\n")
	h.store(smallBolt, "sessions.db")
	reads, operates := h.askForTokens()
	h.start()
	p := newTab(t)
	p.do(chromedp.Navigate(h.address))
	p.waitText(".login", "Token")
	p.waitFor("document.activeElement.id === 'token'")
	p.shoot("login")
	p.keys("wrong" + kb.Enter)
	p.waitText(".login", "The host does not know this token.")
	p.excuse() // the browser notes that the answer was 401
	p.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('#token').select()"))
	p.keys(reads + kb.Enter)
	p.waitFor("document.querySelectorAll('[data-store]').length === 1")

	// The token may only read: nothing can be pressed that does more.
	p.visit(h, "store/sessions")
	p.waitText(".top", "read only")
	p.waitFor("[...document.querySelectorAll('.actions button')].length === 4 && [...document.querySelectorAll('.actions button')].every((b) => b.disabled)")
	p.waitText("#history", "No run has looked at this store yet.")
	p.keys("cp")
	p.press("Log out")
	p.waitText(".login", "Token")
	if runs := h.get("/v1/runs"); strings.Contains(runs, "sessions") {
		t.Errorf("a shortcut has done what the token may not: %s", runs)
	}
	if got := h.paused(); len(got) != 0 {
		t.Errorf("a shortcut has paused what the token may not: %q", got)
	}

	p.waitFor("document.activeElement.id === 'token'")
	p.keys(operates + kb.Enter)
	p.waitText(".title h1", "sessions")
	p.press("Compact")
	p.waitText("#history", "compacted")
}

// A host without samples, and one that knows no sessions, are shown all the same.
func TestNothingSampledYet(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	h.front.put("/v1/samples", http.NotFound)
	h.front.put("/v1/session", http.NotFound)
	p.visit(h, "store/sessions")
	p.waitText("[aria-label='Size over time']", "Nothing has been sampled yet.")
	p.excuse() // of the two that are not there
}

func TestReducedMotion(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.prefers("prefers-reduced-motion", "reduce")
	p.visit(h, "store/archive")
	p.press("Compact")
	p.waitFor("document.querySelector('.running .bar span')")
	if got := eval[string](p, "getComputedStyle(document.querySelector('.running .bar span')).transitionDuration"); got != "0s" {
		t.Errorf("the bar moves for %s", got)
	}
}

// What the README shows: a host with some stores, one of which is compacted just
// then, and the page of that one in the dark.
func TestPictures(t *testing.T) {
	t.Parallel()
	var configured strings.Builder
	of := map[string]string{
		"audit-log": smallBolt, "billing": tinyBolt, "events": onePebble, "jobs": smallBolt, "ledger": largeBolt, "metrics": onePebble,
		"queue": smallBolt, "search-index": onePebble, "sessions": smallBolt, "tokens": tinyBolt, "uploads": largeBolt, "users": smallBolt,
	}
	for name, which := range of {
		plugin := "bolt"
		if which == onePebble {
			plugin = "pebble"
		}
		fmt.Fprintf(&configured, "store %q {\n  plugin = %q\n  path   = \"DIR/%s\"\n", name, plugin, name)
		if name == "uploads" {
			configured.WriteString("  limit = \"2MiB/s\"\n")
		}
		configured.WriteString("}\n")
	}
	h := newHost(t, configured.String())
	for name, which := range of {
		h.store(which, name)
	}
	for name, perDay := range map[string]int64{ // in MiB
		"audit-log": 41, "events": 260, "jobs": 12, "ledger": 96, "metrics": 130, "queue": 75, "search-index": 8, "sessions": 180, "uploads": 33, "users": 5,
	} {
		size := map[string]int64{smallBolt: 50, largeBolt: 55, onePebble: 30}[of[name]]
		h.grown(13, size<<20, perDay<<20, name)
		h.ranBefore(time.Duration(60/perDay+7)*time.Hour, name, size<<20)
	}
	h.start()
	h.get("/v1/plan")
	h.post("/v1/compact", `{"stores":["jobs","sessions","metrics","billing"]}`)
	if err := os.Rename(filepath.Join(h.dir, "tokens"), filepath.Join(h.dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // in a row, after which a store counts as degraded
		h.post("/v1/compact", `{"stores":["tokens"],"force":true}`)
	}
	h.post("/v1/pause?store=queue", "")
	h.get("/v1/plan?store=jobs&store=sessions&store=metrics")

	p := newTab(t)
	p.prefers("prefers-color-scheme", "dark")
	p.visit(h, "store/uploads")
	p.waitFor(sum + " !== 0")
	p.press("Compact")
	p.waitFor(fmt.Sprintf("%s > document.querySelector('.map canvas').dataset.cells / 3", frontCell))
	p.shoot("readme store dark")
	p.prefers("prefers-color-scheme", "light")
	p.size(1280, 664)
	p.visit(h, "")
	p.waitFor("document.querySelector('[data-store=uploads] [role=progressbar]')")
	p.waitText("[data-store=tokens]", "degraded")
	p.waitText("[data-store=queue]", "paused")
	p.waitText(cell("ledger", "growth"), "+96.0 MiB/d")
	p.waitText(cell("ledger", "full"), "in ")
	p.shoot("readme overview light")
}

const thousand = 1000

func TestThousandStores(t *testing.T) {
	var stores strings.Builder
	for i := range thousand {
		fmt.Fprintf(&stores, "store \"shard-%04d\" {\n  plugin = \"bolt\"\n  path   = \"DIR/shards/%04d.db\"\n}\n", i, i)
	}
	h := newHost(t, stores.String())
	if err := os.Mkdir(filepath.Join(h.dir, "shards"), 0o700); err != nil {
		t.Fatal(err)
	}
	names := make([]string, thousand)
	for i := range thousand {
		h.store(tinyBolt, fmt.Sprintf("shards/%04d.db", i))
		names[i] = fmt.Sprintf("shard-%04d", i)
	}
	h.grown(1, 1<<20, 1<<20, names...)
	h.start()
	eventually(t, "the host has all figures", func() bool {
		return strings.Count(h.get("/v1/status"), `"growth_bytes_per_day":`) == thousand
	})
	p := newTab(t)
	p.visit(h, "")
	rows := "document.querySelectorAll('[data-store]').length"
	p.waitFor(rows + " > 10")
	p.waitText("output", "stores")
	// From the click to the first rows, as the page itself saw it.
	took := eval[float64](p, `performance.getEntriesByName('stores-shown')[0].startTime`)
	t.Logf("the first rows of %d stores are there after %.0f ms", thousand, took)
	fmt.Printf("%d stores: first rows after %.0f ms\n", thousand, took)
	if took > 5000 { // a page that hangs, and not one that is slow
		t.Errorf("the first rows are there after %.0f ms", took)
	}
	p.waitFor(`[...document.querySelectorAll('[data-store]')].every((r) =>
		r.querySelector('.c-size').innerText.endsWith('iB') && r.querySelector('.c-growth').innerText.includes('/d') && r.querySelector('.c-reclaimable .bar'))`)
	p.shoot("thousand")

	window := func() {
		t.Helper()
		if n := eval[int](p, rows); n > 80 {
			t.Errorf("%d rows are in the document, want only those round the screen", n)
		}
	}
	window()
	p.waitFor("document.querySelector('[role=table]').getAttribute('aria-rowcount') === '1001'")
	p.press("Store")
	p.waitFor("document.querySelector('[data-store=shard-0000]')")
	p.do(chromedp.Evaluate[chromedp.Void]("scrollTo(0, document.documentElement.scrollHeight / 2)"))
	p.waitFor("document.querySelector('[data-store=shard-0500]') && !document.querySelector('[data-store=shard-0100]')")
	window()
	p.keys(kb.End)
	p.waitFor("document.activeElement.closest('[data-store]')?.dataset.store === 'shard-0999'")
	window()
	if hidden := eval[bool](p, "document.activeElement.getBoundingClientRect().bottom > innerHeight"); hidden {
		t.Error("the row that has the focus is below the screen")
	}

	// The way back from a store leads to where it was left.
	p.keys(kb.Enter)
	p.waitText("h1", "shard-0999")
	p.waitFor("document.activeElement.tagName === 'H1' && scrollY === 0")
	p.keys(kb.Escape)
	p.waitFor("document.activeElement.closest('[data-store]')?.dataset.store === 'shard-0999'")
	p.waitFor("document.activeElement.getBoundingClientRect().bottom <= innerHeight && scrollY > 30000")
	window()

	p.keys("/")
	p.keys("0042")
	p.waitFor(rows + " === 1")
	p.waitFor("scrollY === 0")
}

// sha is a digest of a store's file.
func sha(t *testing.T, h *host, name string) [32]byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}
