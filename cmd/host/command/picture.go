package command

import (
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/sdk"
)

// shades are how full a cell is, from empty to full.
var shades = []rune(" ░▒▓█")

// printMap draws how full each part of a store is, in rows as wide as the
// screen takes, up to 64.
func printMap(w io.Writer, cells []int, width int) {
	if len(cells) == 0 {
		return
	}
	perRow := max(narrowest, min(64, width-4))
	fmt.Fprintf(w, "\n  how full each part is (blank: free, %c: full):\n", shades[len(shades)-1])
	for row := range slices.Chunk(cells, perRow) {
		line := make([]rune, len(row))
		for i, percent := range row {
			line[i] = shade(percent)
		}
		fmt.Fprintf(w, "  │%s│\n", string(line))
	}
}

// shade keeps the blank for what is quite empty, and the full block for what
// is nearly full.
func shade(percent int) rune {
	switch {
	case percent <= 0:
		return shades[0]
	case percent >= 90:
		return shades[4]
	}
	return shades[1+percent/30]
}

// tombstone marks where tombstones are half of what lies there, or more.
const tombstone = '†'

// narrowest is how many signs a line of a picture has on any screen.
const narrowest = 16

// printLayers draws what each layer of a store holds, from the smallest key to the
// largest, in one line as wide as the screen takes, and below that all of them
// together.
func printLayers(w io.Writer, layers []compaction.Layer, width int) {
	lines := make([]layerLine, 0, len(layers)+1)
	for _, l := range layers {
		lines = append(lines, newLayerLine(l))
	}
	if len(lines) > 1 {
		lines = append(lines, together(lines))
	}
	names, sizes := 0, 0
	for _, l := range lines {
		names, sizes = max(names, utf8.RuneCountInString(l.name)), max(sizes, len(sdk.FormatBytes(l.bytes)))
	}
	signs := max(narrowest, width-names-sizes-utf8.RuneCountInString("    ││"))
	fmt.Fprintf(w, "\n  layers by key (%c live, %c%c in part, %c garbage, %c tombstones, blank: nothing):\n",
		shades[4], shades[3], shades[2], shades[1], tombstone)
	for _, l := range lines {
		fmt.Fprintf(w, "  %-*s %*s │%s│\n", names, l.name, sizes, sdk.FormatBytes(l.bytes), l.strip(signs))
	}
}

// layerLine is a layer with what each cell has of everything, in bytes.
type layerLine struct {
	name  string
	bytes int64
	cells []layerCell
}

type layerCell struct{ bytes, live, tombstones float64 }

func (c *layerCell) add(other layerCell) {
	c.bytes += other.bytes
	c.live += other.live
	c.tombstones += other.tombstones
}

func newLayerLine(l compaction.Layer) layerLine {
	line := layerLine{name: l.Name, bytes: l.Bytes, cells: make([]layerCell, len(l.CellBytes))}
	for i, bytes := range l.CellBytes {
		b := float64(bytes)
		line.cells[i] = layerCell{bytes: b, live: b * float64(l.LivePercent[i]) / 100, tombstones: b * float64(l.TombstonePercent[i]) / 100}
	}
	return line
}

// together is all lines in one.
func together(lines []layerLine) layerLine {
	all := layerLine{name: "all", cells: make([]layerCell, len(lines[0].cells))}
	for _, l := range lines {
		all.bytes += l.bytes
		for i, c := range l.cells {
			all.cells[i].add(c)
		}
	}
	return all
}

// strip draws the cells with at most that many signs.
func (l layerLine) strip(signs int) string {
	signs = min(signs, len(l.cells))
	line := make([]rune, signs)
	for i := range line {
		var c layerCell
		for _, other := range l.cells[i*len(l.cells)/signs : (i+1)*len(l.cells)/signs] {
			c.add(other)
		}
		line[i] = c.sign()
	}
	return string(line)
}

func (c layerCell) sign() rune {
	switch {
	case c.bytes <= 0:
		return ' '
	case c.tombstones >= c.bytes/2:
		return tombstone
	}
	return shade(max(1, int(100*c.live/c.bytes+0.5)))
}
