package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/rebuild"
)

// compressionProfiles are those that Pebble has, by the names that the option gives
// them.
var compressionProfiles = []struct {
	name    string
	profile *sstable.CompressionProfile
}{
	{"none", sstable.NoCompression},
	{"snappy", sstable.SnappyCompression},
	{"zstd", sstable.ZstdCompression},
	{"minlz", sstable.MinLZCompression},
	{"fastest", sstable.FastestCompression},
	{"fast", sstable.FastCompression},
	{"balanced", sstable.BalancedCompression},
	{"good", sstable.GoodCompression},
}

func compressionNames() []string {
	names := make([]string, len(compressionProfiles))
	for i, c := range compressionProfiles {
		names[i] = c.name
	}
	return names
}

// tableFormat is that of new tables. The view itself was opened before it was known
// whether they have value blocks, or columns.
func (o *ownOptions) tableFormat() sstable.TableFormat {
	format := o.parsed.FormatMajorVersion.MaxTableFormat()
	set := func(f func() bool) bool { return f != nil && f() }
	switch { // as Pebble does
	case format == sstable.TableFormatPebblev3 && !set(o.parsed.Experimental.EnableValueBlocks):
		return sstable.TableFormatPebblev2
	case format.BlockColumnar() && !set(o.parsed.Experimental.EnableColumnarBlocks):
		return sstable.TableFormatPebblev4
	}
	return format
}

// writerOptions are those of tables of the lowest level.
func (v *view) writerOptions(compression *sstable.CompressionProfile) sstable.WriterOptions {
	options := v.own.parsed.Clone()
	options.EnsureDefaults()
	o := options.MakeWriterOptions(engine.Bottom, v.own.tableFormat())
	if compression != nil {
		o.Compression = compression
	}
	return o
}

// recompressed says whether tables have another compression than they shall.
func (v *view) recompressed(compression *sstable.CompressionProfile) bool {
	if compression == nil {
		return false
	}
	for _, level := range v.levels {
		for _, t := range level {
			if t.Props.CompressionName != compression.Name {
				return true
			}
		}
	}
	return false
}

// compressionNotes are for people, about a compression that is not the store's own.
func (v *view) compressionNotes(compression *sstable.CompressionProfile) []string {
	own := v.writerOptions(nil).Compression
	if compression == nil || compression == own {
		return nil
	}
	return []string{fmt.Sprintf("tables have the compression %s; OPTIONS still says %s, with which the application writes them when it compacts",
		compression.Name, own.Name)}
}

const (
	// ratioStarts is at how many places a sample is compressed.
	ratioStarts = 16
	// ratioBytes is how much of each, before compression.
	ratioBytes = 256 << 10
)

// ratio is how large tables become with another compression, for each byte that they
// have now.
func (v *view) ratio(ctx context.Context, compression *sstable.CompressionProfile) (float64, error) {
	var starts [][]byte
	var size, raw int64
	for _, r := range v.regions() { // in the order of their keys
		for _, t := range r.Tables {
			starts = append(starts, t.Smallest)
			size += t.Size
			raw += t.RawBytes()
		}
	}
	if len(starts) > ratioStarts {
		for i := range ratioStarts {
			starts[i] = starts[i*len(starts)/ratioStarts]
		}
		starts = starts[:ratioStarts]
	}
	newSize, newRaw, err := rebuild.Weigh(ctx, v.db, v.writerOptions(compression), starts, ratioBytes)
	if err != nil || newRaw == 0 || size == 0 {
		return 1, err
	}
	return float64(newSize) / float64(newRaw) * float64(raw) / float64(size), nil
}
