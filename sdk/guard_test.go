package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// bare hides that fake can do more than a Backend must.
type bare struct{ Backend }

func TestGuardDescribe(t *testing.T) {
	f := newFake()
	calls := 0
	f.describe = func(context.Context) (Description, error) {
		calls++
		if calls == 1 {
			return Description{}, errors.New("not yet")
		}
		d := fakeDescription()
		d.Version = ""
		return d, nil
	}
	g := Guard(f)
	if _, err := g.Describe(t.Context()); !errors.Is(err, ErrInternal) {
		t.Errorf("err = %v", err)
	}
	d, err := g.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.ProtocolVersion != ProtocolMax || d.Version == "" || !d.Capabilities.Sweeps || !d.Capabilities.ListsStores {
		t.Errorf("not completed: %+v", d)
	}
	if chunk, _ := d.Options.Lookup("chunk"); chunk.Default != int64(64<<10) {
		t.Errorf("default of chunk = %v", chunk.Default)
	}
	if wait, _ := d.Options.Lookup("wait"); wait.Default != "1m30s" {
		t.Errorf("default of wait = %v", wait.Default)
	}
	d.Options[0].Name = "changed"
	d.Capabilities.Modes[0] = "changed"
	again, err := g.Describe(t.Context())
	if err != nil || again.Options[0].Name != "fill" || again.Capabilities.Modes[0] != "full" {
		t.Error("a caller can change the description")
	}
	if calls != 2 {
		t.Errorf("asked %d times, want one failure and one answer", calls)
	}
	if Guard(g) != g {
		t.Error("guarded twice")
	}
	b, err := Guard(bare{newFake()}).Describe(t.Context())
	if err != nil || b.Capabilities.ListsStores || !b.Capabilities.Sweeps {
		t.Errorf("capabilities of a bare backend: %+v, %v", b.Capabilities, err)
	}
}

func TestGuardRefusesUnusableDescription(t *testing.T) {
	for name, spoil := range map[string]func(*Description){
		"it has no name":                 func(d *Description) { d.Name = "" },
		"it has no modes":                func(d *Description) { d.Capabilities.Modes = nil },
		"a mode has no name":             func(d *Description) { d.Capabilities.Modes = []string{""} },
		"default of fill must be":        func(d *Description) { d.Options[0].Default = "half" },
		`option 2 is named "fill"`:       func(d *Description) { d.Options[1].Name = "fill" },
		"signature 1 recognises":         func(d *Description) { d.Signatures[0] = Signature{Offset: 3} },
		"no name; it has no modes":       func(d *Description) { d.Name, d.Capabilities.Modes = "", nil },
		"n has the type \"\", which thi": func(d *Description) { d.Options = Schema{{Name: "n", Default: 1}} },
	} {
		f := newFake()
		spoil(&f.description)
		_, err := Guard(f).Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
		if !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
}

func TestGuardChecksRequests(t *testing.T) {
	g := Guard(newFake())
	store := newStore(t, "a")
	compact := func(req CompactRequest) error {
		_, err := g.Compact(t.Context(), req, nil)
		return err
	}
	measure := func(req FragmentationRequest) error {
		_, err := g.Fragmentation(t.Context(), req)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		kind error
		say  string
		hint string
	}{
		"mode":                {compact(CompactRequest{Store: store, Mode: "best"}), ErrInvalidOption, `fake has no mode "best"`, "full, quick"},
		"option":              {compact(CompactRequest{Store: store, Options: Options{"colour": 1}}), ErrInvalidOption, `no option "colour"`, "fill, chunk"},
		"rate":                {compact(CompactRequest{Store: store, Limits: Limits{BytesPerSecond: 1 << 20}}), ErrUnsupported, "cannot limit its rate to 1.0 MiB/s", "remove"},
		"negative":            {compact(CompactRequest{Store: store, Limits: Limits{BytesPerSecond: -1}}), ErrInvalidOption, "negative", "no limit"},
		"relative":            {compact(CompactRequest{Store: Store{Name: "a", Path: "a.db"}}), ErrInvalidOption, "not absolute", "from /"},
		"nameless":            {compact(CompactRequest{}), ErrInvalidOption, "neither name nor path", ""},
		"mode to measure for": {measure(FragmentationRequest{Store: store, Mode: "best"}), ErrInvalidOption, `fake has no mode "best"`, "full, quick"},
		"depth":               {measure(FragmentationRequest{Store: store, Depth: "deep"}), ErrInvalidOption, `no depth "deep"`, "quick, sampled, exact"},
		"options":             {measure(FragmentationRequest{Store: store, Options: Options{"fill": 2, "fast": 3}}), ErrInvalidOption, "fast must be true or false", "fill"},
		"UTF-8 name":          {measure(FragmentationRequest{Store: Store{Path: "/a", Name: "b\xff"}}), ErrInvalidOption, `its name "b\xff" is not UTF-8`, "plain name"},
		"UTF-8":               {measure(FragmentationRequest{Store: Store{Path: "/a\xff"}}), ErrInvalidOption, "not UTF-8", "symbolic link"},
		"NUL":                 {measure(FragmentationRequest{Store: Store{Path: "/a\x00b"}}), ErrInvalidOption, "NUL", ""},
	} {
		if !errors.Is(c.err, c.kind) || !strings.Contains(fmt.Sprint(c.err), c.say) || !strings.Contains(HintOf(c.err), c.hint) {
			t.Errorf("%s: %v (hint %q)", name, c.err, HintOf(c.err))
		}
	}
}

func TestGuardCompletes(t *testing.T) {
	f := newFake()
	var asked FragmentationRequest
	f.measure = func(_ context.Context, req FragmentationRequest) (Fragmentation, error) {
		asked = req
		return Fragmentation{}, nil
	}
	var compacted CompactRequest
	f.compact = func(_ context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
		compacted = req
		report(Progress{Phase: "copy"}) // never nil
		return CompactResult{}, nil
	}
	g := guarded(f)
	now := time.Unix(1000, 0)
	g.now = func() time.Time { now = now.Add(time.Second); return now }
	measured, err := g.Fragmentation(t.Context(), FragmentationRequest{Store: newStore(t, "a")})
	if err != nil || asked.Depth != DepthSampled || asked.Mode != "full" || asked.Options.Number("fill") != 0.5 || measured.Method != MethodEstimated {
		t.Errorf("asked %+v, got %+v, %v", asked, measured, err)
	}
	result, err := g.Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}, Options: Options{"fill": 0.9}}, nil)
	if err != nil || compacted.Mode != "full" || compacted.Options.Number("fill") != 0.9 || compacted.Options.Size("chunk") != 64<<10 {
		t.Errorf("compacted %+v, %v", compacted, err)
	}
	if result.Mode != "full" || result.Duration != time.Second {
		t.Errorf("result = %+v", result)
	}
}

