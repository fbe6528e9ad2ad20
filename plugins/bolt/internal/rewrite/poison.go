package rewrite

import (
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// Poison says how to make a file useless: the magic and the checksum lie at the
// start of both metas. The older one goes first, as bbolt would fall back to it
// and give the next transaction a number that was used before. The headers of
// their pages stay: bbolt's own check demands them of a file whose newer meta is
// whole yet.
func Poison(meta page.Meta) []replace.Span {
	spoilt := func(id page.ID) replace.Span {
		return replace.Span{Offset: meta.Offset(id) + page.HeaderSize, Length: page.MinPageSize - page.HeaderSize}
	}
	return []replace.Span{spoilt(1 - meta.Page), spoilt(meta.Page)}
}
