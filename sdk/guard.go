package sdk

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
)

// Guard makes a Backend safe to call, in process or behind a server. It
//
//   - checks and completes what comes in: options against the schema, mode,
//     depth, rate limit, path;
//   - checks and completes what goes out: description, progress that never
//     runs backwards, bounds of map and metrics, layers, equal digests;
//   - gives every error a kind, and turns a panic into ErrInternal with the
//     stack in the log (hclog.FromContext);
//   - lets one compaction of a store run at a time, across processes, by a
//     lock file beside the store.
//
// What it returns is a Sweeper and a StoreLister too, whatever b is. Serve and
// ListenAndServe guard their backend themselves. What is guarded already is
// returned as it is; do not wrap it and have that guarded again, since the two
// would keep each other from the store's lock.
func Guard(b Backend) Backend { return guarded(b) }

func guarded(b Backend) *guard {
	if g, ok := b.(*guard); ok {
		return g
	}
	return &guard{backend: b, now: time.Now, named: make(map[string]bool)}
}

// resolver is a Backend that knows the paths of stores by their names.
type resolver interface {
	resolve(store Store) (Store, error)
}

type guard struct {
	backend Backend
	now     func() time.Time

	mu          sync.Mutex
	description *Description    // nil until Describe has succeeded once
	named       map[string]bool // stores without a path that are being compacted
}

// Describe asks the backend once and remembers the answer.
func (g *guard) Describe(ctx context.Context) (Description, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.description != nil {
		return g.description.clone(), nil
	}
	var d Description
	err := protect(ctx, "describe backend", func() error {
		raw, err := g.backend.Describe(ctx)
		if err != nil {
			return err
		}
		raw.Capabilities.Sweeps = true // the lock file at least
		_, raw.Capabilities.ListsStores = g.backend.(StoreLister)
		d, err = raw.complete()
		return err
	})
	if err != nil {
		return Description{}, err
	}
	g.description = &d
	return d.clone(), nil
}

// Fragmentation checks the request, then measures.
func (g *guard) Fragmentation(ctx context.Context, req FragmentationRequest) (Fragmentation, error) {
	d, err := g.Describe(ctx)
	if err != nil {
		return Fragmentation{}, err
	}
	doing := "measure " + nameOf(req.Store)
	if req.Store, err = g.store(doing, req.Store); err != nil {
		return Fragmentation{}, err
	}
	if req.Depth == "" {
		req.Depth = DepthSampled
	}
	if depths := []Depth{DepthQuick, DepthSampled, DepthExact}; !slices.Contains(depths, req.Depth) {
		return Fragmentation{}, Errorf(ErrInvalidOption, "%s: there is no depth %q", doing, req.Depth).
			WithHint("the depths are: quick, sampled, exact")
	}
	if req.Mode, err = resolveMode(doing, d, req.Mode); err != nil {
		return Fragmentation{}, err
	}
	if req.Options, err = resolveOptions(doing, d.Options, req.Options); err != nil {
		return Fragmentation{}, err
	}
	var f Fragmentation
	err = protect(ctx, doing, func() error {
		var err error
		f, err = g.backend.Fragmentation(ctx, req)
		return err
	})
	if err != nil {
		return Fragmentation{}, err
	}
	if f.Method == "" {
		f.Method = MethodEstimated
	}
	if f.Obstacle != nil {
		f.Obstacle = typed(ctx, doing, f.Obstacle)
	}
	f.Map = boundMap(f.Map)
	f.Metrics = boundMetrics(f.Metrics)
	if err := checkLayers(f.Layers); err != nil {
		return Fragmentation{}, Errorf(ErrInternal, "%s: the picture of the layers is wrong: %w", doing, err).
			WithHint("report this to the backend's author")
	}
	return f, nil
}

