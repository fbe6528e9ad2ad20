package compaction

import (
	"strings"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// Adjust gives the work under way what may change in the middle of it: the
// stores' limits. Everything else of a new configuration is for what begins
// from now on, and a store that is in it no longer goes on as it began.
func (r *Runner) Adjust(stores []config.Store) {
	for _, t := range r.active.find("") {
		for _, store := range stores {
			if store.Name == t.store.Name || store.Glob != "" && strings.HasPrefix(t.store.Name, store.Name+"/") {
				t.adjust(store)
			}
		}
	}
}

func (t *turn) adjust(to config.Store) {
	before := t.pace.Rate()
	t.pace.Set(to.LimitBytesPerSecond)
	if now := t.pace.Rate(); now != before {
		t.runner.logger.Info("the limit has changed for what is under way",
			"store", t.store.Name, "from", limitText(before), "to", limitText(now))
	}
}

func limitText(bytesPerSecond int64) string {
	if bytesPerSecond == 0 {
		return "none"
	}
	return sdk.FormatBytes(bytesPerSecond) + "/s"
}
