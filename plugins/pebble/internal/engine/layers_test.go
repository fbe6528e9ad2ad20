package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// openShape makes a store of small tables in memory and opens it.
func openShape(t *testing.T, spec pebbletest.Spec) *pebbledb.DB {
	t.Helper()
	fs := vfs.NewMem()
	spec.ValueBytes = 1 << 10
	spec.Adjust = func(o *pebbledb.Options) {
		o.FS = fs
		for i := range o.TargetFileSizes {
			o.TargetFileSizes[i] = 128 << 10
		}
	}
	if err := pebbletest.Generate("store", spec); err != nil {
		t.Fatal(err)
	}
	db, err := pebbledb.Open("store", &pebbledb.Options{FS: fs, Logger: quiet{}, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func treeOf(t *testing.T, db *pebbledb.DB) *Tree {
	t.Helper()
	levels, err := ReadLevels(db)
	if err != nil {
		t.Fatal(err)
	}
	return &Tree{DB: db, Comparer: pebbledb.DefaultComparer, Levels: levels, Forced: true}
}

// measureTree measures a tree with nothing around it.
func measureTree(t *testing.T, tree *Tree, depth sdk.Depth) sdk.Fragmentation {
	t.Helper()
	f, err := tree.Measure(t.Context(), depth, Surroundings{
		Size:      sdk.Size{AllocatedBytes: 1 << 40},
		Leftovers: func([]Region) Leftovers { return Leftovers{} },
		Budget:    1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// checkLayers holds a picture against the figures beside it.
func checkLayers(t *testing.T, f sdk.Fragmentation) {
	t.Helper()
	if len(f.Layers) == 0 {
		t.Fatal("there are no layers")
	}
	columns := make([]int64, len(f.Layers[0].Cells))
	var total, dead float64
	for _, l := range f.Layers {
		if want := f.Metrics["level_"+strings.TrimPrefix(l.Name, "L")+"_bytes"]; float64(l.Bytes) != want {
			t.Errorf("%s has %d bytes, and the metrics say %v", l.Name, l.Bytes, want)
		}
		total += float64(l.Bytes)
		if len(l.Cells) != len(columns) {
			t.Fatalf("%s has %d cells, and %s %d", l.Name, len(l.Cells), f.Layers[0].Name, len(columns))
		}
		var sum int64
		for i, c := range l.Cells {
			sum += c.Bytes
			columns[i] += c.Bytes
			dead += float64(c.Bytes) * float64(c.Garbage+c.Tombstones) / 100
			if parts := c.Live + c.Garbage + c.Tombstones; c.Bytes < 0 || c.Bytes > 0 && parts != 100 || c.Bytes == 0 && parts != 0 {
				t.Errorf("cell %d of %s: %+v", i, l.Name, c)
			}
		}
		if sum != l.Bytes {
			t.Errorf("the cells of %s have %d bytes, and it has %d", l.Name, sum, l.Bytes)
		}
	}
	if total != f.Metrics["table_bytes"] {
		t.Errorf("the layers have %v bytes, and all tables %v", total, f.Metrics["table_bytes"])
	}
	if n := len(columns); n > sdk.MaxLayerCells || n > int(total)/columnBytes+1 {
		t.Errorf("%d columns for %v bytes", n, total)
	}
	for i, bytes := range columns {
		if off := float64(bytes) - total/float64(len(columns)); math.Abs(off) > float64(len(f.Layers))+1 {
			t.Errorf("column %d has %d bytes of %v, which is no equal share", i, bytes, total)
		}
	}
	// Each percentage is off by half a percent at most.
	if off := math.Abs(dead - float64(f.ReclaimableBytes)); off > total*0.005+Rounding {
		t.Errorf("%v bytes of the layers are dead, and %d of the store", dead, f.ReclaimableBytes)
	}
}

// layer by its name; without cells where there is none.
func layer(f sdk.Fragmentation, name string) sdk.MapLayer {
	for _, l := range f.Layers {
		if l.Name == name {
			return l
		}
	}
	return sdk.MapLayer{}
}

// within sums up what lies between two shares of the key space.
func within(l sdk.MapLayer, from, to float64) holding {
	var sum holding
	n := float64(len(l.Cells))
	for _, c := range l.Cells[int(from*n):int(to*n)] {
		sum.bytes += float64(c.Bytes)
		sum.live += float64(c.Bytes) * float64(c.Live) / 100
		sum.tombstones += float64(c.Bytes) * float64(c.Tombstones) / 100
	}
	return sum
}

// TestLayersAddUp measures stores of all shapes at all depths.
func TestLayersAddUp(t *testing.T) {
	for _, shape := range []pebbletest.Shape{
		pebbletest.Deletes, pebbletest.Overwrites, pebbletest.RangeDeletes, pebbletest.Churn,
		pebbletest.Dense, pebbletest.Bottom, pebbletest.Held, pebbletest.Expired,
	} {
		t.Run(string(shape), func(t *testing.T) {
			tree := treeOf(t, openShape(t, pebbletest.Spec{Seed: 1, Shape: shape, RangeKeys: 3}))
			for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
				t.Run(string(depth), func(t *testing.T) { checkLayers(t, measureTree(t, tree, depth)) })
			}
		})
	}
}

// TestLayersShowWhatLies looks for what each shape is known to have.
func TestLayersShowWhatLies(t *testing.T) {
	exact := func(t *testing.T, shape pebbletest.Shape) sdk.Fragmentation {
		t.Helper()
		f := measureTree(t, treeOf(t, openShape(t, pebbletest.Spec{Seed: 1, Shape: shape, LiveBytes: 2 << 20})), sdk.DepthExact)
		checkLayers(t, f)
		return f
	}
	t.Run("dense", func(t *testing.T) {
		f := exact(t, pebbletest.Dense)
		bottom := layer(f, "L6")
		if all := within(bottom, 0, 1); len(f.Layers) != 1 || all.live != all.bytes {
			t.Errorf("%d layers, %+v in L6; all of that lives", len(f.Layers), all)
		}
	})
	t.Run("deletes", func(t *testing.T) {
		f := exact(t, pebbletest.Deletes)
		for i, c := range layer(f, "L0").Cells {
			if c.Bytes == 0 || c.Tombstones < 95 {
				t.Errorf("cell %d of L0 is %+v; tombstones lie everywhere", i, c)
			}
		}
		for i, c := range layer(f, "L6").Cells {
			if c.Tombstones > 0 || c.Garbage < 35 || c.Garbage > 65 {
				t.Errorf("cell %d of L6 is %+v; half of it was deleted", i, c)
			}
		}
	})
	t.Run("overwrites", func(t *testing.T) {
		f := exact(t, pebbletest.Overwrites)
		top, bottom := within(layer(f, "L0"), 0.1, 0.9), within(layer(f, "L6"), 0.1, 0.9)
		if top.live < 0.85*top.bytes || bottom.live > 0.15*bottom.bytes || top.tombstones+bottom.tombstones > 0 {
			t.Errorf("L0 has %+v and L6 %+v; what is new lies above", top, bottom)
		}
	})
	t.Run("range deletes", func(t *testing.T) {
		f := exact(t, pebbletest.RangeDeletes)
		top, bottom := layer(f, "L0"), layer(f, "L6")
		if left, right := within(top, 0, 0.55), within(top, 0.55, 1); left.tombstones != float64(top.Bytes) || right.bytes > 0 {
			t.Errorf("L0 has %+v on the left and %+v on the right; the tombstone lies left", left, right)
		}
		if left, right := within(bottom, 0, 0.4), within(bottom, 0.6, 1); left.live > 0.2*left.bytes || right.live < 0.95*right.bytes {
			t.Errorf("L6 has %+v on the left and %+v on the right; the left was deleted", left, right)
		}
	})
	t.Run("bottom", func(t *testing.T) {
		f := exact(t, pebbletest.Bottom)
		bottom := layer(f, "L6")
		left, right := within(bottom, 0, 0.4), within(bottom, 0.6, 1)
		if len(f.Layers) != 1 || left.live > 0.2*left.bytes || right.live < 0.95*right.bytes {
			t.Errorf("%d layers, L6 has %+v on the left and %+v on the right; the left was deleted", len(f.Layers), left, right)
		}
		if left.tombstones < 0.01*left.bytes || left.tombstones > 0.1*left.bytes || right.tombstones > 0.001*right.bytes {
			t.Errorf("L6 has %+v on the left and %+v on the right; tombstones lie left", left, right)
		}
	})
}

// TestLayersShowWhere deletes keys in the middle of a store. That the tombstones
// lie there is known from properties and indexes alone.
func TestLayersShowWhere(t *testing.T) {
	db := openShape(t, pebbletest.Spec{Seed: 1, Shape: pebbletest.Dense, LiveBytes: 3 << 20})
	keys := 0
	for it, err := db.NewIter(nil); ; keys++ {
		if err != nil {
			t.Fatal(err)
		}
		if keys == 0 && !it.First() || keys > 0 && !it.Next() {
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for i := keys * 30 / 100; i < keys*70/100; i++ {
		if err := db.Delete(pebbletest.Key(i), pebbledb.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthExact} {
		f := measureTree(t, treeOf(t, db), depth)
		checkLayers(t, f)
		top := layer(f, "L0")
		for i, c := range top.Cells {
			at := (float64(i) + 0.5) / float64(len(top.Cells))
			switch {
			case at > 0.32 && at < 0.68 && c.Tombstones < 95:
				t.Errorf("%s: cell %d of %d in L0 is %+v; tombstones lie there", depth, i, len(top.Cells), c)
			case (at < 0.28 || at > 0.72) && c.Bytes > 0:
				t.Errorf("%s: cell %d of %d in L0 is %+v; nothing lies there", depth, i, len(top.Cells), c)
			}
		}
		if depth == sdk.DepthQuick {
			continue // which keys they deleted, nobody counts
		}
		bottom := layer(f, "L6")
		left, middle, right := within(bottom, 0, 0.25), within(bottom, 0.4, 0.6), within(bottom, 0.75, 1)
		if left.live < 0.9*left.bytes || middle.live > 0.35*middle.bytes || right.live < 0.9*right.bytes {
			t.Errorf("L6 has %+v, %+v and %+v; the middle is dead", left, middle, right)
		}
	}
}

// TestLayersOfWhatIsLeftAlone has garbage that no compaction takes: it is garbage
// all the same.
func TestLayersOfWhatIsLeftAlone(t *testing.T) {
	tree := treeOf(t, openShape(t, pebbletest.Spec{Seed: 1, Shape: pebbletest.Held}))
	tree.Forced = false
	f := measureTree(t, tree, sdk.DepthExact)
	if f.ReclaimableBytes != 0 {
		t.Fatalf("%d bytes come back; the test needs none", f.ReclaimableBytes)
	}
	if all := within(layer(f, "L6"), 0, 1); all.live < 0.5*all.bytes || all.live > 0.8*all.bytes || all.tombstones > 0 {
		t.Errorf("L6 has %+v; a snapshot needed more than a third", all)
	}
}

// TestLayersOfChangedStore has tables that the store no longer has: an owner's go
// on changing while they are measured.
func TestLayersOfChangedStore(t *testing.T) {
	tree := treeOf(t, openShape(t, pebbletest.Spec{Seed: 1, Shape: pebbletest.Overwrites}))
	for _, tables := range tree.Levels {
		for i := range tables {
			tables[i].Number += 1 << 40
		}
	}
	checkLayers(t, measureTree(t, tree, sdk.DepthExact))
}

// TestLayersCancelled stops between two looks into indexes.
func TestLayersCancelled(t *testing.T) {
	tree := treeOf(t, openShape(t, pebbletest.Spec{Seed: 1}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	all := tree.Regions()
	if _, err := tree.cut(ctx, all); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestLiveBeforeTombstones has levels of 100 bytes, the second with 40 of
// tombstones: newer levels live first, and what is known to live is not dead.
func TestLiveBeforeTombstones(t *testing.T) {
	var s stretch
	s[0].bytes, s[3].bytes, s[3].tombstones, s[Bottom].bytes = 100, 100, 40, 100
	for _, c := range []struct {
		live float64
		want string
	}{
		{0, "0+0 0+40 0+0"},
		{70, "70+0 0+40 0+0"},
		{150, "100+0 50+40 0+0"},
		{200, "100+0 60+40 40+0"},
		{260, "100+0 60+40 100+0"},
		{280, "100+0 80+20 100+0"},
		{300, "100+0 100+0 100+0"},
	} {
		p := s.piece(1, c.live)
		got := fmt.Sprintf("%v+%v %v+%v %v+%v", p[0].live, p[0].tombstones, p[3].live, p[3].tombstones, p[Bottom].live, p[Bottom].tombstones)
		if got != c.want {
			t.Errorf("%v bytes live: %s, want %s", c.live, got, c.want)
		}
	}
	if half := s.piece(0.5, 60); half[0].bytes != 50 || half[0].live != 50 || half[3].live != 10 || half[3].tombstones != 20 {
		t.Errorf("half of it is %+v", half)
	}
}

// TestGridAddsUp lays out regions at random, with stretches and parts that have
// nothing in them: no byte is lost.
func TestGridAddsUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	amount := func() float64 { return float64(rng.IntN(3)) * rng.Float64() * float64(int(1)<<rng.IntN(30)) }
	for round := range 500 {
		levels := make([][]Table, Bottom+1)
		var regions [][]stretch
		total := 0.0
		for range 1 + rng.IntN(5) {
			stretches := make([]stretch, 1+rng.IntN(20))
			for i := range stretches {
				for level := range stretches[i] {
					h := &stretches[i][level]
					h.bytes = amount()
					h.tombstones = h.bytes * rng.Float64()
					total += h.bytes
					levels[level] = append(levels[level], Table{Size: int64(h.bytes)})
				}
			}
			regions = append(regions, stretches)
		}
		if total < 1 {
			continue
		}
		g := newGrid(int64(total))
		at, live := 0.0, 0.0
		for _, stretches := range regions {
			width := 0.0
			for i := range stretches {
				width += stretches[i].bytes()
			}
			if width == 0 {
				continue
			}
			parts := make([]part, rng.IntN(20))
			for i := range parts {
				parts[i] = part{weight: amount(), fill: rng.Float64()}
			}
			lives := width * rng.Float64()
			g.add(at, join(stretches, g.width), spread(parts, lives, width))
			at += width
			live += lives
		}
		var got holding
		for i := range g.columns {
			got.bytes += g.columns[i].bytes()
			for _, h := range g.columns[i] {
				got.live += h.live
				if !(h.live >= 0 && h.tombstones >= 0 && h.live+h.tombstones <= h.bytes*(1+1e-9)) {
					t.Fatalf("round %d: column %d has %+v", round, i, h)
				}
			}
		}
		if math.Abs(got.bytes-total) > 1e-6*total || math.Abs(got.live-live) > 1e-6*total {
			t.Fatalf("round %d: the grid has %+v of %v bytes, of which %v live", round, got, total, live)
		}
		for _, l := range g.layers(levels) {
			left := l.Bytes
			for i, c := range l.Cells {
				if left -= c.Bytes; c.Bytes < 0 || left < 0 || c.Live+c.Garbage+c.Tombstones > 100 {
					t.Fatalf("round %d: cell %d of %s is %+v", round, i, l.Name, c)
				}
			}
		}
	}
}

func TestRuns(t *testing.T) {
	for _, c := range []struct{ bounds, tables, want string }{
		{"a c e g", "6:a-c 6:c-e 6:e-g", "0+1 1+1 2+1"}, // a table that ends at a bound is not behind it
		{"a c e g", "0:a-g 0:b-f 0:b-d 0:c-c 0:g-g", "0+3 0+3 0+2 1+1 2+1"},
		{"a g", "0:a-g 0:c-d", "0+1 0+1"},
		{"a", "0:a-a 6:a-a", "0+1 0+1"},
	} {
		levels := tree(c.tables)
		runs, weighings := runsOf(bytes.Compare, append(levels[0], levels[Bottom]...), bytes.Fields([]byte(c.bounds)))
		var got []string
		want := 0
		for _, r := range runs {
			got = append(got, fmt.Sprintf("%d+%d", r.first, len(r.weight)))
			if len(r.weight) > 1 {
				want += len(r.weight)
			}
		}
		if s := strings.Join(got, " "); s != c.want || weighings != want {
			t.Errorf("%s by %s: %s and %d weighings, want %s and %d", c.tables, c.bounds, s, weighings, c.want, want)
		}
	}
}

// TestBounds draws trees at random.
func TestBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var drawing strings.Builder
		for range 1 + rng.IntN(40) {
			from := rng.IntN(900)
			fmt.Fprintf(&drawing, "%d:%03d-%03d ", rng.IntN(5), from, from+rng.IntN(100))
		}
		limit := rng.IntN(30)
		for _, r := range Regions(bytes.Compare, tree(drawing.String()), nil) {
			bounds := r.bounds(bytes.Compare, limit)
			if !bytes.Equal(bounds[0], r.Start) || !bytes.Equal(bounds[len(bounds)-1], r.End) {
				t.Fatalf("%s: %s to %s has the bounds %s", drawing.String(), r.Start, r.End, bounds)
			}
			for i := range bounds[1:] {
				if bytes.Compare(bounds[i], bounds[i+1]) >= 0 {
					t.Fatalf("%s: %s are out of order", drawing.String(), bounds)
				}
			}
			if stretches := len(bounds) - 1; stretches > max(limit, 0)+1 {
				t.Fatalf("%s: %d stretches, and the limit is %d", drawing.String(), stretches, limit)
			}
		}
	}
}

// TestManyTablesOverlap has more tables at one place than are looked into.
func TestManyTablesOverlap(t *testing.T) {
	db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Logger: quiet{}, DisableAutomaticCompactions: true, L0StopWritesThreshold: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := range 150 {
		for _, key := range []int{i, 500 - i} {
			if err := db.Set(fmt.Appendf(nil, "k%04d", key), bytes.Repeat([]byte{'v'}, 1<<10), pebbledb.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	tree := treeOf(t, db)
	all := tree.Regions()
	whole := all[0].bounds(bytes.Compare, maxStretches)
	if _, weighings := runsOf(bytes.Compare, all[0].Tables, whole); len(all) != 1 || weighings < 2*maxWeighings {
		t.Fatalf("%d regions and %d weighings; the test needs more", len(all), weighings)
	}
	stretches, err := tree.stretches(t.Context(), all[0], maxStretches)
	if err != nil {
		t.Fatal(err)
	}
	if len(stretches) < 2 || len(stretches) > 2*maxWeighings/150 {
		t.Errorf("%d stretches for 150 tables that overlap", len(stretches))
	}
	checkLayers(t, measureTree(t, tree, sdk.DepthQuick))
}

// TestTombstoneShare has properties of several ages.
func TestTombstoneShare(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Table)
		want float64
	}{
		{"none", func(*Table) {}, 0},
		{"by size", func(t *Table) { t.Props.NumDeletions, t.Props.RawPointTombstoneKeySize = 50, 600 }, 0.1},
		{"by number", func(t *Table) { t.Props.NumDeletions = 50 }, 0.5},
		{"ranges", func(t *Table) { t.Props.NumDeletions, t.Props.NumRangeDeletions = 25, 25 }, 0.25},
		{"both", func(t *Table) {
			t.Props.NumDeletions, t.Props.NumRangeDeletions, t.Props.RawPointTombstoneKeySize = 75, 25, 600
		}, 0.35},
		{"nothing else", func(t *Table) { t.Props.NumDeletions, t.Props.NumRangeDeletions, t.Props.NumEntries = 1, 1, 1 }, 1},
		{"range keys alone", func(t *Table) { t.Props.NumEntries, t.Props.RawKeySize, t.Props.RawValueSize = 0, 0, 0 }, 0},
	} {
		table := tree("6:a-b")[Bottom][0]
		table.Props.RawKeySize, table.Props.RawValueSize = 2000, 8000
		c.set(&table)
		if got := table.tombstones(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
