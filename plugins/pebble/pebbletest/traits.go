package pebbletest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Traits are how a store is made, beside what is in it: what a compaction has to
// leave as it is.
type Traits struct {
	// Names are equal or not: the OPTIONS file's text, the format's marker, and what
	// the tables of the lowest level say, each with all values that occur.
	Names map[string]string
	// Sizes are means over these tables, in bytes, which depend on the content too; 0
	// where there are too few to tell, and then they are not compared.
	Sizes map[string]float64
}

// sizeTolerance is how far sizes may lie apart, as a part of the larger one.
const sizeTolerance = 0.25

// byContent are the properties of tables that follow from what is in them. All
// others, also those that Pebble has yet to invent, must stay as they are. FilterSize
// is held against the keys instead, and index blocks are measured.
var byContent = []string{
	"NumEntries", "RawKeySize", "RawValueSize", "NumDataBlocks", "DataSize",
	"NumDeletions", "NumSizedDeletions", "NumRangeDeletions", "NumTombstoneDenseBlocks",
	"RawPointTombstoneKeySize", "RawPointTombstoneValueSize",
	"NumRangeKeyDels", "NumRangeKeySets", "NumRangeKeyUnsets", "RawRangeKeyKeySize", "RawRangeKeyValueSize",
	"NumMergeOperands", "SnapshotPinnedKeys", "SnapshotPinnedKeySize", "SnapshotPinnedValueSize",
	"ValueBlocksSize", "NumValueBlocks", "NumValuesInValueBlocks", "NumValuesInBlobFiles",
	"FilterSize", "IndexType", "IndexPartitions", "IndexSize", "TopLevelIndexSize",
	"CompressionStats", // of which the names are compared, but for blocks that do not compress
	"UserProperties",   // likewise
	"Loaded",           // where the others are in memory
}

// ReadTraits reads a store that nobody has open. The options may be nil; comparer,
// merger and key schemas of them matter.
func ReadTraits(path string, options *pebbledb.Options) (Traits, error) {
	t := Traits{Names: map[string]string{}, Sizes: map[string]float64{}}
	var err error
	if t.Names["OPTIONS"], err = Options(path); err != nil {
		return Traits{}, err
	}
	markers, err := filepath.Glob(filepath.Join(path, "marker.format-version.*"))
	if err != nil || len(markers) != 1 {
		return Traits{}, fmt.Errorf("markers of the format in %s: %v, %w", path, markers, err)
	}
	t.Names["format"] = filepath.Base(markers[0])

	o := options.Clone() // of nil, too
	tables, err := lowestTables(path, o)
	if err != nil {
		return Traits{}, err
	}
	seen := map[string]map[string]bool{}
	add := func(name, value string) {
		if seen[name] == nil {
			seen[name] = map[string]bool{}
		}
		seen[name][value] = true
	}
	var sum tableSizes
	for i, number := range tables {
		if i == len(tables)-1 && i > 0 {
			sum.full = sum.raw / sum.tables // the last one is not
		}
		if err := readTable(path, number, o, add, &sum); err != nil {
			return Traits{}, fmt.Errorf("table %d of %s: %w", number, path, err)
		}
	}
	for name, values := range seen {
		t.Names[name] = strings.Join(slices.Sorted(maps.Keys(values)), " | ")
	}
	t.Names["filter bits"] = fmt.Sprint(sum.filterBits)
	t.Sizes["table"] = sum.full
	t.Sizes["data block"] = sum.raw / sum.blocks
	t.Sizes["index block"] = sum.index / max(1, sum.indexes)
	return t, nil
}

// Differences names the traits that are others in the second store.
func (t Traits) Differences(o Traits) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(merged(t.Names, o.Names))) {
		if t.Names[name] != o.Names[name] {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(merged(t.Sizes, o.Sizes))) {
		a, b := t.Sizes[name], o.Sizes[name]
		if min(a, b) > 0 && math.Abs(a-b) > sizeTolerance*max(a, b) {
			names = append(names, name)
		}
	}
	return names
}

