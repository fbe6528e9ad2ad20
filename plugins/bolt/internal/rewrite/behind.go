package rewrite

import "github.com/wringdb/wring/plugins/bolt/internal/page"

// A mapping is given back once around for every so many bytes that are read of
// it. Pages that lie scattered have to be brought back then: at a quarter of that
// it takes a fifth of the time of a rewrite of a file of a gigabyte.
const forgetEvery = 1 << 30

// forgetParts of a mapping are given back one by one, since a large one takes the
// system a while.
const forgetParts = 16

// behind gives a mapped file back to the system while it is read. What was read
// would else count as memory of the process until the end, which whoever watches
// or bounds that takes for its own. Nodes are read in the order of the keys and
// lie anywhere, so it goes round the file without regard to them: what is needed
// again comes from the system's cache.
type behind struct {
	mapping *page.Mapping
	every   int64 // forgetEvery
	bytes   int64 // read since the last part was given back
	part    int64 // to be given back next
}

// read accounts for bytes of the mapping.
func (b *behind) read(bytes int64) {
	if b.bytes += bytes; b.bytes < b.every/forgetParts {
		return
	}
	b.bytes = 0
	size := int64(len(b.mapping.Data))
	b.mapping.Forget(b.part*size/forgetParts, (b.part+1)*size/forgetParts)
	b.part = (b.part + 1) % forgetParts
}
