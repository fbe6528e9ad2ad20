package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/live"
)

func TestPluginsShowWhatTheyAre(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	h.get("/v1/inspect?store=sessions") // so that it has been started
	p.visit(h, "plugins")
	p.waitText("[aria-label=bolt]", "sha256")
	p.waitText("[aria-label=bolt]", filepath.Join(programs, "wring-plugin-bolt"))
	p.waitFor(`/[0-9a-f]{64}/.test(document.querySelector('[aria-label=bolt]').innerText)`)
	p.shoot("plugins")
}

// A plugin that does not come up says why: the error once, and the last lines that
// it wrote, the newest in sight.
func TestPluginThatFails(t *testing.T) {
	t.Parallel()
	h := newHost(t, `
plugin "bad" {
  command = "DIR/wring-plugin-bad"
}
store "sessions" {
  plugin = "bad"
  path   = "DIR/sessions.db"
}
`)
	const script = "#!/bin/sh\nfor n in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do echo \"bad line $n\" >&2; done\nexit 3\n"
	if err := os.WriteFile(filepath.Join(h.dir, "wring-plugin-bad"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	h.store(smallBolt, "sessions.db")
	h.start()
	p := newTab(t)
	h.get("/v1/inspect?store=sessions")
	p.visit(h, "plugins")
	p.waitFor("/backoff|failed/.test(document.querySelector('[aria-label=bad] h3').innerText)")
	p.waitText("[aria-label=bad] .fault", "exit status 3")
	p.waitText("[aria-label=bad] pre", "bad line 30")
	if said := text(p, "[aria-label=bad] .fault"); strings.Contains(said, "bad line") {
		t.Errorf("the error has the lines, too: %s", said)
	}
	p.waitFor("document.querySelector('[aria-label=bad] pre').scrollTop > 0")
	p.noSideways()
	p.shoot("plugin that fails")
}

// Owners have their stores and their state, and are away when they have ended.
func TestOwners(t *testing.T) {
	t.Parallel()
	h := newHost(t, `
store "apps" {
  owner_dir = "DIR/apps"
}
`)
	if err := os.Mkdir(filepath.Join(h.dir, "apps"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.store(smallBolt, "carts.db")
	end := h.own("carts.db", "apps/shop.sock")
	h.start()
	p := newTab(t)
	p.visit(h, "")
	p.waitFor("document.querySelectorAll('[data-store]').length === 1")
	store := eval[string](p, "document.querySelector('[data-store]').dataset.store")
	p.visit(h, "plugins")
	p.waitText("[aria-label=Owners]", "shop.sock")
	p.waitText("[aria-label=Owners] .badge", "up")

	// A store of theirs, and what stands for all of them.
	p.visit(h, "store/"+store)
	p.waitFor(sum + " !== 0")
	p.press("Compact")
	p.waitText("#history", "compacted")
	p.waitText(".crumbs", "apps")
	p.visit(h, "store/apps")
	p.waitText(".plans", store)
	p.press("Pause schedule")
	p.waitText("#app", "Resume schedule")
	if got := h.paused(); len(got) != 1 || got[0] != store {
		t.Errorf("paused are %q, says the host, want %q", got, store)
	}

	end()
	p.visit(h, "plugins")
	p.waitText("[aria-label=Owners] .badge", "away")
	p.visit(h, "")
	p.waitText(fmt.Sprintf("[data-store=%q] .c-health", store), "away")
	p.excuse() // a store whose owner has ended is asked for in vain
}

// own opens a store as an application does, and lets the host compact it through a
// socket until end is called.
func (h *host) own(name, socket string) (end func()) {
	h.Helper()
	db, err := live.Open(filepath.Join(h.dir, name), 0o600, nil)
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- live.Serve(ctx, filepath.Join(h.dir, socket), live.Store{DB: db}) }()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-served; err != nil {
			h.Error(err)
		}
		if err := db.Close(); err != nil {
			h.Error(err)
		}
	}
	h.Cleanup(end)
	eventually(h.T, "the owner listens", func() bool {
		_, err := os.Stat(filepath.Join(h.dir, socket))
		return err == nil
	})
	return end
}
