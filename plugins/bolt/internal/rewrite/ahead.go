package rewrite

import (
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// aheadBlock is what is read at a time, in bytes: about what a disk takes as
// long to find as to read.
const aheadBlock = 1 << 20

// cacheLine is what a processor fetches at a time, in bytes.
const cacheLine = 64

// readAhead brings the children of a branch nearer before they are visited one
// by one: scattered over the file as they are, each would be waited for by
// itself.
//
// Where they have to come from the disk, it asks for the blocks that they lie
// in. Each block is asked for once, so that little is read in vain, and nothing
// over and over where the memory is too small for the file. Where they are in
// memory, it reads the header of each: the processor fetches many at a time when
// none depends on the one before.
type readAhead struct {
	data  []byte // the mapped file
	meta  page.Meta
	asked []bool // blocks; nil for a file that is in memory
	sum   byte   // of what was read, lest the compiler leave it out
}

func newReadAhead(mapped []byte, meta page.Meta) *readAhead {
	r := &readAhead{data: mapped, meta: meta}
	if !inMemory(mapped) {
		r.asked = make([]bool, len(mapped)/aheadBlock+1)
	}
	return r
}

// branch is a hint: children that lie nowhere are found by the visit.
func (r *readAhead) branch(n *page.Node) {
	for i := range n.Count {
		id := n.Child(i)
		if id >= r.meta.HighWater {
			continue
		}
		at := r.meta.Offset(id)
		if r.asked != nil {
			r.ask(at)
			continue
		}
		r.sum ^= r.data[at] ^ r.data[at+cacheLine]
	}
}

func (r *readAhead) ask(at int64) {
	block := at / aheadBlock
	if r.asked[block] {
		return
	}
	r.asked[block] = true
	from := block * aheadBlock
	_ = unix.Madvise(r.data[from:min(from+aheadBlock, int64(len(r.data)))], unix.MADV_WILLNEED)
}