func TestGuardPanic(t *testing.T) {
	var log buffer
	ctx := hclog.WithContext(t.Context(), hclog.New(&hclog.LoggerOptions{Output: &log}))
	f := newFake()
	f.describe = func(context.Context) (Description, error) { panic("in describe") }
	if _, err := Guard(f).Describe(ctx); !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "in describe") {
		t.Errorf("describe: %v", err)
	}
	g := Guard(newFake())
	if _, err := g.Fragmentation(ctx, FragmentationRequest{Store: Store{Name: "panic"}}); !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "panicked: on purpose") {
		t.Errorf("measure: %v", err)
	}
	if !strings.Contains(log.String(), "fakeMeasure") {
		t.Errorf("no stack in the log: %s", log.String())
	}
	f = newFake()
	store := newStore(t, "a")
	f.compact = func(context.Context, CompactRequest, func(Progress)) (CompactResult, error) {
		var typedNil *Error
		return CompactResult{}, typedNil
	}
	if _, err := Guard(f).Compact(ctx, CompactRequest{Store: store}, nil); !errors.Is(err, ErrInternal) {
		t.Errorf("an error that is a nil pointer: %v", err)
	}
	if _, err := Guard(newFake()).Compact(ctx, CompactRequest{Store: store}, nil); err != nil {
		t.Errorf("the lock was not released by the panic: %v", err)
	}
}

// A mapped page that has gone away faults; the process must live on.
func TestGuardMemoryFault(t *testing.T) {
	f := newFake()
	f.measure = func(context.Context, FragmentationRequest) (Fragmentation, error) {
		page, err := syscall.Mmap(-1, 0, syscall.Getpagesize(), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return Fragmentation{}, err
		}
		return Fragmentation{TotalBytes: int64(page[0])}, nil
	}
	ctx := hclog.WithContext(t.Context(), hclog.NewNullLogger())
	if _, err := Guard(f).Fragmentation(ctx, FragmentationRequest{Store: Store{Name: "a"}}); !errors.Is(err, ErrInternal) {
		t.Errorf("err = %v", err)
	}
}

