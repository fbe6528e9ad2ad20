package compaction

import (
	"time"

	"github.com/wringdb/wring/sdk"
)

// Inspection is the measurement of one store, as people and programs see it.
type Inspection struct {
	Store  string `json:"store"`
	Plugin string `json:"plugin"`
	Engine string `json:"engine"`
	Path   string `json:"path"`

	TotalBytes       int64 `json:"total_bytes"`
	AllocatedBytes   int64 `json:"allocated_bytes"`
	LiveBytes        int64 `json:"live_bytes"`
	ReclaimableBytes int64 `json:"reclaimable_bytes"`
	// Ratio is ReclaimableBytes / AllocatedBytes, 0 to 1.
	Ratio  float64    `json:"ratio"`
	Method sdk.Method `json:"method"`
	// Mode is the one that a compaction would use now, and Note a sentence that
	// says why, as far as the backend tells.
	Mode string `json:"mode,omitempty"`
	Note string `json:"note,omitempty"`
	// Obstacle is why a compaction could not be done now; nil where none is known.
	Obstacle *Obstacle          `json:"obstacle,omitempty"`
	Metrics  map[string]float64 `json:"metrics"`
	// Map is how full consecutive equal parts of the store are, 0 to 100.
	Map []int `json:"map"`
	// Layers are what lies where in a store that is written in layers, as an LSM
	// tree is in levels: the newest first. Empty for others.
	Layers []Layer `json:"layers"`

	// Error and Hint are set instead of the figures when measuring failed.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Layer is one layer of a store, cut into cells by key. The lists have an entry for
// each cell, and the cells at one index are the same range of keys in all layers.
type Layer struct {
	Name      string  `json:"name"`
	Bytes     int64   `json:"bytes"`
	CellBytes []int64 `json:"cell_bytes"`
	// The parts of each cell's bytes, 0 to 100; what they leave of 100 is not known.
	LivePercent      []int `json:"live_percent"`
	GarbagePercent   []int `json:"garbage_percent"`
	TombstonePercent []int `json:"tombstone_percent"`
}

// layersOf takes layers apart into lists, which are short in JSON.
func layersOf(layers []sdk.MapLayer) []Layer {
	lists := make([]Layer, len(layers))
	for i, l := range layers {
		list := &lists[i]
		list.Name, list.Bytes = l.Name, l.Bytes
		list.CellBytes = []int64{} // and no null, as clients expect it
		list.LivePercent, list.GarbagePercent, list.TombstonePercent = []int{}, []int{}, []int{}
		for _, c := range l.Cells {
			list.CellBytes = append(list.CellBytes, c.Bytes)
			list.LivePercent = append(list.LivePercent, int(c.Live))
			list.GarbagePercent = append(list.GarbagePercent, int(c.Garbage))
			list.TombstonePercent = append(list.TombstonePercent, int(c.Tombstones))
		}
	}
	return lists
}

// Obstacle is the error that a compaction would fail with now.
type Obstacle struct {
	// Code is that of the result that it would lead to, where it has one of its own:
	// no_space; else empty.
	Code  string `json:"code,omitempty"`
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

// Plan is what the next run would do to one store, and why.
type Plan struct {
	Store  string `json:"store"`
	Plugin string `json:"plugin"`
	Engine string `json:"engine"`
	Path   string `json:"path"`
	// Configured is the store in the configuration: Store itself, or the one
	// whose pattern found the file.
	Configured string `json:"-"`
	// Action is compact, skip, defer, or error when the store cannot be measured.
	Action string `json:"action"`
	// Code is the policy's reason for programs.
	Code   string `json:"code"`
	Reason string `json:"reason"`
	// Mode that the compaction would have now, and why it is that one where the
	// backend had the choice.
	Mode       string `json:"mode"`
	ModeReason string `json:"mode_reason,omitempty"`

	AllocatedBytes int64   `json:"allocated_bytes"`
	PredictedBytes int64   `json:"predicted_bytes"`
	Ratio          float64 `json:"ratio"`
	// NextAt is when the store is next due; zero where there is no schedule.
	NextAt   time.Time `json:"next_at,omitzero"`
	Warnings []string  `json:"warnings,omitempty"`
	Error    string    `json:"error,omitempty"`
	Hint     string    `json:"hint,omitempty"`
}
