package sdk

import (
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// maxNote bounds the note of a result or measurement on the wire, in bytes.
const maxNote = 4 << 10

// The wire carries strings as UTF-8 only; what is not is shown with �.
func utf8String(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func utf8Strings(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = utf8String(s)
	}
	return out
}

func storeToWire(s Store) *wringv1.Store {
	return &wringv1.Store{Name: s.Name, Path: s.Path}
}

func storeFromWire(s *wringv1.Store) Store {
	return Store{Name: s.GetName(), Path: s.GetPath()}
}

func limitsToWire(l Limits) *wringv1.Limits {
	return &wringv1.Limits{BytesPerSecond: l.BytesPerSecond}
}

func limitsFromWire(l *wringv1.Limits) Limits {
	return Limits{BytesPerSecond: l.GetBytesPerSecond()}
}

func optionTypeToWire(t OptionType) wringv1.OptionType {
	return wringv1.OptionType(wringv1.OptionType_value["OPTION_TYPE_"+strings.ToUpper(string(t))])
}

func optionTypeFromWire(t wringv1.OptionType) OptionType {
	name, ok := wringv1.OptionType_name[int32(t)]
	if !ok || t == wringv1.OptionType_OPTION_TYPE_UNSPECIFIED {
		return OptionType(fmt.Sprintf("type-%d", t))
	}
	return OptionType(strings.ToLower(strings.TrimPrefix(name, "OPTION_TYPE_")))
}

func depthToWire(d Depth) wringv1.Depth {
	return wringv1.Depth(wringv1.Depth_value["DEPTH_"+strings.ToUpper(string(d))])
}

func depthFromWire(d wringv1.Depth) Depth {
	if d == wringv1.Depth_DEPTH_UNSPECIFIED {
		return ""
	}
	name, ok := wringv1.Depth_name[int32(d)]
	if !ok {
		return Depth(fmt.Sprintf("depth-%d", d))
	}
	return Depth(strings.ToLower(strings.TrimPrefix(name, "DEPTH_")))
}

func methodToWire(m Method) wringv1.Method {
	return wringv1.Method(wringv1.Method_value["METHOD_"+strings.ToUpper(string(m))])
}

// methodFromWire takes a method that this version does not know for the
// weakest.
func methodFromWire(m wringv1.Method) Method {
	switch m {
	case wringv1.Method_METHOD_EXACT:
		return MethodExact
	case wringv1.Method_METHOD_SAMPLED:
		return MethodSampled
	default:
		return MethodEstimated
	}
}

func descriptionToWire(d Description) (*wringv1.DescribeResponse, error) {
	wire := &wringv1.DescribeResponse{
		ProtocolVersion: uint32(d.ProtocolVersion),
		Name:            utf8String(d.Name),
		Version:         utf8String(d.Version),
		Engine:          utf8String(d.Engine),
		Capabilities: &wringv1.Capabilities{
			Modes:               utf8Strings(d.Capabilities.Modes),
			Verifies:            d.Capabilities.Verifies,
			MeasuresWithoutLock: d.Capabilities.MeasuresWithoutLock,
			LimitsRate:          d.Capabilities.LimitsRate,
			Sweeps:              d.Capabilities.Sweeps,
			ListsStores:         d.Capabilities.ListsStores,
		},
	}
	for _, o := range d.Options {
		option := &wringv1.Option{
			Name: utf8String(o.Name), Type: optionTypeToWire(o.Type), Help: utf8String(o.Help),
			OneOf: utf8Strings(o.OneOf), Min: o.Min, Max: o.Max,
			Whole: o.Whole, Modes: utf8Strings(o.Modes),
		}
		if o.Default != nil {
			value, err := valueToWire(o.Name, o.Default)
			if err != nil {
				return nil, err
			}
			option.Default = value
		}
		wire.Options = append(wire.Options, option)
	}
	for _, s := range d.Signatures {
		wire.Signatures = append(wire.Signatures, &wringv1.Signature{
			DirEntry: utf8String(s.DirEntry), Magic: s.Magic, Offset: s.Offset,
		})
	}
	return wire, nil
}

func descriptionFromWire(wire *wringv1.DescribeResponse) Description {
	c := wire.GetCapabilities()
	d := Description{
		ProtocolVersion: int(wire.GetProtocolVersion()),
		Name:            wire.GetName(),
		Version:         wire.GetVersion(),
		Engine:          wire.GetEngine(),
		Capabilities: Capabilities{
			Modes:               append([]string{}, c.GetModes()...),
			Verifies:            c.GetVerifies(),
			MeasuresWithoutLock: c.GetMeasuresWithoutLock(),
			LimitsRate:          c.GetLimitsRate(),
			Sweeps:              c.GetSweeps(),
			ListsStores:         c.GetListsStores(),
		},
		Options:    Schema{},
		Signatures: []Signature{},
	}
	for _, o := range wire.GetOptions() {
		option := Option{
			Name: o.GetName(), Type: optionTypeFromWire(o.GetType()), Help: o.GetHelp(),
			OneOf: o.GetOneOf(), Min: o.Min, Max: o.Max,
			Whole: o.GetWhole(), Modes: o.GetModes(),
		}
		if o.GetDefault() != nil {
			option.Default = o.GetDefault().AsInterface()
		}
		d.Options = append(d.Options, option)
	}
	for _, s := range wire.GetSignatures() {
		d.Signatures = append(d.Signatures, Signature{DirEntry: s.GetDirEntry(), Magic: s.GetMagic(), Offset: s.GetOffset()})
	}
	return d
}

func optionsToWire(options Options) (*structpb.Struct, error) {
	wire := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(options))}
	for name, value := range options {
		v, err := valueToWire(name, value)
		if err != nil {
			return nil, err
		}
		wire.Fields[utf8String(name)] = v
	}
	return wire, nil
}

