package bolt

import (
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// aheadBlock is what is read at a time, in bytes: about what a disk takes as
// long to find as to read.
const aheadBlock = 1 << 20

// readAhead asks for the blocks in which the children of a branch lie before
// these are visited one by one: scattered over the file as they are, they would
// be waited for one by one where they have to come from the disk. Each block is
// asked for once, so that little is read in vain, and nothing over and over
// where the memory is too small for the file.
type readAhead struct {
	data  []byte // the mapped file
	meta  page.Meta
	asked []bool
}

// newReadAhead returns nil for a file that is in memory already.
func newReadAhead(mapped []byte, meta page.Meta) *readAhead {
	if inMemory(mapped) {
		return nil
	}
	return &readAhead{data: mapped, meta: meta, asked: make([]bool, len(mapped)/aheadBlock+1)}
}

// branch asks for the children. It is a hint: where it fails the visit will
// tell.
func (r *readAhead) branch(n *page.Node) {
	for i := range n.Count {
		if n.Child(i) >= r.meta.HighWater {
			continue
		}
		block := r.meta.Offset(n.Child(i)) / aheadBlock
		if r.asked[block] {
			continue
		}
		r.asked[block] = true
		from := block * aheadBlock
		_ = unix.Madvise(r.data[from:min(from+aheadBlock, int64(len(r.data)))], unix.MADV_WILLNEED)
	}
}
