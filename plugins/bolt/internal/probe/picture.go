package probe

import "github.com/wringdb/wring/plugins/bolt/internal/page"

// maxCells is how finely a picture may divide a file.
const maxCells = 1024

// picture is how full consecutive equal parts of the file are. Where none is
// wanted it is nil, for which node and take do nothing.
type picture struct {
	highWater page.ID
	cells     []cell
}

type cell struct {
	pages float64 // in the part
	taken float64 // of those, not free
	fill  float64 // sum over the pages whose fill is known, 0 to 1 each
	known float64 // number of those
}

func newPicture(highWater page.ID) *picture {
	p := &picture{highWater: highWater, cells: make([]cell, min(highWater, maxCells))}
	for i := range p.cells {
		p.cells[i].pages = float64(p.first(i+1) - p.first(i))
	}
	return p
}

// first page of a cell: the least id with at(id) == i.
func (p *picture) first(i int) page.ID {
	n := page.ID(len(p.cells))
	return (page.ID(i)*p.highWater + n - 1) / n
}

func (p *picture) at(id page.ID) *cell { return &p.cells[id*page.ID(len(p.cells))/p.highWater] }

// take marks pages as not free.
func (p *picture) take(id page.ID, pages int) {
	for i := 0; p != nil && i < pages; i++ {
		p.at(id+page.ID(i)).taken++
	}
}

// takeAll marks every page as not free, give one as free.
func (p *picture) takeAll() {
	for i := range p.cells {
		p.cells[i].taken = p.cells[i].pages
	}
}

func (p *picture) give(id page.ID) { p.at(id).taken-- }

// node notes how full the pages of a node are, of which used bytes are in use.
func (p *picture) node(n *page.Node, used int64) {
	if p == nil {
		return
	}
	each := float64(used) / float64(n.Bytes())
	for i := range n.Pages {
		c := p.at(n.ID + page.ID(i))
		c.fill += each
		c.known++
	}
}

// percent returns the cells, 0 to 100 each. Where no page's fill is known the
// average over the file stands in.
func (p *picture) percent() []uint8 {
	if p == nil {
		return nil
	}
	var fill, known float64
	for _, c := range p.cells {
		fill, known = fill+c.fill, known+c.known
	}
	average := 1.0
	if known > 0 {
		average = fill / known
	}
	percent := make([]uint8, len(p.cells))
	for i, c := range p.cells {
		density := average
		if c.known > 0 {
			density = c.fill / c.known
		}
		percent[i] = uint8(max(0, min(100, 100*c.taken/c.pages*density+0.5)))
	}
	return percent
}