// Compact checks the request, takes the store's lock, then compacts.
func (g *guard) Compact(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error) {
	d, err := g.Describe(ctx)
	if err != nil {
		return CompactResult{}, err
	}
	doing := "compact " + nameOf(req.Store)
	if req.Store, err = g.store(doing, req.Store); err != nil {
		return CompactResult{}, err
	}
	if err := checkCompact(doing, d, &req); err != nil {
		return CompactResult{}, err
	}
	release, err := g.holdSoon(ctx, doing, req.Store)
	if err != nil {
		return CompactResult{}, typed(ctx, doing, err)
	}
	defer release()

	progress := newMonotonic(report)
	defer progress.stop()
	defer req.Pace.whileWaiting(progress.repeat)()
	began := g.now()
	var result CompactResult
	err = protect(ctx, doing, func() error {
		var err error
		if result, err = g.backend.Compact(ctx, req, progress.report); err != nil {
			return err
		}
		return checkVerification(doing, result.Verification)
	})
	if err != nil {
		return CompactResult{}, err
	}
	if result.Mode == "" {
		result.Mode = req.Mode
	}
	if result.Duration == 0 {
		result.Duration = g.now().Sub(began)
	}
	return result, nil
}

// Sweep removes what dead compactions left, the lock file included. A store
// that is being compacted is left alone: what lies there is in use.
func (g *guard) Sweep(ctx context.Context, store Store) ([]string, error) {
	doing := "sweep " + nameOf(store)
	store, err := g.store(doing, store)
	if err != nil {
		return nil, err
	}
	sweeper, sweeps := g.backend.(Sweeper)
	stale, err := staleLock(store.Path)
	if err != nil {
		return nil, typed(ctx, doing, err)
	}
	if !sweeps && stale == "" {
		return nil, nil
	}
	release, err := g.hold(doing, store, forSweep)
	switch {
	case isKind(err, ErrBusy):
		return nil, nil
	case err != nil:
		return nil, typed(ctx, doing, err)
	}
	defer release()
	var removed []string
	if sweeps {
		err = protect(ctx, doing, func() error {
			var err error
			removed, err = sweeper.Sweep(ctx, store)
			return err
		})
	}
	if stale != "" {
		removed = append(removed, stale) // release removes it
	}
	return removed, err
}

// Stores asks the backend, where it is a StoreLister.
func (g *guard) Stores(ctx context.Context) ([]Store, error) {
	lister, ok := g.backend.(StoreLister)
	if !ok {
		return nil, Errorf(ErrUnsupported, "list stores: this backend holds no stores of its own").
			WithHint("name the store by its path")
	}
	var stores []Store
	err := protect(ctx, "list stores", func() error {
		var err error
		stores, err = lister.Stores(ctx)
		return err
	})
	return stores, err
}

// store checks which store is meant, and finds its path where the backend knows
// it by name.
func (g *guard) store(doing string, store Store) (Store, error) {
	if err := checkStore(doing, store); err != nil {
		return Store{}, err
	}
	if r, ok := g.backend.(resolver); ok {
		return r.resolve(store)
	}
	return store, nil
}

// hold keeps any other compaction of the store away until release is called.
func (g *guard) hold(doing string, store Store, purpose string) (release func(), err error) {
	if store.Path != "" {
		return lockStore(doing, store.Path, purpose, g.now())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.named[store.Name] {
		return nil, Errorf(ErrBusy, "%s: it is being compacted already", doing)
	}
	g.named[store.Name] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.named, store.Name)
	}, nil
}

// sweepPatience is how long a compaction waits for a sweep, which takes the
// store's lock too and may have a directory to sync.
const sweepPatience = 5 * time.Second

// holdSoon is hold, but waits for a sweep to be over.
func (g *guard) holdSoon(ctx context.Context, doing string, store Store) (release func(), err error) {
	patience := time.NewTimer(sweepPatience)
	defer patience.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		release, err := g.hold(doing, store, forCompaction)
		if !errors.Is(err, errMomentary) {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, err
		case <-again.C:
		}
	}
}

// protect runs a call of the backend. Its error is an *Error or nil.
func protect(ctx context.Context, doing string, call func() error) (err error) {
	// A mapped file that shrinks under its reader faults: a panic is kinder to
	// the other stores of this process than its end. It holds for this
	// goroutine only.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			hclog.FromContext(ctx).Error("backend panicked", "doing", doing, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = Errorf(ErrInternal, "%s: the backend panicked: %v", doing, p).
				WithHint("the stack is in the log; please send it to the backend's author")
		}
	}()
	if err := call(); err != nil {
		return typed(ctx, doing, err)
	}
	return nil
}

