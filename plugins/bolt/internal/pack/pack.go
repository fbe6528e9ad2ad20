// Package pack is the rule by which a rewritten file shares its pages out among
// keys and values. The writer follows it, and a measurement foretells by it how
// large the file will be.
package pack

import "github.com/wringdb/wring/plugins/bolt/internal/page"

// Rule says which entries share a node. Entries come in the order of their
// keys, and a node that has been closed stays closed: so what it takes to
// decide is the open node and the next entry.
type Rule struct {
	pageSize int64
	limit    int64 // bytes that a node of one page takes by itself
}

// MaxEntries of a node is half of what its header can count. bbolt splits a node
// when it is too large and never for its entries, and panics when these are too
// many: so what is added to a node of tiny entries in huge pages needs room.
const MaxEntries = 0xFFFF / 2

// MinChildren of a branch; bbolt splits none into less.
const MinChildren = 2

// few entries leave much of a page empty where the next one does not fit.
const few = 4

// maxNode is what a node may grow to by a second large value, in bytes. bbolt
// addresses nodes of up to 2 GiB.
const maxNode = 1 << 30

// New makes the rule for pages of a size in bytes that are to be full up to
// fill, 0.1 to 1.
func New(pageSize int, fill float64) Rule {
	return Rule{pageSize: int64(pageSize), limit: int64(float64(pageSize) * fill)}
}

// EntrySize is what an entry takes in a node, in bytes.
func EntrySize(key, value int64) int64 { return page.ElementSize + key + value }

// Pages that a node of so many bytes takes, its header among them.
func (r Rule) Pages(used int64) int64 { return (used + r.pageSize - 1) / r.pageSize }

// Limit is how many bytes a node of one page takes by small entries.
func (r Rule) Limit() int64 { return r.limit }

// Joins says whether an entry of next bytes goes into the open node, which has
// count entries, at least one, that take used bytes with the node's header.
//
// Up to the fill it does, and where entries are so large that a page takes few
// of them, also beyond if that comes nearer to the fill: entries of half a page
// would else get a page each. Beyond the page, what would
// be left empty of large values decides: an entry that needs overflow pages
// joins where that saves a page, and a small one joins a node with overflow
// pages that has the room anyway. Nodes stay small by this: at most one page's
// worth of entries and a large one or two.
func (r Rule) Joins(used int64, count int, next int64) bool {
	total := used + next
	switch {
	case count >= MaxEntries, total > maxNode:
		return false
	case total <= r.limit, count < few && total <= r.pageSize && total-r.limit < r.limit-used:
		return true
	case used > r.pageSize && total <= r.Pages(used)*r.pageSize:
		return true
	case used > r.pageSize && count > 1, page.HeaderSize+next <= r.pageSize:
		return false
	}
	return r.Pages(total) < r.Pages(used)+r.Pages(page.HeaderSize+next)
}

// Inline says whether a bucket that has no bucket in it, and whose entries take
// so many bytes with the header of a page, lies within its parent's entry.
func (r Rule) Inline(used int64) bool { return used <= r.pageSize/4 }
