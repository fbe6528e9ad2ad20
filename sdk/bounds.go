package sdk

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// boundMap brings a picture into MaxMapCells cells of 0 to 100: too many are
// averaged, part by part.
func boundMap(cells []uint8) []uint8 {
	if cells == nil {
		return nil
	}
	n := min(len(cells), MaxMapCells)
	bounded := make([]uint8, n)
	for i := range bounded {
		part := cells[i*len(cells)/n : (i+1)*len(cells)/n]
		sum := 0
		for _, c := range part {
			sum += min(int(c), 100)
		}
		bounded[i] = uint8(sum / len(part))
	}
	return bounded
}

// checkLayers says what makes no sense in a picture. It is not mended: whoever
// draws it would draw something else than was meant.
func checkLayers(layers []MapLayer) error {
	if len(layers) > MaxLayers {
		return fmt.Errorf("%d layers; %d is the most", len(layers), MaxLayers)
	}
	names := make(map[string]bool, len(layers))
	for i, l := range layers {
		switch {
		case l.Name == "", len(l.Name) > MaxLayerName, !isPrintable(l.Name):
			return fmt.Errorf("layer %d is called %.64q, which is not 1 to %d printable bytes", i, l.Name, MaxLayerName)
		case names[l.Name]:
			return fmt.Errorf("two layers are called %s", l.Name)
		case len(l.Cells) != len(layers[0].Cells):
			return fmt.Errorf("%d cells in layer %s, and %d in %s", len(l.Cells), l.Name, len(layers[0].Cells), layers[0].Name)
		case len(l.Cells) == 0, len(l.Cells) > MaxLayerCells:
			return fmt.Errorf("%d cells in layer %s; 1 to %d are allowed", len(l.Cells), l.Name, MaxLayerCells)
		}
		names[l.Name] = true
		left := l.Bytes
		for n, c := range l.Cells {
			if c.Bytes < 0 || c.Bytes > left {
				return fmt.Errorf("%d bytes in cell %d of layer %s, which has %d left of %d", c.Bytes, n, l.Name, left, l.Bytes)
			}
			left -= c.Bytes
			if sum := int(c.Live) + int(c.Garbage) + int(c.Tombstones); sum > 100 {
				return fmt.Errorf("the parts of cell %d of layer %s are %d percent together", n, l.Name, sum)
			}
		}
	}
	return nil
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// boundMetrics drops what no JSON number can be, and all beyond MaxMetrics in
// the order of the names.
func boundMetrics(metrics map[string]float64) map[string]float64 {
	bounded := make(map[string]float64, min(len(metrics), MaxMetrics))
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if v := metrics[name]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			bounded[name] = v
		}
		if len(bounded) == MaxMetrics {
			break
		}
	}
	return bounded
}

// monotonic passes progress on so that it never runs backwards within a
// phase. Safe for use by several goroutines.
type monotonic struct {
	mu      sync.Mutex
	to      func(Progress)
	last    Progress
	stopped bool
}

func newMonotonic(to func(Progress)) *monotonic {
	return &monotonic{to: to}
}

func (m *monotonic) report(p Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.to == nil {
		return
	}
	if p.Phase == "" {
		p.Phase = m.last.Phase
	}
	least := Progress{BytesRead: m.last.BytesRead, BytesWritten: m.last.BytesWritten}
	if p.Phase == m.last.Phase {
		least.Done, least.Total = m.last.Done, m.last.Total
		if p.Unit == "" {
			p.Unit = m.last.Unit
		}
	}
	p.Done = max(p.Done, least.Done)
	p.Total = max(p.Total, least.Total)
	if p.Total > 0 {
		p.Total = max(p.Total, p.Done)
	}
	p.BytesRead = max(p.BytesRead, least.BytesRead)
	p.BytesWritten = max(p.BytesWritten, least.BytesWritten)
	m.last = p
	m.to(p)
}

// repeat passes on once more what was last passed on, if anything was.
func (m *monotonic) repeat() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.to == nil || m.last == (Progress{}) {
		return
	}
	m.to(m.last)
}

// stop makes every later report a no-op: the call has returned.
func (m *monotonic) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
}
