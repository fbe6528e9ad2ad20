package rebuild

import (
	"fmt"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// TestWriteAnything has stores of any history, few enough keys for all to meet, and
// tables as small as an entry.
func TestWriteAnything(t *testing.T) {
	formats := []pebbledb.FormatMajorVersion{pebbledb.FormatMinSupported, pebbledb.FormatColumnarBlocks, pebbledb.FormatNewest}
	rapid.Check(t, func(r *rapid.T) {
		format := rapid.SampledFrom(formats).Draw(r, "format")
		size := rapid.Int64Range(1, 4<<10).Draw(r, "size of tables")
		from, into := open(r, format), open(r, format)
		for range rapid.IntRange(0, 60).Draw(r, "changes") {
			change(r, from)
		}
		tables, paths := from.tables(into, size)
		n, err := tables.Write(r.Context(), from, func(int64) {})
		from.do(r, err)
		if n > 0 {
			into.do(r, into.Ingest(r.Context(), *paths))
		}
		levels, err := engine.ReadLevels(into.DB)
		into.do(r, err)
		if len(levels[engine.Bottom]) != n {
			r.Errorf("%d tables of %d are in the lowest level", len(levels[engine.Bottom]), n)
		}
		if want, got := content(r, from), content(r, into); want != got {
			r.Errorf("the tables have %+v, the store %+v", got, want)
		}
		into.do(r, into.CheckLevels(nil))
	})
}

func change(r *rapid.T, s store) {
	name := func(label string) []byte { return fmt.Appendf(nil, "n%02d", rapid.IntRange(0, 20).Draw(r, label)) }
	suffix := func() []byte {
		if v := rapid.IntRange(0, 5).Draw(r, "version"); v > 0 {
			return fmt.Append(nil, "@", v)
		}
		return nil
	}
	key := append(name("name"), suffix()...)
	value := value(rapid.IntRange(0, 1000).Draw(r, "value"))
	from, to := name("from"), name("to")
	if s.options.Comparer.Compare(from, to) >= 0 {
		to = append(from[:len(from):len(from)], 'x')
	}
	switch rapid.IntRange(0, 9).Draw(r, "change") {
	case 0, 1, 2, 3:
		s.do(r, s.Set(key, value, nil))
	case 4:
		s.do(r, s.Merge(key, value, nil))
	case 5:
		s.do(r, s.Delete(key, nil))
	case 6:
		s.do(r, s.DeleteRange(from, to, nil))
	case 7:
		s.do(r, s.RangeKeySet(from, to, suffix(), value, nil))
	case 8:
		s.do(r, s.RangeKeyUnset(from, to, suffix(), nil))
	case 9:
		s.do(r, s.Flush())
	}
}
