package browser

import (
	"path/filepath"
	"time"

	"github.com/wringdb/wring/core/history"
)

// grown gives the history of a host that has not been started yet some days of
// samples: of stores of about a size, by name, that grow by so many bytes a day
// and are compacted whenever they have doubled.
func (h *host) grown(days int, size, perDay int64, names ...string) {
	h.Helper()
	db, done := h.history()
	defer done()
	const every, aDay = 4 * time.Hour, 6
	for _, name := range names {
		bytes := size / 2
		for at := time.Now().AddDate(0, 0, -days); time.Since(at) > every; at = at.Add(every) {
			bytes += perDay / aDay
			add := func(at time.Time, bytes, reclaimed int64) {
				s := history.Sample{At: at, TotalBytes: bytes, AllocatedBytes: bytes, LiveBytes: size / 2, ReclaimableBytes: bytes - size/2}
				if err := db.AddSample(name, s, reclaimed); err != nil {
					h.Fatal(err)
				}
			}
			add(at, bytes, 0)
			if bytes > size {
				add(at.Add(time.Minute), size/2, bytes-size/2)
				bytes = size / 2
			}
		}
	}
}

// ranBefore gives it a run that has compacted a store so long ago.
func (h *host) ranBefore(ago time.Duration, store string, size int64) {
	h.Helper()
	db, done := h.history()
	defer done()
	at := time.Now().Add(-ago)
	run := history.Run{
		ID: "before-" + store, Trigger: history.Scheduled, StartedAt: at, FinishedAt: at.Add(2 * time.Second), ReclaimedBytes: size / 2,
		Results: []history.Result{{
			Store: store, Run: "before-" + store, Outcome: history.Compacted, Reason: "more than half of it is reclaimable", Attempts: 1,
			TotalBytesBefore: size, TotalBytesAfter: size / 2, ReclaimedBytes: size / 2, PredictedBytes: size / 2,
			DurationMS: 1800, StartedAt: at, FinishedAt: at.Add(2 * time.Second),
		}},
	}
	if err := db.AddRun(run); err != nil {
		h.Fatal(err)
	}
}

// history opens what a host remembers that does not run.
func (h *host) history() (db *history.DB, done func()) {
	h.Helper()
	db, err := history.Open(filepath.Join(h.dir, "data", history.FileName), 0, nil)
	if err != nil {
		h.Fatal(err)
	}
	return db, func() {
		if err := db.Close(); err != nil {
			h.Error(err)
		}
	}
}
