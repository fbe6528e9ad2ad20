package compaction_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// moded is a backend with a name and modes of its own.
type moded struct {
	*backend
	name  string
	modes []string
}

func (m moded) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := m.backend.Describe(ctx)
	d.Name, d.Capabilities.Modes = m.name, m.modes
	return d, err
}

// A mode that a backend does not have is a mistake of who asks: it costs no
// store a failure, and no store is compacted in part of the request.
func TestModeOfARequest(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		backends := map[string]*backend{}
		add := func(name, plugin string, modes ...string) config.Store {
			backends[name] = &backend{}
			store := w.store(name, backends[name])
			store.Plugin = plugin
			w.clients.backends[name] = sdk.Guard(moded{backends[name], plugin, modes})
			return store
		}
		a, b := add("a", "bolt", "auto", "punch"), add("b", "bolt", "auto", "punch")
		c, d := add("c", "pebble", "compact"), add("d", "pebble", "compact")
		away := newStore("away", "")
		away.Plugin, away.Owner = "", "/run/app.sock"
		w.clients.acquire = func(_ int, store string) error {
			if store == "away" {
				return errOwnerAway
			}
			return nil
		}

		for _, test := range []struct {
			mode   string
			stores []config.Store
			want   []string // in error and hint
		}{
			{"puch", []config.Store{a}, []string{`bolt has no mode "puch"`, "store a", "the modes of bolt are: auto, punch"}},
			{"punch", []config.Store{a, c, b, d, away}, []string{`pebble has no mode "punch" (stores c, d)`, "the modes of pebble are: compact"}},
			{"none", []config.Store{a, c}, []string{`bolt has no mode "none"`, `pebble has no mode "none"`}},
		} {
			_, err := w.runner.Run(t.Context(), compaction.Request{Stores: test.stores, Mode: test.mode, Manual: true})
			if !errors.Is(err, sdk.ErrInvalidOption) {
				t.Fatalf("mode %s: %v", test.mode, err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error()+"; "+sdk.HintOf(err), want) {
					t.Errorf("mode %s: %v, hint %q; want %q", test.mode, err, sdk.HintOf(err), want)
				}
			}
		}
		for name, b := range backends {
			if calls := b.called(); len(calls) > 0 {
				t.Errorf("%s: called for %v", name, calls)
			}
		}
		if runs, err := w.history.Runs(10); err != nil || len(runs) > 0 || len(w.events.events) > 0 {
			t.Errorf("a refused request left %d runs and %d events (%v)", len(runs), len(w.events.events), err)
		}

		run := w.request(t.Context(), compaction.Request{Stores: []config.Store{a, away, b}, Mode: "punch", Manual: true})
		for i, want := range []history.Outcome{history.Compacted, history.Deferred, history.Compacted} {
			if run.Results[i].Outcome != want {
				t.Errorf("%+v, want %s", run.Results[i], want)
			}
		}
		if r := run.Results[0]; r.Mode != "punch" || a.Mode != "" {
			t.Errorf("compacted in mode %q, and the store is for %q", r.Mode, a.Mode)
		}
	})
}
