package api

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wringdb/wring/core/event"
)

// quiet is a host in which nothing happens until it is told to.
type quiet struct {
	Host
	bus *event.Bus
}

func (q quiet) Subscribe(buffer int, since uint64) *event.Subscription {
	return q.bus.Subscribe(buffer, since)
}

// A stream in which nothing happens shows that it lives, in a way that readers of
// events pass over.
func TestStreamOfEventsHasAHeartbeat(t *testing.T) {
	bus := event.NewBus(event.BusConfig{})
	r := routes{quiet{bus: bus}, time.Millisecond}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.events(request.Context(), &eventsInput{}, w)
	}))
	defer server.Close()
	defer bus.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for _, want := range []string{":\n", "\n", ":\n", "\n"} {
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Fatalf("%q comes, %v; want %q", got, err, want)
		}
	}
	bus.Publish(event.Event{Name: event.RunStarted})
	bus.Close()
	var names []event.Name
	err = readEvents(lines, func(e event.Event) error { names = append(names, e.Name); return nil })
	if err != nil || len(names) != 1 || names[0] != event.RunStarted {
		t.Errorf("the events are %q, %v", names, err)
	}
}
