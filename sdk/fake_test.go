package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// fake is a backend whose behaviour a store's name or options choose, so that
// a test can ask another process for it.
type fake struct {
	describe    func(ctx context.Context) (Description, error)
	measure     func(ctx context.Context, req FragmentationRequest) (Fragmentation, error)
	compact     func(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error)
	description Description
}

func fakeDescription() Description {
	return Description{
		Name:         "fake",
		Version:      "1.2.3",
		Engine:       "Fake DB",
		Capabilities: Capabilities{Modes: []string{"full", "quick"}, Verifies: true, MeasuresWithoutLock: true},
		Options: Schema{
			{Name: "fill", Type: TypeNumber, Help: "How full.", Default: 0.5, Min: Bound(0), Max: Bound(1)},
			{Name: "chunk", Type: TypeSize, Help: "How much at once.", Default: "64KiB"},
			{Name: "wait", Type: TypeDuration, Help: "How long.", Default: 90 * time.Second},
			{Name: "fast", Type: TypeBool, Help: "Whether.", Default: true},
			{Name: "order", Type: TypeString, Help: "Which.", OneOf: []string{"up", "down"}},
		},
		Signatures: []Signature{{Magic: []byte("FAKE"), Offset: 4}},
	}
}

func newFake() *fake {
	f := &fake{description: fakeDescription()}
	f.describe = func(context.Context) (Description, error) { return f.description, nil }
	f.measure = fakeMeasure
	f.compact = fakeCompact
	return f
}

func (f *fake) Describe(ctx context.Context) (Description, error) { return f.describe(ctx) }

func (f *fake) Fragmentation(ctx context.Context, req FragmentationRequest) (Fragmentation, error) {
	return f.measure(ctx, req)
}

func (f *fake) Compact(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
	return f.compact(ctx, req, report)
}

// fakeMeasure answers by the store's name: "kind N" fails with that kind,
// "env" tells the environment, and so on.
func fakeMeasure(_ context.Context, req FragmentationRequest) (Fragmentation, error) {
	verb, arg, _ := strings.Cut(req.Store.Name, " ")
	switch verb {
	case "kind":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return Fragmentation{}, err
		}
		e := Errorf(Kinds()[n], "message %d of %s", n, req.Store.Path).WithHint("hint %d", n)
		e.Retryable = n%2 == 0
		return Fragmentation{}, e
	case "obstacle":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return Fragmentation{}, err
		}
		e := Errorf(Kinds()[n], "obstacle %d of %s", n, req.Store.Path).WithHint("hint %d", n)
		e.Retryable = n%2 == 0
		return Fragmentation{AllocatedBytes: 1, Obstacle: e}, nil
	case "untyped":
		return Fragmentation{}, errors.New("something odd")
	case "panic":
		panic("on purpose")
	case "env":
		metrics := make(map[string]float64)
		for _, entry := range os.Environ() {
			key, _, _ := strings.Cut(entry, "=")
			metrics[key] = 1
		}
		return Fragmentation{Metrics: metrics}, nil
	case "print":
		fmt.Fprintln(os.Stdout, arg)
		fmt.Fprintln(os.Stderr, arg)
	case "stderr": // as a C library would, past go-plugin
		fmt.Fprintln(realStderr, arg)
	case "exit":
		fmt.Fprintln(realStderr, "the end is near")
		os.Exit(7)
	case "options":
		return Fragmentation{Metrics: map[string]float64{
			"fill": req.Options.Number("fill"), "chunk": float64(req.Options.Size("chunk")),
			"wait": req.Options.Duration("wait").Seconds(),
		}}, nil
	}
	return Fragmentation{
		TotalBytes: 1000, AllocatedBytes: 800, LiveBytes: 300, ReclaimableBytes: 500, Method: MethodSampled,
		Metrics: map[string]float64{"free_pages": 12, "depth_" + string(req.Depth): 1},
		Map:     []uint8{0, 50, 100},
		Mode:    req.Mode, Note: "asked for",
	}, nil
}

// realStderr is what go-plugin has not replaced.
var realStderr = os.Stderr

// fakeCompact works until its context ends when the store is named "long"; its
// clean-up then removes the temp beside the store. Otherwise it is done at once.
func fakeCompact(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
	result := CompactResult{
		Before: Size{1000, 800}, After: Size{400, 300}, ReclaimedBytes: 500, Pause: 1500 * time.Microsecond,
		Verification: &Verification{DigestBefore: "xxh64:01", DigestAfter: "xxh64:01", ItemsBefore: 7, ItemsAfter: 7},
		Note:         "done",
	}
	verb, _, _ := strings.Cut(req.Store.Name, " ")
	switch verb {
	case "exit":
		os.Exit(7)
	case "long", "stubborn":
	default:
		report(Progress{Phase: "copy", Done: 1, Total: 2, Unit: "pages", BytesRead: 10})
		report(Progress{Phase: "verify", Done: 2, Total: 2, Unit: "pages", BytesRead: 20})
		return result, nil
	}
	temp := req.Store.Path + ".temp"
	if err := os.WriteFile(temp, []byte("half"), 0o600); err != nil {
		return CompactResult{}, err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-tick.C:
			report(Progress{Phase: "copy", Done: n, Unit: "pages"})
		case <-ctx.Done():
			if verb == "stubborn" {
				select {} // never comes back
			}
			time.Sleep(100 * time.Millisecond) // clean-up takes a while
			fmt.Fprintln(realStderr, "cleaning up")
			if err := os.Remove(temp); err != nil {
				return CompactResult{}, err
			}
			return CompactResult{}, ctx.Err()
		}
	}
}

// Sweep removes the temp.
func (f *fake) Sweep(_ context.Context, store Store) ([]string, error) {
	temp := store.Path + ".temp"
	if err := os.Remove(temp); err != nil {
		if os.IsNotExist(err) {
			return nil, nil
		}
		return nil, err
	}
	return []string{temp}, nil
}

// Stores lists one.
func (f *fake) Stores(context.Context) ([]Store, error) {
	return []Store{{Name: "a", Path: "/data/a.db"}}, nil
}

var (
	_ Backend     = (*fake)(nil)
	_ Sweeper     = (*fake)(nil)
	_ StoreLister = (*fake)(nil)
)