func merged[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// lowestTables lists the files of the lowest level, and completes the options.
func lowestTables(path string, o *pebbledb.Options) (files []uint64, err error) {
	o.ReadOnly, o.ErrorIfNotExists, o.Logger = true, true, quiet{}
	db, err := pebbledb.Open(path, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	levels, err := db.SSTables()
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	for _, tables := range slices.Backward(levels) {
		for _, table := range tables {
			files = append(files, uint64(table.BackingSSTNum))
		}
		if len(files) > 0 {
			break
		}
	}
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("store %s has no tables", path)
	}
	o.FS = vfs.Default
	o.EnsureDefaults()
	return files, err
}

// tableSizes are sums over tables.
type tableSizes struct {
	tables, raw, blocks float64
	full                float64 // is the mean of tables that are as large as they may be
	index, indexes      float64 // of tables with many index blocks
	// filterBits are the bits per key that the filters of all tables may have been
	// made with; nil for none that all could.
	filterBits []int
}

func readTable(path string, number uint64, o *pebbledb.Options, add func(name, value string), sum *tableSizes) error {
	name := filepath.Join(path, fmt.Sprintf("%06d.sst", number))
	file, err := vfs.Default.Open(name)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return err
	}
	r, err := sstable.NewReader(context.Background(), readable, o.MakeReaderOptions())
	if err != nil {
		return err
	}
	defer r.Close()
	format, err := r.TableFormat()
	if err != nil {
		return err
	}
	add("TableFormat", format.String())
	props, err := r.ReadPropertiesBlock(context.Background(), nil)
	if err != nil {
		return err
	}
	addProperties(reflect.ValueOf(props), add)
	for name := range props.UserProperties {
		add("UserProperties", name)
	}
	for setting := range strings.SplitSeq(props.CompressionStats, ",") {
		if name, _, _ := strings.Cut(setting, ":"); name != block.NoCompression.Name {
			add("CompressionStats", name)
		}
	}
	add("values in blob files", fmt.Sprint(props.NumValuesInBlobFiles > 0))
	bits, err := filterBits(name, r, o.Comparer.Split)
	if err != nil {
		return err
	}
	if sum.tables == 0 {
		sum.filterBits = bits
	}
	sum.filterBits = slices.DeleteFunc(sum.filterBits, func(n int) bool { return !slices.Contains(bits, n) })
	sum.tables++
	sum.raw += float64(props.RawKeySize + props.RawValueSize)
	sum.blocks += float64(props.NumDataBlocks)
	if props.IndexPartitions > 2 { // the last one is not full
		sum.index += float64(props.IndexSize)
		sum.indexes += float64(props.IndexPartitions)
	}
	return nil
}

func addProperties(props reflect.Value, add func(name, value string)) {
	for i := range props.NumField() {
		field := props.Type().Field(i)
		switch {
		case field.Anonymous:
			addProperties(props.Field(i), add)
		case !slices.Contains(byContent, field.Name):
			add(field.Name, fmt.Sprint(props.Field(i).Interface()))
		}
	}
}

// filterBits makes a table's bloom filter again until it is the one in the table, byte
// for byte. With few keys several numbers give the same. Without a filter it is 0.
func filterBits(name string, r *sstable.Reader, split pebbledb.Split) (fit []int, err error) {
	layout, err := r.Layout()
	if err != nil {
		return nil, err
	}
	handle, ok := layout.FilterByName("fullfilter." + bloom.FilterPolicy(1).Name())
	if !ok {
		return []int{0}, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.DebugHandlesBlobContext)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for kv := it.First(); kv != nil; kv = it.Next() {
		keys = append(keys, bytes.Clone(kv.K.UserKey[:split(kv.K.UserKey)]))
	}
	if err := it.Close(); err != nil || len(keys) == 0 {
		return nil, err
	}
	want := content[handle.Offset : handle.Offset+handle.Length]
	for bits := 1; bits <= 64; bits++ {
		// Five bytes before the end it says how many bits each key has.
		if one := bloomOf(bits, keys[:1]); one[len(one)-5] == want[len(want)-5] && bytes.Equal(bloomOf(bits, keys), want) {
			fit = append(fit, bits)
		}
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("the filter of %d bytes for %d keys is none of Pebble's", handle.Length, len(keys))
	}
	return fit, nil
}

func bloomOf(bits int, keys [][]byte) []byte {
	w := bloom.FilterPolicy(bits).NewWriter(pebbledb.TableFilter)
	for _, key := range keys {
		w.AddKey(key)
	}
	return w.Finish(nil)
}
