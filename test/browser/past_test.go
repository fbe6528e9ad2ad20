package browser

import (
	"path/filepath"
	"time"

	"github.com/wringdb/wring/core/history"
)

// grown gives the history of a host that has not been started yet two weeks of
// samples: of stores of about a size, by name, that grow by so many bytes a day
// and are compacted whenever they have doubled.
func (h *host) grown(size, perDay int64, names ...string) {
	h.Helper()
	db, err := history.Open(filepath.Join(h.dir, "data", history.FileName), 0, nil)
	if err != nil {
		h.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			h.Error(err)
		}
	}()
	const every, aDay = 4 * time.Hour, 6
	for _, name := range names {
		bytes := size / 2
		for at := time.Now().Add(-13 * 24 * time.Hour); time.Since(at) > every; at = at.Add(every) {
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
