package pebble

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// settle completes the options by what only the tables tell, and refuses tables that
// would lose something. It notes what people should know about.
func (v *view) settle(ctx context.Context, config Config) error {
	if err := v.checkCollectors(config); err != nil {
		return err
	}
	v.own.parsed.BlockPropertyCollectors = config.BlockPropertyCollectors
	if err := v.settleFormat(ctx); err != nil {
		return engine.ReadError("read the newest table of", v.path, err)
	}
	if len(v.own.unknown) > 0 {
		v.notes = append(v.notes, fmt.Sprintf("this version of Pebble does not know the settings %s; they stay in OPTIONS",
			strings.Join(v.own.unknown, ", ")))
	}
	return nil
}

// checkCollectors refuses tables with block properties that would get lost.
func (v *view) checkCollectors(config Config) error {
	known := map[string]bool{"": true, "obsolete-key": true} // the latter is Pebble's own
	for _, collector := range config.BlockPropertyCollectors {
		known[collector().Name()] = true
	}
	for _, t := range slices.Concat(v.levels...) {
		for name := range strings.SplitSeq(strings.Trim(t.Props.PropertyCollectorNames, "[]"), ",") {
			if !known[name] {
				return unknownCode(v.directory, "block property collector", name, "BlockPropertyCollectors")
			}
		}
	}
	return nil
}

// checkKeySchemas refuses tables in a layout that is not known: Pebble panics over
// them, with a lock held.
func (v *view) checkKeySchemas(ctx context.Context) error {
	if v.format < pebbledb.FormatColumnarBlocks {
		return nil
	}
	levels, err := v.db.SSTables()
	if err != nil {
		return engine.ReadError("list the tables of", v.path, err)
	}
	for _, t := range slices.Concat(levels...) {
		var panicked any
		err := func() error {
			defer func() { panicked = recover() }()
			return v.readTable(ctx, uint64(t.BackingSSTNum), func(vfs.File, *sstable.Reader) error { return nil })
		}()
		if panicked != nil {
			return needsCode("KeySchemas", "%s has a table that this plugin does not know how to read: %v", v.path, panicked)
		}
		if err != nil {
			return engine.ReadError("read a table of", v.path, err)
		}
	}
	return nil
}

// settleFormat finds out what the OPTIONS file does not tell of the format of tables:
// whether values have blocks of their own, where the store's format leaves a choice, and
// whether blocks have columns, which later versions of Pebble do not write down. Where
// there are settings that are not known, the newest table must be as this version would
// write it.
func (v *view) settleFormat(ctx context.Context) error {
	own := v.own
	columns := own.columnsUnset && v.format.MaxTableFormat().BlockColumnar()
	tables := slices.Concat(v.levels...)
	if len(tables) == 0 {
		if columns && len(own.unknown) > 0 { // it is a later version
			own.parsed.Experimental.EnableColumnarBlocks = func() bool { return true }
		}
		return nil
	}
	values := v.format.MaxTableFormat() == sstable.TableFormatPebblev3
	if !columns && !values && len(own.unknown) == 0 {
		return nil
	}
	newest := slices.MaxFunc(tables, byAge)
	var format sstable.TableFormat
	err := v.readTable(ctx, newest.Backing, func(_ vfs.File, r *sstable.Reader) (err error) {
		format, err = r.TableFormat()
		return err
	})
	if err != nil {
		return err
	}
	if values {
		own.parsed.Experimental.EnableValueBlocks = func() bool { return format >= sstable.TableFormatPebblev3 }
	}
	if columns {
		own.parsed.Experimental.EnableColumnarBlocks = func() bool { return format.BlockColumnar() }
	}
	if len(own.unknown) > 0 {
		return v.checkNewest(newest, format)
	}
	return nil
}

