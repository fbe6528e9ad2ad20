package pebbletest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// Digest reads the whole store with Pebble and sums keys, values and range
// keys up, in key order. It shares no code with the backend's verification.
// The options may be nil; only the comparer and merger of them matter.
func Digest(path string, options *pebbledb.Options) (digest string, keys int, err error) {
	o := &pebbledb.Options{}
	if options != nil {
		o = options.Clone()
	}
	o.ReadOnly, o.ErrorIfNotExists, o.Logger = true, true, quiet{}
	o.EventListener = &pebbledb.EventListener{
		DataCorruption: func(pebbledb.DataCorruptionInfo) {}, // it comes as an error, too
	}
	db, err := pebbledb.Open(path, o)
	if err != nil {
		return "", 0, fmt.Errorf("open store %s: %w", path, err)
	}
	defer func() {
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	it, err := db.NewIter(&pebbledb.IterOptions{KeyTypes: pebbledb.IterKeyTypePointsAndRanges})
	if err != nil {
		return "", 0, fmt.Errorf("iterate over store %s: %w", path, err)
	}
	h := sha256.New()
	for valid := it.First(); valid; valid = it.Next() {
		point, span := it.HasPointAndRange()
		if span && it.RangeKeyChanged() {
			from, to := it.RangeBounds()
			fmt.Fprintf(h, "range %x to %x\n", from, to)
			for _, k := range it.RangeKeys() {
				fmt.Fprintf(h, "%x: %x\n", k.Suffix, k.Value)
			}
		}
		if point {
			keys++
			fmt.Fprintf(h, "key %x: %x\n", it.Key(), it.Value())
		}
	}
	if err := it.Close(); err != nil {
		return "", 0, fmt.Errorf("iterate over store %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), keys, nil
}

// Files gives the sha256 of each file in the directory by name, to show that
// nobody changed a byte.
func Files(dir string) (map[string]string, error) {
	sums := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		sums[e.Name()] = hex.EncodeToString(sum[:])
	}
	return sums, nil
}

// Options returns the text of the store's newest OPTIONS file.
func Options(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "OPTIONS-*"))
	if err != nil || len(names) == 0 {
		return "", fmt.Errorf("no OPTIONS file in %s", dir)
	}
	slices.Sort(names) // the numbers have leading zeros
	text, err := os.ReadFile(names[len(names)-1])
	return string(text), err
}
