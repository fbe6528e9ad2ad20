package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

// kind of store.
type kind struct {
	name string
	spec pebbletest.Spec // with LiveBytes only where they do not depend on the benchmark's
}

func kinds() []kind {
	return []kind{
		{"deletes", pebbletest.Spec{Shape: pebbletest.Deletes}},
		{"overwrites", pebbletest.Spec{Shape: pebbletest.Overwrites}},
		{"range-deletes", pebbletest.Spec{Shape: pebbletest.RangeDeletes}},
		{"expired", pebbletest.Spec{Shape: pebbletest.Expired, Garbage: 0.25}},
		{"churn", pebbletest.Spec{Shape: pebbletest.Churn}},
		{"clustered", pebbletest.Spec{Shape: pebbletest.Clustered, Garbage: 0.3}},
		{"patches", pebbletest.Spec{Shape: pebbletest.Patches}},
		{"separated", pebbletest.Spec{Shape: pebbletest.Overwrites, Separate: 256}},
		{"bottom", pebbletest.Spec{Shape: pebbletest.Bottom}},
		{"held", pebbletest.Spec{Shape: pebbletest.Held}},
		{"dense", pebbletest.Spec{Shape: pebbletest.Dense}},
		{"one-table", pebbletest.Spec{Shape: pebbletest.Overwrites, LiveBytes: 20 << 10}},
		{"empty", pebbletest.Spec{Shape: pebbletest.Empty}},
	}
}

// make returns the directory of a store of the kind, which it makes if need be.
func (k kind) make(dir string, live int64, seed uint64, progress io.Writer) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("pebble-%s-%dk-seed%d", k.name, live>>10, seed))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(progress, "making %s\n", filepath.Base(path))
	spec := k.spec
	if spec.Seed = seed; spec.LiveBytes == 0 {
		spec.LiveBytes = live
	}
	unfinished := path + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	if err := pebbletest.Generate(unfinished, spec); err != nil {
		return "", err
	}
	return path, os.Rename(unfinished, path)
}