// checkNewest refuses a table that this version of Pebble would write otherwise.
func (v *view) checkNewest(t engine.Table, format sstable.TableFormat) error {
	options := v.own.parsed.Clone()
	options.EnsureDefaults()
	differs := func(what string, has, would any) error {
		return newerError("%s has the settings %s, which this version of Pebble does not know, and its newest table has the %s %v, where it would write %v",
			v.path, strings.Join(v.own.unknown, ", "), what, has, would)
	}
	if would := v.own.tableFormat(); format != would {
		return differs("format", format, would)
	}
	if schema := t.Props.KeySchemaName; format.BlockColumnar() && schema != options.KeySchema {
		return differs("key schema", schema, options.KeySchema)
	}
	if t.Keys() == 0 {
		return nil // of nothing there is no filter
	}
	has := cmp.Or(t.Props.FilterPolicyName, pebbledb.NoFilterPolicy.Name())
	// Pebble moves tables down as they are.
	for _, level := range options.Levels[:t.Level+1] {
		if level.FilterPolicy.Name() == has {
			return nil
		}
	}
	return differs("filter", has, options.Levels[t.Level].FilterPolicy.Name())
}

// byAge puts the newest table last. Files are numbered in the order of their making.
func byAge(a, b engine.Table) int { return int(int64(a.Backing) - int64(b.Backing)) }

// settleFilters finds out how large bloom filters are, unless bits per key are chosen:
// the OPTIONS file has no more than their name.
func (v *view) settleFilters(ctx context.Context, chosen float64) error {
	if len(v.own.bloomLevels) == 0 {
		if chosen > 0 {
			v.notes = append(v.notes, fmt.Sprintf("%s has no effect: by the store's settings its tables have no bloom filters", optionFilterBits))
		}
		return nil
	}
	var bits [engine.Bottom + 1]int
	source := "as in the tables"
	for level := range bits {
		var err error
		if chosen > 0 {
			bits[level], source = int(chosen), "as the option says"
		} else if bits[level], err = v.filterBits(ctx, v.levels[level]); err != nil {
			return err
		}
	}
	first := slices.IndexFunc(bits[:], func(n int) bool { return n > 0 })
	if first < 0 {
		first, source = 0, "the usual number: the store's tables have none yet"
		bits[0] = engine.StandardFilterBits
	}
	// A level without tables is taken for one like that above it.
	usual := bits[first]
	var differ []string
	for level, last := 0, usual; level < len(bits); level++ {
		if bits[level] == 0 {
			bits[level] = last
		}
		last = bits[level]
		if !slices.Contains(v.own.bloomLevels, level) {
			continue
		}
		v.own.parsed.Levels[level].FilterPolicy = bloom.FilterPolicy(last)
		if last != usual {
			differ = append(differ, fmt.Sprintf(", %d in level %d", last, level))
		}
	}
	v.notes = append(v.notes, fmt.Sprintf("bloom filters have %d bits per key%s, %s", usual, strings.Join(differ, ""), source))
	return nil
}

// distinct is how large a filter is, in bytes, that tells its bits per key for sure.
const distinct = 4 << 10

// filterBits is of the newest table whose filter tells for sure, or else of the one
// with the largest filter: the application may have changed its mind. It is 0 where
// no table has a filter.
func (v *view) filterBits(ctx context.Context, tables []engine.Table) (int, error) {
	var with []engine.Table
	for _, t := range tables {
		if t.HasBloom() {
			with = append(with, t)
		}
	}
	if len(with) == 0 {
		return 0, nil
	}
	best := slices.MaxFunc(with, func(a, b engine.Table) int { return int(int64(a.Props.FilterSize) - int64(b.Props.FilterSize)) })
	with = slices.DeleteFunc(with, func(t engine.Table) bool { return t.Props.FilterSize < distinct })
	if len(with) > 0 {
		best = slices.MaxFunc(with, byAge)
	}
	var filter engine.BloomFilter
	err := v.readTable(ctx, best.Backing, func(file vfs.File, r *sstable.Reader) (err error) {
		filter, err = engine.ReadBloomFilter(ctx, file, r, v.own.comparer().Split)
		return err
	})
	return filter.Bits(), err
}

// readTable opens a table's file by itself: the properties do not tell everything.
func (v *view) readTable(ctx context.Context, number uint64, read func(vfs.File, *sstable.Reader) error) error {
	file, err := v.fs.Open(filepath.Join(v.path, fmt.Sprintf("%06d.sst", number)))
	if err != nil {
		return err
	}
	defer file.Close() // a second time, if the reader got as far
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return err
	}
	r, err := sstable.NewReader(ctx, readable, v.own.parsed.MakeReaderOptions())
	if err != nil {
		return err
	}
	err = read(file, r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}
