package compaction_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// foundIn is a store of a discovered owner.
func foundIn(name, socket, own string) config.Store {
	store := newStore(name, "")
	store.Plugin, store.Owner, store.FoundBy, store.OwnerStore = "", socket, "apps", own
	return store
}

// A discovered store has our name everywhere but on the wire.
func TestDiscoveredStore(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		var measured, compacted sdk.Store
		b := &backend{
			stores: []sdk.Store{{Name: "orders", Path: "/data/orders"}},
			fragmentation: func(_ int, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
				measured = req.Store
				return fragmented, nil
			},
			compact: func(_ context.Context, _ int, req sdk.CompactRequest, _ func(sdk.Progress)) (sdk.CompactResult, error) {
				compacted = req.Store
				return success, nil
			},
		}
		w.clients.backends["apps/shop/orders"] = sdk.Guard(lister{b})
		// The only one is not meant when the name is its owner's own.
		w.clients.backends["apps/shop/parts"] = sdk.Guard(lister{b})
		unlisted := &backend{fragmentation: func(_ int, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
			if req.Store.Name != "till" {
				t.Errorf("one that lists nothing is called %+v", req.Store)
			}
			return fragmented, nil
		}}
		w.clients.backends["apps/till"] = sdk.Guard(unlisted)

		nameless := &backend{stores: []sdk.Store{{Path: "/data/nameless"}}}
		w.clients.backends["apps/nameless"] = sdk.Guard(lister{nameless})

		run := w.run(
			foundIn("apps/shop/orders", "/run/apps/shop.sock", "orders"),
			foundIn("apps/shop/parts", "/run/apps/shop.sock", "parts"),
			foundIn("apps/till", "/run/apps/till.sock", "till"),
			foundIn("apps/nameless", "/run/apps/nameless.sock", "nameless"),
		)
		if want := b.stores[0]; measured != want || compacted != want {
			t.Errorf("its owner was asked to measure %+v and to compact %+v, want %+v", measured, compacted, want)
		}
		orders, parts, till := run.Results[0], run.Results[1], run.Results[2]
		if orders.Store != "apps/shop/orders" || orders.Configured != "apps" || orders.Owner != "/run/apps/shop.sock" ||
			orders.Path != "/data/orders" || orders.Outcome != history.Compacted || orders.PauseMS != 2000 {
			t.Errorf("got %+v", orders)
		}
		if parts.Outcome != history.Skipped || parts.Code != history.CodeVanished || parts.Reason != "its owner does not have it any more" {
			t.Errorf("got %+v", parts)
		}
		if till.Outcome != history.Compacted || till.Path != "/run/apps/till.sock" {
			t.Errorf("got %+v", till)
		}
		if r := run.Results[3]; r.Outcome != history.Compacted || r.Path != "/data/nameless" {
			t.Errorf("got %+v", r)
		}
		all, err := w.history.Results("apps", 1)
		if err != nil || len(all) != 1 || all[0].Reason != "4 stores: 3 compacted, 1 skipped" {
			t.Errorf("all together: %+v, %v", all, err)
		}
	})
}

// One that stands for owners, none of which is there.
func TestNoOwners(t *testing.T) {
	inBubble(t, compaction.Config{}, func(t *testing.T, w *world) {
		apps := newStore("apps", "")
		apps.Plugin, apps.OwnerDir = "", "/run/apps"
		r := w.run(apps).Results[0]
		if r.Outcome != history.Deferred || r.Code != history.CodeOwnerAway || r.Reason != "no owner answers in /run/apps" || r.Path != "/run/apps" {
			t.Errorf("got %+v", r)
		}
		if past := w.past("apps"); !past.LastSuccessAt.IsZero() {
			t.Errorf("that counts as a success: %+v", past)
		}
		plans, err := w.runner.Plan(t.Context(), []config.Store{apps})
		if err != nil || len(plans) != 1 || plans[0].Action != "defer" || plans[0].Code != history.CodeOwnerAway || plans[0].Path != "/run/apps" {
			t.Errorf("plan %+v, %v", plans, err)
		}
		if _, err := w.runner.Inspect(t.Context(), apps, sdk.DepthQuick); err == nil || !strings.Contains(err.Error(), "the stores of all owners in /run/apps") {
			t.Errorf("inspect: %v", err)
		}
	})
}

// A store of an owner is in one run at a time, under whatever names.
func TestOneStoreOfAnOwnerUnderTwoNames(t *testing.T) {
	inBubble(t, compaction.Config{MaxParallel: 2}, func(t *testing.T, w *world) {
		release := make(chan struct{})
		b := &backend{
			stores: []sdk.Store{{Name: "orders"}, {Name: "parts"}},
			compact: func(context.Context, int, sdk.CompactRequest, func(sdk.Progress)) (sdk.CompactResult, error) {
				<-release
				return success, nil
			},
		}
		for _, name := range []string{"apps/shop/orders", "orders", "parts"} {
			w.clients.backends[name] = lister{b}
		}
		named := func(name string) config.Store {
			s := newStore(name, "")
			s.Plugin, s.Owner = "", "/run/apps/shop.sock"
			return s
		}
		done := make(chan history.Run)
		go func() {
			run, err := w.runner.Run(t.Context(), compaction.Request{Stores: []config.Store{foundIn("apps/shop/orders", "/run/apps/shop.sock", "orders"), named("orders"), named("parts")}})
			if err != nil {
				t.Error(err)
			}
			done <- run
		}()
		synctest.Wait()
		if n := b.count("compact"); n != 2 {
			t.Errorf("%d compactions at once, want 2, of orders and of parts", n)
		}
		// All that one stands for can be stopped by its name.
		if turns := w.runner.Active(); len(turns) != 3 {
			t.Errorf("under way is %v, want both and the one that stands for one of them", turns)
		}
		close(release)
		run := <-done
		if r := run.Results[1]; r.Code != history.CodeAlreadyRunning {
			t.Errorf("the other name has %+v", r)
		}
	})
}
