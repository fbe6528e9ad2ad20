package browser

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
)

func TestHostIsRestarted(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.visit(h, "events")
	if note := text(p, "#away"); note != "" {
		t.Errorf("a note of a lost connection: %q", note)
	}
	h.stop()
	p.waitText("#away", "The host does not answer.")
	p.shoot("away")
	h.start()
	p.waitFor("document.querySelector('[data-link=live]') && !document.querySelector('#away')")
	p.waitText(".events", "host restarted")
	// The stream is that of the new host, whose events begin to count anew.
	h.post("/v1/compact", `{"stores":["sessions"]}`)
	p.waitText(".events", "complete")
	p.excuse()
}

// A connection that is lost while the host stays is taken up where it was, with
// what has happened meanwhile.
func TestConnectionIsLost(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	p.visit(h, "events")
	h.front.put("/v1/status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	h.front.put("/v1/events", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	h.front.CloseClientConnections()
	p.waitText("#away", "The host does not answer.")
	h.post("/v1/compact", `{"stores":["sessions"]}`)
	h.front.pass("/v1/status")
	h.front.pass("/v1/events")
	p.waitFor("document.querySelector('[data-link=live]') && !document.querySelector('#away')")
	p.waitText(".events", "complete")
	if text := text(p, ".events"); strings.Contains(text, "host restarted") {
		t.Errorf("the host is said to have been restarted: %s", text)
	}
	p.excuse()
}

// A click on a host that hangs is answered, and works once the host goes on.
func TestHostHangs(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	t.Cleanup(func() { h.signal(syscall.SIGCONT) })
	p.visit(h, "store/sessions")
	p.waitText(".plans", "compact")
	h.signal(syscall.SIGSTOP)
	p.press("Compact")
	p.waitText(".notices", "The host does not answer.")
	h.signal(syscall.SIGCONT)
	p.waitFor("document.querySelector('[data-link=live]')")
	p.press("Compact")
	p.waitText("#history", "compacted")
	p.excuse()
}
