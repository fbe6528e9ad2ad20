package daemon_test

import (
	"errors"
	"testing"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// Who asked for a detached run is answered while it goes on, and may hang up.
func TestDetachedRunGoesOnByItself(t *testing.T) {
	backend := newHalf()
	backend.hold = make(chan struct{})
	p := newPlace(t, backend)
	p.configure("", "")
	stop := p.start()

	run, err := p.client.Compact(t.Context(), api.CompactRequest{Stores: []string{"a"}, Detach: true})
	if err != nil || run.ID == "" || run.Trigger != history.Manual || len(run.Results) != 0 {
		t.Fatalf("Compact() = %+v, %v; want a run that has begun", run, err)
	}
	p.client.Close() // the connection of the request
	<-backend.begun
	if s := p.store("a"); s.Active == nil {
		t.Errorf("the store's status is %+v; want a compaction under way", s)
	}
	close(backend.hold)
	p.wait("the run is in the history", func() bool {
		results, err := p.client.Results(t.Context(), "a", 1)
		return err == nil && len(results) == 1 && results[0].Outcome == history.Compacted && results[0].Run == run.ID
	})
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
}

func TestDetachedRunThatCannotBeginIsAnError(t *testing.T) {
	p := newPlace(t, newHalf())
	p.configure("", "")
	stop := p.start()
	defer func() { _ = stop() }()
	for _, wrong := range []api.CompactRequest{
		{Stores: []string{"none"}, Detach: true},
		{Stores: []string{"a"}, Mode: "none", Detach: true},
	} {
		_, err := p.client.Compact(t.Context(), wrong)
		if !errors.Is(err, sdk.ErrNotFound) && !errors.Is(err, sdk.ErrInvalidOption) {
			t.Errorf("Compact(%+v) = %v, want a refusal", wrong, err)
		}
	}
}

// The end of the host is the end of a detached run too.
func TestStopCancelsADetachedRun(t *testing.T) {
	backend := newHalf()
	backend.hold = make(chan struct{})
	p := newPlace(t, backend)
	p.configure("", "")
	stop := p.start()
	if _, err := p.client.Compact(t.Context(), api.CompactRequest{All: true, Detach: true}); err != nil {
		t.Fatal(err)
	}
	<-backend.begun
	if err := stop(); err != nil {
		t.Errorf("the host ends with %v", err)
	}
	if !backend.cleaned.Load() {
		t.Error("the host ended before the compaction had cleaned up")
	}
}
