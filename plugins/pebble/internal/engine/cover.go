package engine

import (
	"maps"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// Cells are the key space in parts, each from where a table begins to where the next
// one does.
type Cells struct {
	Compare pebbledb.Compare
	starts  [][]byte
	raw     []int64 // bytes of keys and values, about
}

// CellsOf all tables.
func CellsOf(compare pebbledb.Compare, levels [][]Table) *Cells {
	tables := byKey(compare, levels)
	c := &Cells{Compare: compare}
	for _, t := range tables {
		if n := len(c.starts); n == 0 || compare(t.Smallest, c.starts[n-1]) > 0 {
			c.starts, c.raw = append(c.starts, t.Smallest), append(c.raw, 0)
		}
		c.raw[len(c.raw)-1] += t.RawBytes()
	}
	return c
}

// from is the cell that has the key, or the first one.
func (c *Cells) from(key []byte) int {
	at, ok := slices.BinarySearchFunc(c.starts, key, c.Compare)
	if !ok && at > 0 {
		at--
	}
	return at
}

// Cover takes cells bit by bit.
type Cover struct {
	*Cells
	taken map[int]bool
}

// Cover with nothing taken.
func (c *Cells) Cover() *Cover { return &Cover{c, map[int]bool{}} }

// Take the cells that have keys between two, both inclusive. It returns those that were
// not taken before, as few windows as they can be told as, and how many bytes of keys
// and values they have, about.
func (c *Cover) Take(from, to []byte) (fresh []Window, raw int64) {
	return c.take(from, func(start []byte) bool { return c.Compare(start, to) <= 0 })
}

// TakeAll takes what is left of a window.
func (c *Cover) TakeAll(w Window) (fresh []Window, raw int64) {
	return c.take(w.Start, func(start []byte) bool { return w.Upper == nil || c.Compare(start, w.Upper) < 0 })
}

func (c *Cover) take(from []byte, within func(start []byte) bool) (fresh []Window, raw int64) {
	var cells []int
	for i := c.from(from); i < len(c.starts) && within(c.starts[i]); i++ {
		if !c.taken[i] {
			c.taken[i] = true
			cells = append(cells, i)
			raw += c.raw[i]
		}
	}
	return c.windows(cells), raw
}

// Add takes what another has taken of the same cells.
func (c *Cover) Add(other *Cover) { maps.Copy(c.taken, other.taken) }

// Has says whether all cells were taken that have keys between two, both inclusive.
func (c *Cover) Has(from, to []byte) bool {
	for i := c.from(from); i < len(c.starts) && c.Compare(c.starts[i], to) <= 0; i++ {
		if !c.taken[i] {
			return false
		}
	}
	return true
}

// Taken is all that was taken.
func (c *Cover) Taken() []Window {
	cells := make([]int, 0, len(c.taken))
	for i := range c.taken {
		cells = append(cells, i)
	}
	slices.Sort(cells)
	return c.windows(cells)
}

func (c *Cover) windows(cells []int) (windows []Window) {
	for n, i := range cells {
		var end []byte // of the last cell there is none
		if i+1 < len(c.starts) {
			end = c.starts[i+1]
		}
		if n > 0 && cells[n-1] == i-1 {
			windows[len(windows)-1].Upper = end
			continue
		}
		windows = append(windows, Window{Region: Region{Start: c.starts[i]}, Upper: end})
	}
	return windows
}
