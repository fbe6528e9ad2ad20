package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// memory is what a process held at its worst, as the system counts it. What is
// mapped from files counts in FileBytes and goes when somebody needs it.
type memory struct {
	Process        string `json:"process"`
	HighWaterBytes int64  `json:"high_water_bytes"`
	AnonBytes      int64  `json:"anon_bytes"`
	FileBytes      int64  `json:"file_bytes"`
}

// heapUse is what the backend needed to compact a file, in a process with
// nothing else in it. Its JSON comes from the program in heap.
type heapUse struct {
	File string `json:"file"`
	// LiveBytes of the Go heap: objects that are in use or not swept yet.
	ObjectsBytes int64 `json:"heap_objects_bytes"`
	// InUseBytes is that and what lies unused between the objects.
	InUseBytes int64 `json:"heap_in_use_bytes"`
	// StartBytes of objects there were before.
	StartBytes int64  `json:"heap_start_bytes"`
	Samples    int    `json:"samples"`
	System     memory `json:"system"`
}

// measureHeap compacts a copy of a file by the backend itself.
func (b *bench) measureHeap(ctx context.Context, f *file) (heapUse, error) {
	fmt.Fprintf(b.progress, "%s: heap\n", f.Name)
	dir := filepath.Join(b.work, "heap")
	defer os.RemoveAll(dir)
	p := place{store: filepath.Join(dir, "db"), result: filepath.Join(dir, "none")}
	if err := b.prepare(ctx, f, p, false); err != nil {
		return heapUse{}, err
	}
	out, err := command(ctx, b.tools.heap, p.store).output()
	if err != nil {
		return heapUse{}, err
	}
	use := heapUse{File: f.Name}
	if err := json.Unmarshal(out, &use); err != nil {
		return heapUse{}, fmt.Errorf("read the heap's measurement: %w", err)
	}
	return use, b.check(ctx, f, p.store)
}
