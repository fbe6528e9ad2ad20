package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/cockroachdb/pebble/v2/sstable"
)

// tree reads a drawing of tables: "0:b-d" is one of level 0 from b to d, a "!"
// behind it makes the end exclusive, a "+" makes the table thick with
// tombstones. Each table is 10 bytes large.
func tree(drawing string) [][]Table {
	levels := make([][]Table, 7)
	for word := range strings.FieldsSeq(drawing) {
		t := Table{Size: 10, Props: &sstable.Properties{}}
		t.Props.NumEntries = 100
		if rest, ok := strings.CutSuffix(word, "+"); ok {
			word, t.Props.NumDeletions = rest, 50
		}
		word, t.LargestExclusive = strings.CutSuffix(word, "!")
		var span string
		if _, err := fmt.Sscanf(word, "%d:%s", &t.Level, &span); err != nil {
			panic(err)
		}
		from, to, _ := strings.Cut(span, "-")
		t.Smallest, t.Largest = []byte(from), []byte(to)
		levels[t.Level] = append(levels[t.Level], t)
	}
	return levels
}

func TestRegions(t *testing.T) {
	cases := []struct {
		name    string
		tables  string
		pending string // "from-to", or "everywhere"
		want    string // regions; those that are rewritten have a star
	}{
		{"nothing", "", "", ""},
		{"lowest level alone", "6:a-c 6:d-f", "", "a-c d-f"},
		{"two levels that overlap", "5:b-e 6:a-c 6:d-f", "", "a-f*"},
		{"two levels side by side", "5:d-e 6:a-c 6:f-g", "", "a-c d-e f-g"},
		{"a part overlaps", "5:d-e 6:a-c 6:d-g 6:h-i", "", "a-c d-g* h-i"},
		{"level 0 over itself", "0:a-c 0:b-d", "", "a-d*"},
		{"touching keys overlap", "5:c-e 6:a-c", "", "a-e*"},
		{"an exclusive end does not touch", "6:a-c! 6:c-e", "", "a-c c-e"},
		{"an inclusive end wins", "5:a-c 6:b-c! 6:c-d", "", "a-d*"},
		{"thick with tombstones", "6:a-c+ 6:d-f", "", "a-c* d-f"},
		{"a lone thick table above", "3:a-c+", "", "a-c*"},
		{"pending writes", "6:a-c 6:d-f", "b-b", "a-c* d-f"},
		{"pending writes between tables", "6:a-c 6:e-f", "d-d", "a-c d-d* e-f"},
		{"pending writes everywhere", "6:a-c 6:e-f", "everywhere", "a-f*"},
		{"pending writes and no table", "", "a-b", "a-b*"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var pending *Pending
			if c.pending == "everywhere" {
				pending = &Pending{Writes: 1, Everywhere: true}
			} else if from, to, ok := strings.Cut(c.pending, "-"); ok {
				pending = &Pending{Writes: 1, Smallest: []byte(from), Largest: []byte(to)}
			}
			var got []string
			for _, r := range Regions(bytes.Compare, tree(c.tables), pending) {
				name := fmt.Sprintf("%s-%s", r.Start, r.End)
				if r.Rewritten() {
					name += "*"
				}
				got = append(got, name)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("regions %q, want %q", s, c.want)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	cases := []struct {
		name   string
		tables string
		chunk  int64
		want   string
	}{
		{"one", "5:a-b 6:a-c", 1, "a-c:20"},
		{"cut at the lowest tables", "5:a-b 6:a-c 5:d-e 6:c-f 5:g-h 6:f-i", 1, "a-c:30 c+-f:20 f+-i:10"},
		{"large steps", "5:a-b 6:a-c 5:d-e 6:c-f 5:g-h 6:f-i", 30, "a-c:30 c+-i:30"},
		{"one table above all", "0:a-i 6:a-c 6:d-f 6:g-h", 1, "a-c:40 c+-i:0"},
		{"level 0 alone", "0:a-d 0:c-f 0:e-h", 1, "a-d:20 d+-f:10 f+-h:0"},
		{"a single key", "0:a-a 0:a-a", 1, "a-a:20"},
		{"a tail above the lowest", "5:b-z 6:a-c", 100, "a-z:20"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			all := Regions(bytes.Compare, tree(c.tables), nil)
			if len(all) != 1 {
				t.Fatalf("%d regions, want 1", len(all))
			}
			var got []string
			for _, s := range all[0].Steps(pebbledb.DefaultComparer, c.chunk) {
				// A key that comes right behind another ends in a zero byte.
				start := strings.ReplaceAll(string(s.Start), "\x00", "+")
				got = append(got, fmt.Sprintf("%s-%s:%d", start, s.End, s.Bytes))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("steps %q, want %q", s, c.want)
			}
		})
	}
}

// TestStepsCover draws trees at random: steps follow each other without a gap,
// begin before they end, and count each table once.
func TestStepsCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var drawing strings.Builder
		for range 1 + rng.IntN(20) {
			from := rng.IntN(900)
			fmt.Fprintf(&drawing, "%d:%03d-%03d ", rng.IntN(5), from, from+rng.IntN(100))
		}
		key := 0
		for range rng.IntN(20) { // tables of the lowest level do not overlap
			from := key + 1 + rng.IntN(40)
			key = from + rng.IntN(40)
			fmt.Fprintf(&drawing, "6:%03d-%03d ", from, key)
		}
		for _, r := range Regions(bytes.Compare, tree(drawing.String()), nil) {
			steps := r.Steps(pebbledb.DefaultComparer, int64(rng.IntN(50)))
			if len(steps) == 0 {
				t.Fatalf("%s: no steps for %s-%s", drawing.String(), r.Start, r.End)
			}
			at, sum := r.Start, int64(0)
			for _, s := range steps {
				if !bytes.Equal(s.Start, at) {
					t.Fatalf("%s: a step begins at %s, want %s", drawing.String(), s.Start, at)
				}
				if bytes.Compare(s.Start, s.End) >= 0 && len(steps) > 1 {
					t.Fatalf("%s: a step from %s to %s", drawing.String(), s.Start, s.End)
				}
				at, sum = append(s.End, 0), sum+s.Bytes
			}
			if !bytes.Equal(at, append(r.End, 0)) || sum != r.Bytes() {
				t.Fatalf("%s: steps end at %s with %d bytes, want %s and %d", drawing.String(), at, sum, r.End, r.Bytes())
			}
		}
	}
}