func nameOf(store Store) string {
	switch {
	case store.Name != "":
		return store.Name
	case store.Path != "":
		return store.Path
	}
	return "store"
}

func checkStore(doing string, store Store) error {
	switch {
	case store.Name == "" && store.Path == "":
		return Errorf(ErrInvalidOption, "%s: it has neither name nor path", doing)
	case store.Path != "" && !filepath.IsAbs(store.Path):
		return Errorf(ErrInvalidOption, "%s: path %q is not absolute", doing, store.Path).
			WithHint("a backend has a working directory of its own: write the path from /")
	case strings.ContainsRune(store.Path, 0):
		return Errorf(ErrInvalidOption, "%s: path %q has a NUL byte", doing, store.Path)
	case !utf8.ValidString(store.Name):
		return Errorf(ErrInvalidOption, "%s: its name %q is not UTF-8, which the protocol cannot carry", doing, store.Name).
			WithHint("give the store a plain name")
	case !utf8.ValidString(store.Path):
		return Errorf(ErrInvalidOption, "%s: path %q is not UTF-8, which the protocol cannot carry", doing, store.Path).
			WithHint("give the store a symbolic link with a plain name, and use that")
	}
	return nil
}

func resolveOptions(doing string, schema Schema, given Options) (Options, error) {
	options, err := schema.Resolve(given)
	if err != nil {
		return nil, Errorf(ErrInvalidOption, "%s: %w", doing, err).WithHint("%s", HintOf(err))
	}
	return options, nil
}

func resolveMode(doing string, d Description, mode string) (string, error) {
	modes := d.Capabilities.Modes
	if mode == "" {
		return modes[0], nil
	}
	if !slices.Contains(modes, mode) {
		return "", Errorf(ErrInvalidOption, "%s: %s has no mode %q", doing, d.Name, mode).
			WithHint("the modes are: %s", strings.Join(modes, ", "))
	}
	return mode, nil
}

func checkCompact(doing string, d Description, req *CompactRequest) (err error) {
	if req.Mode, err = resolveMode(doing, d, req.Mode); err != nil {
		return err
	}
	// A negative limit is a mistake with a pace too.
	if req.Pace != nil && req.Limits.BytesPerSecond >= 0 {
		req.Limits.BytesPerSecond = req.Pace.Rate()
	}
	if err := req.Limits.check(doing, d); err != nil {
		return err
	}
	if req.Pace == nil {
		req.Pace = NewPace(req.Limits.BytesPerSecond)
	}
	req.Options, err = resolveOptions(doing, d.Options, req.Options)
	return err
}

func (l Limits) check(doing string, d Description) error {
	switch rate := l.BytesPerSecond; {
	case rate < 0:
		return Errorf(ErrInvalidOption, "%s: a limit of %d bytes per second is negative", doing, rate).
			WithHint("0 means no limit")
	case rate > 0 && !d.Capabilities.LimitsRate:
		return Errorf(ErrUnsupported, "%s: %s cannot limit its rate to %s/s", doing, d.Name, FormatBytes(rate)).
			WithHint("remove the limit for this store")
	}
	return nil
}

func checkVerification(doing string, v *Verification) error {
	switch {
	case v == nil:
		return nil
	case v.DigestBefore != v.DigestAfter:
		return Errorf(ErrInternal, "%s: content differs: digest %s before, %s after", doing, v.DigestBefore, v.DigestAfter).
			WithHint("look at the store before using it, and report this to the backend's author")
	case v.ItemsBefore != v.ItemsAfter:
		return Errorf(ErrInternal, "%s: content differs: %d items before, %d after", doing, v.ItemsBefore, v.ItemsAfter).
			WithHint("look at the store before using it, and report this to the backend's author")
	}
	return nil
}

var (
	_ Backend     = (*guard)(nil)
	_ Sweeper     = (*guard)(nil)
	_ StoreLister = (*guard)(nil)
)
