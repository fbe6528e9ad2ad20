package live

import (
	"context"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// measure predicts what our own Compact gives back. Logs are not among that: an
// open store goes on using them.
func (s *store) measure(ctx context.Context, depth sdk.Depth) (sdk.Fragmentation, error) {
	tree, err := s.tree()
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	files, m := s.files(), s.db.Metrics()
	used := engine.Used(tree.Levels...)
	f, err := tree.Measure(ctx, depth, engine.Surroundings{
		Size: s.size(files),
		Leftovers: func(rewritten []engine.Region) engine.Leftovers {
			l := engine.Leftovers{Tables: obsoleteBytes(m)}
			moved := engine.UsedBy(rewritten)
			for _, file := range files {
				l.Tables += file.Hole(used, moved)
			}
			return l
		},
		Budget: sampleBytes,
		// Writes in memory and versions that snapshots see leave something open.
		Exact: m.WAL.Size == 0 && m.Snapshots.Count == 0,
	})
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	f.Metrics["log_bytes"] = float64(logBytes(files, m))
	f.Metrics["obsolete_log_bytes"] = float64(m.WAL.ObsoletePhysicalSize)
	f.Metrics["unflushed_log_bytes"] = float64(m.WAL.Size)
	f.Metrics["open_snapshots"] = float64(m.Snapshots.Count)
	f.Metrics["zombie_table_bytes"] = float64(zombieBytes(m))
	f.Obstacle = s.obstacle(ctx, tree)
	return f, nil
}

// logBytes are of the files, where they are in sight, as the plugin counts them.
func logBytes(files []engine.File, m *pebbledb.Metrics) (n int64) {
	if files == nil {
		// The size of the current log is as of when it was begun.
		return int64(max(m.WAL.PhysicalSize, m.WAL.Size) + m.WAL.ObsoletePhysicalSize)
	}
	for _, f := range files {
		if f.IsLog() {
			n += f.Size
		}
	}
	return n
}

// obsoleteBytes are of tables and blobs that Pebble is about to remove.
func obsoleteBytes(m *pebbledb.Metrics) int64 {
	return int64(m.Table.ObsoleteSize + m.BlobFiles.ObsoleteSize)
}

// zombieBytes are of tables and blobs that were replaced, and that iterators hold.
func zombieBytes(m *pebbledb.Metrics) int64 {
	return int64(m.Table.ZombieSize + m.BlobFiles.ZombieSize)
}

// obstacle is what would keep a compaction from beginning, or nil.
func (s *store) obstacle(ctx context.Context, tree *engine.Tree) *sdk.Error {
	err := s.writable(ctx, tree.Levels)
	if err == nil {
		largest := int64(0)
		for _, r := range tree.Regions() {
			if r.Compactable() {
				for _, step := range r.Steps(s.comparer, s.largestStep) {
					largest = max(largest, step.Bytes)
				}
			}
		}
		err = s.room(engine.RoomFor(largest))
	}
	if err == nil {
		return nil
	}
	return engine.WorkError("compact", s.name, err)
}
