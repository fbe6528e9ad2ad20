package engine

import (
	"bytes"
	"slices"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// Cover is a window in parts that are taken bit by bit. A part begins where a table
// does.
type Cover struct {
	compare pebbledb.Compare
	starts  [][]byte
	raw     []int64 // bytes of keys and values, about
	upper   []byte  // exclusive, of the last part; nil is no bound
	taken   []bool
}

// Cover of the window, with nothing taken.
func (w Window) Cover(compare pebbledb.Compare) *Cover {
	c := &Cover{compare: compare, starts: [][]byte{w.Start}, raw: []int64{0}, upper: w.Upper}
	for _, t := range w.Tables { // in the order of their smallest keys
		if compare(t.Smallest, c.starts[len(c.starts)-1]) > 0 {
			c.starts, c.raw = append(c.starts, t.Smallest), append(c.raw, 0)
		}
		c.raw[len(c.raw)-1] += t.RawBytes()
	}
	c.taken = make([]bool, len(c.starts))
	return c
}

// Take the parts that have keys between two, both inclusive. It returns those that
// were not taken before, as few as they can be told as, and how many bytes of keys and
// values they have, about.
func (c *Cover) Take(from, to []byte) (fresh []Window, raw int64) {
	return c.runs(func(i int) bool {
		if c.taken[i] || c.compare(c.starts[i], to) > 0 || (i+1 < len(c.starts) && c.compare(c.starts[i+1], from) <= 0) {
			return false
		}
		c.taken[i] = true
		return true
	})
}

// TakeAll takes what is left.
func (c *Cover) TakeAll() (fresh []Window, raw int64) {
	return c.runs(func(i int) bool {
		fresh := !c.taken[i]
		c.taken[i] = true
		return fresh
	})
}

// Taken is all that was taken.
func (c *Cover) Taken() []Window {
	taken, _ := c.runs(func(i int) bool { return c.taken[i] })
	return taken
}

func (c *Cover) runs(of func(i int) bool) (runs []Window, raw int64) {
	for i, start := range c.starts {
		if !of(i) {
			continue
		}
		raw += c.raw[i]
		end := c.upper
		if i+1 < len(c.starts) {
			end = c.starts[i+1]
		}
		if n := len(runs); n > 0 && bytes.Equal(runs[n-1].Upper, start) {
			runs[n-1].Upper = end
			continue
		}
		runs = append(runs, Window{Region: Region{Start: start}, Upper: end})
	}
	return slices.Clip(runs), raw
}
