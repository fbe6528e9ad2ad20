package command

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wringdb/wring/core/compaction"
)

// layer makes one of cells of equal bytes; a live part of -1 is an empty cell.
func layer(name string, bytes int64, live, tombstones []int) compaction.Layer {
	l := compaction.Layer{Name: name, LivePercent: live, TombstonePercent: tombstones}
	for i := range live {
		n := bytes
		if live[i] < 0 {
			n, live[i] = 0, 0
		}
		l.Bytes += n
		l.CellBytes = append(l.CellBytes, n)
		l.GarbagePercent = append(l.GarbagePercent, 100-live[i]-tombstones[i])
	}
	return l
}

func TestPrintLayers(t *testing.T) {
	none := make([]int, 12)
	for _, c := range []struct {
		name   string
		layers []compaction.Layer
		width  int
		want   string
	}{
		{"one", []compaction.Layer{layer("L6", 1<<10, []int{0, 1, 29, 30, 59, 60, 89, 90, 100, -1, 100, 49}, none)}, 80,
			"  L6 11.0 KiB │░░░▒▒▓▓██ █▒│\n"},
		// The tombstones outweigh what lives and what is dead together.
		{"two", []compaction.Layer{
			layer("L0", 60, []int{0, 0, 50, 51, -1, -1, -1, -1, 100, 20, 0, 0}, []int{100, 50, 50, 49, 0, 0, 0, 0, 0, 20, 49, 100}),
			layer("L6", 90, slices.Repeat([]int{100, 50, 0}, 4), none),
		}, 80, `
  L0    480 B │†††▒    █░░†│
  L6  1.1 KiB │█▒░█▒░█▒░█▒░│
  all 1.5 KiB │▓▒░▓▒░█▒▒▓▒░│
`},
		// Signs stand for several cells each, on a narrow screen for more of them.
		{"narrow", []compaction.Layer{layer("L6", 4<<20, slices.Repeat([]int{100, 100, 0, 0, -1, -1, 100, 0}, 4), make([]int, 32))}, 32,
			"  L6 96.0 MiB │█░ ▒█░ ▒█░ ▒█░ ▒│\n"},
		{"narrower than a picture", []compaction.Layer{layer("L6", 4<<20, slices.Repeat([]int{100, 0}, 16), make([]int, 32))}, 7,
			"  L6 128.0 MiB │▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			printLayers(&out, c.layers, c.width)
			legend, picture, _ := strings.Cut(strings.TrimPrefix(out.String(), "\n"), "\n")
			if want := "  layers by key (█ live, ▓▒ in part, ░ garbage, † tombstones, blank: nothing):"; legend != want {
				t.Errorf("legend %q, want %q", legend, want)
			}
			if want := strings.TrimPrefix(c.want, "\n"); picture != want {
				t.Errorf("got\n%swant\n%s", picture, want)
			}
		})
	}
}

// As many cells as there may be take the whole screen, whatever its width.
func TestLayersTakeTheScreen(t *testing.T) {
	layers := []compaction.Layer{
		layer("L0", 1, make([]int, 256), make([]int, 256)),
		layer("L6", 1<<30, make([]int, 256), make([]int, 256)),
	}
	for _, width := range []int{40, 80, 200} {
		var out strings.Builder
		printLayers(&out, layers, width)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")[1:]
		if len(lines) != 3 {
			t.Fatalf("%d lines, want one for each layer and one for all", len(lines))
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n != width {
				t.Errorf("a line of %d signs on a screen of %d:\n%s", n, width, line)
			}
		}
	}
}
