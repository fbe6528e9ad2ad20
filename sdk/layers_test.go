package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// mostLayers is the largest picture that there may be.
func mostLayers() []MapLayer {
	layers := make([]MapLayer, MaxLayers)
	for i := range layers {
		l := MapLayer{Name: fmt.Sprintf("%0*d", MaxLayerName, i), Bytes: math.MaxInt64}
		for n := range MaxLayerCells {
			l.Cells = append(l.Cells, MapCell{Bytes: math.MaxInt64 / MaxLayerCells, Live: uint8(n % 50), Garbage: uint8(i), Tombstones: 1})
		}
		layers[i] = l
	}
	return layers
}

// answer measures with these layers and nothing else.
func answer(layers []MapLayer) *fake {
	f := newFake()
	f.measure = func(context.Context, FragmentationRequest) (Fragmentation, error) {
		return Fragmentation{Layers: layers}, nil
	}
	return f
}

func TestLayersRoundTrip(t *testing.T) {
	for name, layers := range map[string][]MapLayer{
		"none": nil,
		"some": {
			{Name: "L0", Bytes: 10, Cells: []MapCell{{Bytes: 7, Tombstones: 100}, {}, {Bytes: 3, Live: 60, Garbage: 30, Tombstones: 10}}},
			{Name: "L6", Bytes: 1 << 40, Cells: []MapCell{{Bytes: 1 << 39, Garbage: 100}, {Bytes: 5, Live: 1}, {}}},
		},
		"as many as there may be": mostLayers(),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serveOwner(t, answer(layers)))
			f, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f.Layers, layers) {
				t.Errorf("the layers come back as %+v, want %+v", f.Layers, layers)
			}
		})
	}
	if size := proto.Size(fragmentationToWire(Fragmentation{Layers: mostLayers()})); size > maxMessage/10 {
		t.Errorf("the largest picture is a message of %d bytes", size)
	}
}

// A picture that makes no sense is refused where it is made, with what is wrong.
func TestGuardRefusesLayers(t *testing.T) {
	cells := func(n int) []MapCell { return make([]MapCell, n) }
	for say, layers := range map[string][]MapLayer{
		"33 layers; 32 is the most":                 make([]MapLayer, MaxLayers+1),
		`layer 0 is called ""`:                      {{Cells: cells(1)}},
		`layer 0 is called "L\x1b[2J"`:              {{Name: "L\x1b[2J", Cells: cells(1)}},
		`layer 0 is called "\xff"`:                  {{Name: "\xff", Cells: cells(1)}},
		"which is not 1 to 16 printable bytes":      {{Name: strings.Repeat("L", 17), Cells: cells(1)}},
		"two layers are called L0":                  {{Name: "L0", Cells: cells(1)}, {Name: "L0", Cells: cells(1)}},
		"3 cells in layer L1, and 2 in L0":          {{Name: "L0", Cells: cells(2)}, {Name: "L1", Cells: cells(3)}},
		"0 cells in layer L0":                       {{Name: "L0"}},
		"257 cells in layer L0":                     {{Name: "L0", Cells: cells(257)}},
		"-1 bytes in cell 1 of layer L0":            {{Name: "L0", Bytes: 9, Cells: []MapCell{{}, {Bytes: -1}}}},
		"which has 4 left of 9":                     {{Name: "L0", Bytes: 9, Cells: []MapCell{{Bytes: 5}, {Bytes: 5}}}},
		"which has -9 left of -9":                   {{Name: "L0", Bytes: -9, Cells: cells(1)}},
		"which has 0 left of 9223372036854775807":   {{Name: "L0", Bytes: math.MaxInt64, Cells: []MapCell{{Bytes: math.MaxInt64}, {Bytes: math.MaxInt64}}}},
		"cell 0 of layer L0 are 101 percent":        {{Name: "L0", Cells: []MapCell{{Live: 101}}}},
		"cell 0 of layer L0 are 102 percent":        {{Name: "L0", Cells: []MapCell{{Live: 34, Garbage: 34, Tombstones: 34}}}},
		"cell 0 of layer L0 are 765 percent":        {{Name: "L0", Cells: []MapCell{{Live: 255, Garbage: 255, Tombstones: 255}}}},
		"cell 0 of layer L0 are 256 percent togeth": {{Name: "L0", Cells: []MapCell{{Live: 128, Garbage: 128}}}},
	} {
		_, err := Guard(answer(layers)).Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
		if !errors.Is(err, ErrInternal) || !strings.HasPrefix(err.Error(), "measure a: the picture of the layers is wrong: ") || !strings.Contains(err.Error(), say) || HintOf(err) == "" {
			t.Errorf("want %q, got %v", say, err)
		}
	}
}

// drawing is a backend without this package, which sends layers as they are.
type drawing struct {
	*server
	layers []*wringv1.MapLayer
}

func (d *drawing) Fragmentation(context.Context, *wringv1.FragmentationRequest) (*wringv1.FragmentationResponse, error) {
	return &wringv1.FragmentationResponse{TotalBytes: 1, Layers: d.layers}, nil
}

func TestClientRefusesLayers(t *testing.T) {
	list := func(n int) []uint32 { return make([]uint32, n) }
	for say, l := range map[string]*wringv1.MapLayer{
		"of 2, 1, 2 and 2 cells": {Name: "L0", CellBytes: make([]int64, 2), LivePercent: list(1), GarbagePercent: list(2), TombstonePercent: list(2)},
		"of 2, 2, 3 and 2 cells": {Name: "L0", CellBytes: make([]int64, 2), LivePercent: list(2), GarbagePercent: list(3), TombstonePercent: list(2)},
		"of 2, 2, 2 and 0 cells": {Name: "L0", CellBytes: make([]int64, 2), LivePercent: list(2), GarbagePercent: list(2)},
		"255 percent":            {Name: "L0", CellBytes: make([]int64, 1), LivePercent: []uint32{1<<32 - 1}, GarbagePercent: list(1), TombstonePercent: list(1)},
		"0 cells in layer L0":    {Name: "L0"},
		`called "L\n0"`:          {Name: "L\n0", CellBytes: make([]int64, 1), LivePercent: list(1), GarbagePercent: list(1), TombstonePercent: list(1)},
	} {
		socket, _ := serveRaw(t, &drawing{server: rawServer(), layers: []*wringv1.MapLayer{l}})
		_, err := dial(t, socket).Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
		if !errors.Is(err, ErrInternal) || Retryable(err) || !strings.Contains(err.Error(), "the picture of the layers that ") || !strings.Contains(err.Error(), say) || HintOf(err) == "" {
			t.Errorf("want %q, got %v", say, err)
		}
	}
	sound := &wringv1.MapLayer{Name: "L0", Bytes: 2, CellBytes: []int64{1}, LivePercent: list(1), GarbagePercent: list(1), TombstonePercent: list(1)}
	socket, _ := serveRaw(t, &drawing{server: rawServer(), layers: []*wringv1.MapLayer{sound}})
	f, err := dial(t, socket).Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
	if err != nil || len(f.Layers) != 1 {
		t.Errorf("a sound picture: %+v, %v", f.Layers, err)
	}
}
