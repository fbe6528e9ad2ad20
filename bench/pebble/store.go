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
	spec pebbletest.Spec
}

func kinds() []kind {
	return []kind{
		{"deletes", pebbletest.Spec{Shape: pebbletest.Deletes}},
		{"overwrites", pebbletest.Spec{Shape: pebbletest.Overwrites}},
		{"range-deletes", pebbletest.Spec{Shape: pebbletest.RangeDeletes}},
		{"expired", pebbletest.Spec{Shape: pebbletest.Expired, Garbage: 0.25}},
		{"churn", pebbletest.Spec{Shape: pebbletest.Churn}},
		{"clustered", pebbletest.Spec{Shape: pebbletest.Clustered, Garbage: 0.3}},
		{"separated", pebbletest.Spec{Shape: pebbletest.Overwrites, Separate: 256}},
		{"bottom", pebbletest.Spec{Shape: pebbletest.Bottom}},
		{"held", pebbletest.Spec{Shape: pebbletest.Held}},
		{"dense", pebbletest.Spec{Shape: pebbletest.Dense}},
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
	spec.LiveBytes, spec.Seed = live, seed
	unfinished := path + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	if err := pebbletest.Generate(unfinished, spec); err != nil {
		return "", err
	}
	return path, os.Rename(unfinished, path)
}
