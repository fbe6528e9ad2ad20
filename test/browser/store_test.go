package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// figure is one of a store's in words, as an expression.
func figure(name string) string {
	return fmt.Sprintf("([...document.querySelectorAll('.figures > div')].find((d) => d.firstChild.innerText === %q)?.lastChild.innerText ?? '')", name)
}

// A pattern stands for all that it matches, and a store that cannot be found says
// why.
func TestPatternsAndProblems(t *testing.T) {
	t.Parallel()
	h := newHost(t, `
store "logs" {
  plugin = "bolt"
  glob   = "DIR/logs/*.db"
}
store "gone" {
  plugin = "bolt"
  path   = "DIR/gone.db"
}
`)
	if err := os.Mkdir(filepath.Join(h.dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.store(smallBolt, "logs/a.db")
	h.store(tinyBolt, "logs/b.db")
	h.grown(13, 64<<20, 512<<20, "logs/a.db", "logs/b.db")
	h.start()
	p := newTab(t)
	p.visit(h, "store/logs")
	p.waitFor("document.querySelectorAll('.plans li').length === 2")
	p.waitText(".plans", "logs/b.db")
	p.shoot("pattern")
	p.do(chromedp.Click(chromedp.Search("//a[text()='logs/a.db']")))
	p.waitText("h1", "logs/a.db")
	p.waitFor(sum + " !== 0")
	p.press("Compact")
	p.waitText("#history", "compacted")

	// What only the pattern has is the pattern's; there is nothing to pause.
	p.waitFor(fmt.Sprintf("/ago|now/.test(%s)", figure("Compacted")))
	p.waitFor(figure("Next") + ".includes('in 60 min all of logs')")
	p.waitFor(figure("Growth") + ".includes('+1.0 GiB/d all of logs')")
	p.waitFor("/in \\d+ /.test(" + figure("Disk full") + ")")
	p.waitText(".crumbs", "Stores / logs healthy")
	if eval[bool](p, "[...document.querySelectorAll('.actions button')].some((b) => b.innerText.includes('schedule'))") {
		t.Error("a file of a pattern has a button for a schedule of its own")
	}
	p.shoot("file of a pattern")
	p.keys("p")
	p.do(chromedp.Click(chromedp.Search("//p[@class='crumbs']//a[text()='logs']")))

	// The pattern is all of its files.
	p.waitFor(figure("Size") + ".includes('MiB')")
	p.waitFor(figure("Growth") + ".includes('+1.0 GiB/d')")
	p.waitFor("document.querySelectorAll('.plans li').length === 2")
	if eval[bool](p, "document.querySelector(\"[aria-label='Size over time']\") !== null || document.querySelector('#picture') !== null") {
		t.Error("a pattern has a picture of its own")
	}
	p.press("Pause schedule")
	p.waitText(".title h1", "paused")
	p.do(chromedp.Click(chromedp.Search("//a[text()='logs/a.db']")))
	p.waitText("h1", "logs/a.db")
	p.waitText(".title h1", "paused")
	p.waitFor(figure("Next") + ".includes('paused')")

	p.visit(h, "store/gone")
	p.waitText("#picture .fault", "gone.db")
	p.excuse() // the browser notes that the answer was an error

	p.waitText(".plans", "gone.db")
	if text := text(p, ".plans"); strings.Count(text, "no such file") > 1 {
		t.Errorf("the plan says the same twice: %q", text)
	}

	p.visit(h, "store/nosuch")
	p.waitText("h1", "nosuch")
	p.waitText(".title", "No store of this name is configured")
	p.waitText("#history", "No run has looked at this store yet.")
	p.excuse()
	if eval[bool](p, "document.querySelector('.actions') !== null") {
		t.Error("a store that is not there has buttons")
	}
}

// A backend that takes long to clean up is not taken for a host that is away.
func TestCancellationTakesLong(t *testing.T) {
	t.Parallel()
	h := newHost(t, `
store "logs" {
  plugin = "bolt"
  glob   = "DIR/logs/*.db"
}
`)
	h.start()
	cancelling := h.front.hold("/v1/cancel")
	t.Cleanup(cancelling.release)
	p := newTab(t)
	p.first(`(() => {
		const timeout = AbortSignal.timeout
		AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms < 60_000 ? ms : 500)
	})()`)
	p.visit(h, "store/logs")
	p.press("Cancel")
	p.waitText(".notices", "the backend still cleans up")
}