func valueToWire(name string, value any) (*structpb.Value, error) {
	switch v := value.(type) {
	case time.Duration:
		return structpb.NewStringValue(v.String()), nil
	case string:
		return structpb.NewStringValue(utf8String(v)), nil
	}
	v, err := structpb.NewValue(value)
	if err != nil {
		return nil, Errorf(ErrInvalidOption, "option %s: a %T cannot be sent to a backend", name, value)
	}
	return v, nil
}

func fragmentationToWire(f Fragmentation) *wringv1.FragmentationResponse {
	wire := &wringv1.FragmentationResponse{
		TotalBytes:       f.TotalBytes,
		AllocatedBytes:   f.AllocatedBytes,
		LiveBytes:        f.LiveBytes,
		ReclaimableBytes: f.ReclaimableBytes,
		Method:           methodToWire(f.Method),
		Mode:             utf8String(f.Mode),
		Note:             bounded(f.Note, maxNote),
		Metrics:          make(map[string]float64, len(f.Metrics)),
	}
	if f.Obstacle != nil {
		_, detail := detailOf(f.Obstacle)
		wire.Obstacle = &wringv1.Obstacle{Error: detail, Message: bounded(f.Obstacle.Message, maxErrorMessage)}
	}
	for name, v := range f.Metrics {
		wire.Metrics[utf8String(name)] = v
	}
	for _, cell := range f.Map {
		wire.Map = append(wire.Map, uint32(cell))
	}
	for _, l := range f.Layers {
		wire.Layers = append(wire.Layers, layerToWire(l))
	}
	return wire
}

func layerToWire(l MapLayer) *wringv1.MapLayer {
	wire := &wringv1.MapLayer{Name: utf8String(l.Name), Bytes: l.Bytes}
	for _, c := range l.Cells {
		wire.CellBytes = append(wire.CellBytes, c.Bytes)
		wire.LivePercent = append(wire.LivePercent, uint32(c.Live))
		wire.GarbagePercent = append(wire.GarbagePercent, uint32(c.Garbage))
		wire.TombstonePercent = append(wire.TombstonePercent, uint32(c.Tombstones))
	}
	return wire
}

// fragmentationFromWire trusts no bound: the peer may not use this package.
func fragmentationFromWire(wire *wringv1.FragmentationResponse) (Fragmentation, error) {
	f := Fragmentation{
		TotalBytes:       wire.GetTotalBytes(),
		AllocatedBytes:   wire.GetAllocatedBytes(),
		LiveBytes:        wire.GetLiveBytes(),
		ReclaimableBytes: wire.GetReclaimableBytes(),
		Method:           methodFromWire(wire.GetMethod()),
		Mode:             wire.GetMode(),
		Note:             wire.GetNote(),
		Metrics:          boundMetrics(wire.GetMetrics()),
	}
	if o := wire.GetObstacle(); o != nil {
		f.Obstacle = obstacleFromWire(o)
	}
	for _, cell := range wire.GetMap() {
		f.Map = append(f.Map, uint8(min(cell, 100)))
	}
	f.Map = boundMap(f.Map)
	for _, l := range wire.GetLayers() {
		layer, err := layerFromWire(l)
		if err != nil {
			return Fragmentation{}, err
		}
		f.Layers = append(f.Layers, layer)
	}
	return f, checkLayers(f.Layers)
}

