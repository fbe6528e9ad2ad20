package browser

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

// Events have the colour of what they say, and the date where it is not today's.
func TestEvents(t *testing.T) {
	t.Parallel()
	h, p := newThree(t), newTab(t)
	now := time.Now()
	before := now.AddDate(0, 0, -2)
	h.front.put("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i, e := range []struct {
			name string
			at   time.Time
		}{{"store_degraded", before}, {"store_recovered", now}} {
			_, _ = fmt.Fprintf(w, "id: %d\ndata: {\"id\":%d,\"time\":%q,\"name\":%q,\"message\":\"m\",\"store\":\"sessions\"}\n\n", i+1, i+1, e.at.Format(time.RFC3339), e.name)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	p.visit(h, "events")
	p.waitFor("document.querySelectorAll('.events li').length === 2")
	for event, want := range map[string]string{"store degraded": "bad", "store recovered": "good"} {
		got := eval[string](p, fmt.Sprintf("[...document.querySelectorAll('.events .badge')].find((b) => b.innerText === %q).className", event))
		if got != "badge "+want {
			t.Errorf("%s has the class %q, want %q", event, got, want)
		}
	}
	times := eval[[]string](p, "[...document.querySelectorAll('.events time')].map((e) => e.innerText)")
	if want := before.Format("01-02 15:04:05"); strings.ReplaceAll(times[1], "\n", " ") != want {
		t.Errorf("an event of another day is of %q, want %q", times[1], want)
	}
	if strings.Contains(times[0], "-") {
		t.Errorf("an event of today is of %q, with a date", times[0])
	}
	p.noSideways()

	p.keys("/")
	p.waitFor("document.activeElement.type === 'search'")
	p.keys("degraded")
	p.waitFor("document.querySelectorAll('.events li').length === 1")
	p.keys(kb.Escape)
	p.waitFor("document.querySelectorAll('.events li').length === 2 && document.activeElement.type !== 'search'")
}