func TestGuardVerification(t *testing.T) {
	for _, c := range []struct {
		v   *Verification
		say string
	}{
		{nil, ""},
		{&Verification{"a", "a", 1, 1}, ""},
		{&Verification{"a", "b", 1, 1}, "digest a before, b after"},
		{&Verification{"a", "a", 1, 2}, "1 items before, 2 after"},
	} {
		f := newFake()
		f.compact = func(context.Context, CompactRequest, func(Progress)) (CompactResult, error) {
			return CompactResult{Verification: c.v}, nil
		}
		_, err := Guard(f).Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, nil)
		if c.say == "" && err != nil || c.say != "" && (!errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), c.say)) {
			t.Errorf("%+v: %v", c.v, err)
		}
	}
}

func TestGuardProgress(t *testing.T) {
	f := newFake()
	late := make(chan func(Progress), 1)
	f.compact = func(_ context.Context, _ CompactRequest, report func(Progress)) (CompactResult, error) {
		report(Progress{Phase: "copy", Done: 5, Total: 10, Unit: "pages", BytesRead: 100})
		report(Progress{Phase: "copy", Done: 3, Total: 8, BytesRead: 50, BytesWritten: 7})
		report(Progress{Done: 12})
		report(Progress{Phase: "verify", Done: 1, Unit: "keys"})
		late <- report
		return CompactResult{}, nil
	}
	var got []Progress
	if _, err := Guard(f).Compact(t.Context(), CompactRequest{Store: Store{Name: "a"}}, func(p Progress) { got = append(got, p) }); err != nil {
		t.Fatal(err)
	}
	(<-late)(Progress{Phase: "verify", Done: 99})
	want := []Progress{
		{Phase: "copy", Done: 5, Total: 10, Unit: "pages", BytesRead: 100},
		{Phase: "copy", Done: 5, Total: 10, Unit: "pages", BytesRead: 100, BytesWritten: 7},
		{Phase: "copy", Done: 12, Total: 12, Unit: "pages", BytesRead: 100, BytesWritten: 7},
		{Phase: "verify", Done: 1, Unit: "keys", BytesRead: 100, BytesWritten: 7},
	}
	if !slices.Equal(got, want) {
		t.Errorf("progress:\n%+v, want\n%+v", got, want)
	}
}

func TestGuardBoundsMeasurement(t *testing.T) {
	f := newFake()
	f.measure = func(context.Context, FragmentationRequest) (Fragmentation, error) {
		m := Fragmentation{Metrics: map[string]float64{"a_nan": math.NaN(), "b_inf": math.Inf(1)}}
		for i := range MaxMetrics + 10 {
			m.Metrics[fmt.Sprintf("m%04d", i)] = float64(i)
		}
		for i := range 2 * MaxMapCells {
			m.Map = append(m.Map, uint8(i%2*250)) // 0 and, out of bounds, 250
		}
		return m, nil
	}
	m, err := Guard(f).Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	_, first := m.Metrics["m0000"]
	_, beyond := m.Metrics[fmt.Sprintf("m%04d", MaxMetrics)]
	if len(m.Metrics) != MaxMetrics || !first || beyond {
		t.Errorf("%d metrics, first %v, beyond %v", len(m.Metrics), first, beyond)
	}
	if len(m.Map) != MaxMapCells || slices.Min(m.Map) != 50 || slices.Max(m.Map) != 50 {
		t.Errorf("%d cells of %d to %d, want pairs of 0 and 100 averaged", len(m.Map), slices.Min(m.Map), slices.Max(m.Map))
	}
	if boundMap(nil) != nil || !reflect.DeepEqual(boundMap([]uint8{1, 200}), []uint8{1, 100}) {
		t.Error("a small map is changed")
	}
}

func TestGuardCancelled(t *testing.T) {
	g := Guard(newFake())
	store := newStore(t, "long")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := g.Compact(ctx, CompactRequest{Store: store}, func(Progress) { cancel() })
	if !errors.Is(err, ErrCancelled) || Retryable(err) {
		t.Errorf("err = %v", err)
	}
}

func TestGuardStoresAndSweepOfBareBackend(t *testing.T) {
	g := guarded(bare{newFake()})
	if _, err := g.Stores(t.Context()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("stores: %v", err)
	}
	if removed, err := g.Sweep(t.Context(), newStore(t, "a")); err != nil || removed != nil {
		t.Errorf("sweep: %v, %v", removed, err)
	}
}