func layerFromWire(wire *wringv1.MapLayer) (MapLayer, error) {
	bytes, live, garbage, tombstones := wire.GetCellBytes(), wire.GetLivePercent(), wire.GetGarbagePercent(), wire.GetTombstonePercent()
	if n := len(bytes); len(live) != n || len(garbage) != n || len(tombstones) != n {
		return MapLayer{}, fmt.Errorf("the bytes, live, garbage and tombstones of layer %.64q are of %d, %d, %d and %d cells",
			wire.GetName(), n, len(live), len(garbage), len(tombstones))
	}
	l := MapLayer{Name: wire.GetName(), Bytes: wire.GetBytes(), Cells: make([]MapCell, len(bytes))}
	percent := func(n uint32) uint8 { return uint8(min(n, math.MaxUint8)) } // more than 100 stays so
	for i := range l.Cells {
		l.Cells[i] = MapCell{Bytes: bytes[i], Live: percent(live[i]), Garbage: percent(garbage[i]), Tombstones: percent(tombstones[i])}
	}
	return l, nil
}

// obstacleFromWire takes a kind that this version does not know for the
// backend's own failure.
func obstacleFromWire(o *wringv1.Obstacle) *Error {
	detail := o.GetError()
	e := &Error{Kind: ErrInternal, Message: o.GetMessage(), Hint: detail.GetHint(), Retryable: detail.GetRetryable()}
	if w, ok := wireKindOf(detail); ok {
		e.Kind = w.kind
	}
	return e
}

func progressToWire(p Progress) *wringv1.CompactResponse {
	return &wringv1.CompactResponse{Event: &wringv1.CompactResponse_Progress{Progress: &wringv1.Progress{
		Phase: bounded(p.Phase, maxNote), Done: p.Done, Total: p.Total, Unit: bounded(p.Unit, maxNote),
		BytesRead: p.BytesRead, BytesWritten: p.BytesWritten,
	}}}
}

func progressFromWire(p *wringv1.Progress) Progress {
	return Progress{
		Phase: p.GetPhase(), Done: p.GetDone(), Total: p.GetTotal(), Unit: p.GetUnit(),
		BytesRead: p.GetBytesRead(), BytesWritten: p.GetBytesWritten(),
	}
}

func resultToWire(r CompactResult) *wringv1.CompactResponse {
	wire := &wringv1.CompactResult{
		Before:         sizeToWire(r.Before),
		After:          sizeToWire(r.After),
		ReclaimedBytes: r.ReclaimedBytes,
		DurationMs:     roundUp(r.Duration),
		PauseMs:        roundUp(r.Pause),
		Mode:           utf8String(r.Mode),
		NoOp:           r.NoOp,
		Note:           bounded(r.Note, maxNote),
	}
	if v := r.Verification; v != nil {
		wire.Verification = &wringv1.Verification{
			DigestBefore: utf8String(v.DigestBefore), DigestAfter: utf8String(v.DigestAfter),
			ItemsBefore: v.ItemsBefore, ItemsAfter: v.ItemsAfter,
		}
	}
	return &wringv1.CompactResponse{Event: &wringv1.CompactResponse_Result{Result: wire}}
}

func resultFromWire(wire *wringv1.CompactResult) CompactResult {
	r := CompactResult{
		Before:         sizeFromWire(wire.GetBefore()),
		After:          sizeFromWire(wire.GetAfter()),
		ReclaimedBytes: wire.GetReclaimedBytes(),
		Duration:       milliseconds(wire.GetDurationMs()),
		Pause:          milliseconds(wire.GetPauseMs()),
		Mode:           wire.GetMode(),
		NoOp:           wire.GetNoOp(),
		Note:           wire.GetNote(),
	}
	if v := wire.GetVerification(); v != nil {
		r.Verification = &Verification{
			DigestBefore: v.GetDigestBefore(), DigestAfter: v.GetDigestAfter(),
			ItemsBefore: v.GetItemsBefore(), ItemsAfter: v.GetItemsAfter(),
		}
	}
	return r
}

func sizeToWire(s Size) *wringv1.Size {
	return &wringv1.Size{TotalBytes: s.TotalBytes, AllocatedBytes: s.AllocatedBytes}
}

func sizeFromWire(s *wringv1.Size) Size {
	return Size{TotalBytes: s.GetTotalBytes(), AllocatedBytes: s.GetAllocatedBytes()}
}

// roundUp keeps a pause of some microseconds apart from none.
func roundUp(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

func milliseconds(ms int64) time.Duration {
	if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
