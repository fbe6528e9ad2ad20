package compaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

// access is a backend, and what it knows a store by.
type access struct {
	runner      *Runner
	lease       Lease
	description sdk.Description
	store       config.Store
	target      sdk.Store
	// hung is set when a call was given up that may still go on. Target belongs
	// to that call then.
	hung bool
}

// acquire gets the backend of a store. Whoever calls it calls giveBack.
func (r *Runner) acquire(ctx context.Context, store config.Store) (*access, error) {
	lease, err := r.clients.Acquire(ctx, store)
	if err != nil {
		return nil, err
	}
	description := lease.Description()
	return &access{
		runner: r, lease: lease, description: description, store: fit(store, description.Options),
		target: sdk.Store{Name: ownersName(store), Path: store.Path},
	}, nil
}

// ownersName is what a store is called to its backend.
func ownersName(store config.Store) string { return cmp.Or(store.OwnerStore, store.Name) }

// giveBack returns the lease.
func (a *access) giveBack() {
	if a.hung {
		a.lease.Discard("a call did not end when it was cancelled, or it does not answer")
		return
	}
	a.lease.Release()
}

// noLimit is a time that a call may be silent for without being given up.
const noLimit = time.Duration(math.MaxInt64)

// ask makes a call that changes nothing, and gives it up when it is silent for
// the time of patience. F may go on then: what it has written must not be read
// after an error.
func (a *access) ask(ctx context.Context, doing string, patience time.Duration, f func(ctx context.Context) error) error {
	c := a.runner.call(ctx, a.lease, patience, func(ctx context.Context, _ func()) error { return f(ctx) })
	a.hung = a.hung || c.givenUp()
	switch {
	case c.ending == mute:
		return muteError(doing)
	case c.ending == hung && !c.stalled:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case c.ending != returned:
		return fmt.Errorf("%s: %w for %s", doing, errSilent, patience)
	}
	return c.err
}

// look measures the store. Who asks for an exact measurement, which reads all
// of a store, waits as long as they like; others as long as a compaction may
// be silent.
func (a *access) look(ctx context.Context, depth sdk.Depth) (sdk.Fragmentation, error) {
	patience := stallTimeout(a.store)
	if depth == sdk.DepthExact {
		patience = noLimit
	}
	var f sdk.Fragmentation
	err := a.ask(ctx, "measure the store", patience, func(ctx context.Context) error {
		if err := a.find(ctx); err != nil {
			return err
		}
		measured, err := a.measure(ctx, depth)
		if err == nil {
			f = measured
		}
		return err
	})
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	return f, nil
}

// tidy removes what dead compactions have left beside the store.
func (a *access) tidy(ctx context.Context) ([]string, error) {
	var removed []string
	err := a.ask(ctx, "sweep the store", stallTimeout(a.store), func(ctx context.Context) error {
		if err := a.find(ctx); err != nil {
			return err
		}
		swept, err := a.sweep(ctx)
		removed = swept
		return err
	})
	if a.hung {
		return nil, err
	}
	return removed, err
}

// plugin is the name of the backend.
func (a *access) plugin() string {
	if a.store.Plugin != "" {
		return a.store.Plugin
	}
	return a.description.Name
}

// path is where the store is, as far as it is known.
func (a *access) path() string {
	if a.target.Path != "" {
		return a.target.Path
	}
	return a.store.Owner
}

// find asks an owner that lists its stores which one is meant: the one of that
// name, or the only one, unless both that and the name it is asked for are the
// owner's own.
func (a *access) find(ctx context.Context) error {
	lister, ok := a.lease.Backend().(sdk.StoreLister)
	if a.store.Owner == "" || !a.description.Capabilities.ListsStores || !ok {
		return nil
	}
	stores, err := lister.Stores(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(stores))
	for i, s := range stores {
		names[i] = s.Name
	}
	i, err := choose(a.store, names)
	if err != nil {
		return err
	}
	a.target = stores[i]
	return nil
}

// CheckOwned says whether an owner has the store that is meant, among stores of
// these names.
func CheckOwned(store config.Store, names []string) error {
	_, err := choose(store, names)
	return err
}

func choose(store config.Store, names []string) (i int, err error) {
	wanted := ownersName(store)
	if i := slices.Index(names, wanted); i >= 0 {
		return i, nil
	}
	switch {
	case len(names) == 1 && (store.OwnerStore == "" || names[0] == ""):
		return 0, nil
	case len(names) == 0:
		return 0, sdk.Errorf(sdk.ErrNotFound, "the owner at %s has no store %q: it has none at all now", store.Owner, wanted).
			WithHint("look at the application: it may not have opened its stores yet")
	}
	return 0, sdk.Errorf(sdk.ErrNotFound, "the owner at %s has no store %q: it has %s", store.Owner, wanted, strings.Join(names, ", ")).
		WithHint("call the store in the configuration as its owner does")
}

func (a *access) sweep(ctx context.Context) ([]string, error) {
	sweeper, ok := a.lease.Backend().(sdk.Sweeper)
	if !ok {
		return nil, nil
	}
	removed, err := sweeper.Sweep(ctx, a.target)
	if errors.Is(err, sdk.ErrUnsupported) {
		return nil, nil
	}
	return removed, err
}

func (a *access) measure(ctx context.Context, depth sdk.Depth) (sdk.Fragmentation, error) {
	return a.lease.Backend().Fragmentation(ctx, sdk.FragmentationRequest{
		Store: a.target, Depth: depth, Mode: a.store.Mode, Options: sdk.Options(a.store.Options),
	})
}

// decide asks the policy about a store; f is nil for one that was not measured.
func (r *Runner) decide(store config.Store, past history.Past, f *sdk.Fragmentation, manual, force bool) policy.Decision {
	now := r.clock.Now()
	in := policy.Input{
		Name: store.Name, Now: now,
		LastCompletedAt: past.LastCompletedAt, ConsecutiveFailures: past.ConsecutiveFailures,
		LowYields: past.LowYields, LowYieldSkips: past.LowYieldSkips,
		WindowOpen: store.Schedule.Open(now),
		Manual:     manual, Force: force,
	}
	if !in.WindowOpen {
		in.WindowOpens = store.Schedule.NextOpen(now)
	}
	if f != nil {
		in.AllocatedBytes, in.ReclaimableBytes, in.Ratio = f.AllocatedBytes, f.ReclaimableBytes, f.Ratio()
	}
	return policy.Decide(store.Policy, in)
}

// past is what the history knows of a store.
func (r *Runner) past(store string) history.Past {
	var past history.Past
	err := protect(func() (err error) {
		past, err = r.history.Past(store)
		return err
	})
	if err != nil {
		r.logger.Warn("the history does not say what was before", "store", store, "error", err)
	}
	return past
}

// Inspect measures one store. A pattern is refused, as it is many, and so is a
// directory of owners.
func (r *Runner) Inspect(ctx context.Context, store config.Store, depth sdk.Depth) (i Inspection, err error) {
	if store.Glob != "" {
		return Inspection{}, manyFiles(store)
	}
	if store.OwnerDir != "" {
		return Inspection{}, sdk.Errorf(sdk.ErrInvalidOption, "inspect %s: it stands for the stores of all owners in %s", store.Name, store.OwnerDir).
			WithHint("name one of them: see wring status")
	}
	err = protect(func() error {
		a, err := r.acquire(ctx, store)
		if err != nil {
			return err
		}
		defer a.giveBack()
		f, err := a.look(ctx, depth)
		if err != nil {
			return err
		}
		i = inspection(a, f)
		return nil
	})
	return i, err
}

func manyFiles(store config.Store) error {
	files, err := Expand(store)
	if err != nil {
		return err
	}
	refusal := sdk.Errorf(sdk.ErrInvalidOption, "inspect %s: it stands for %s, found by %s", store.Name, plural(len(files), "file"), store.Glob)
	if len(files) > 0 {
		refusal = refusal.WithHint("name one of them: wring inspect %s", files[0].Path)
	}
	return refusal
}

func inspection(a *access, f sdk.Fragmentation) Inspection {
	i := Inspection{
		Store: a.store.Name, Plugin: a.plugin(), Engine: a.description.Engine, Path: a.path(),
		TotalBytes: f.TotalBytes, AllocatedBytes: f.AllocatedBytes, LiveBytes: f.LiveBytes,
		ReclaimableBytes: f.ReclaimableBytes, Ratio: f.Ratio(), Method: f.Method,
		Mode: f.Mode, Note: f.Note, Metrics: f.Metrics, Map: make([]int, len(f.Map)),
		Layers: layersOf(f.Layers),
	}
	if f.Obstacle != nil {
		i.Obstacle = &Obstacle{Error: f.Obstacle.Error(), Hint: f.Obstacle.Hint}
		if errors.Is(f.Obstacle, sdk.ErrNoSpace) {
			i.Obstacle.Code = history.CodeNoSpace
		}
	}
	if i.Metrics == nil {
		i.Metrics = map[string]float64{}
	}
	for n, cell := range f.Map {
		i.Map[n] = int(cell)
	}
	return i
}

// Swept is what SweepAll has done for one store.
type Swept struct {
	Store   string
	Removed []string
	Err     error
}

// SweepAll removes what compactions that died have left beside stores, one
// after another, and returns the stores where there was something to remove or
// something went wrong. An owner that is away sees to its own stores. A plugin
// that cannot be reached, or does not answer for one store, is not asked about
// the others, so that it holds up those of other plugins once: they are swept
// before their next compaction.
func (r *Runner) SweepAll(ctx context.Context, stores []config.Store) []Swept {
	var all []Swept
	unreachable := map[string]bool{}
	for _, configured := range stores {
		files, err := Expand(configured)
		if err != nil {
			all = append(all, Swept{Store: configured.Name, Err: err})
		}
		for _, store := range files {
			if ctx.Err() != nil {
				return all
			}
			if store.Owner == "" && unreachable[store.Plugin] {
				continue // said once
			}
			s := Swept{Store: store.Name}
			s.Removed, s.Err = r.sweepOne(ctx, store)
			var unreached *unreachableError
			if errors.As(s.Err, &unreached) || errors.Is(s.Err, errSilent) {
				unreachable[store.Plugin] = true
			}
			switch {
			case s.Err != nil && ctx.Err() != nil:
				return all
			case s.Err != nil && store.Owner != "" && isAway(s.Err), errors.Is(s.Err, sdk.ErrNotFound):
				r.logger.Debug("not swept", "store", s.Store, "error", s.Err)
				continue
			case s.Err != nil:
				r.logger.Warn("leftovers of compactions are not all removed", "store", s.Store, "error", s.Err, "hint", sdk.HintOf(s.Err))
			case len(s.Removed) == 0:
				continue
			default:
				r.logger.Info("removed leftovers of a compaction that died", "store", s.Store, "files", s.Removed)
			}
			all = append(all, s)
		}
	}
	return all
}

// unreachableError: the backend could not be acquired.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

func (r *Runner) sweepOne(ctx context.Context, store config.Store) (removed []string, err error) {
	err = protect(func() error {
		a, err := r.acquire(ctx, store)
		if err != nil {
			return &unreachableError{fmt.Errorf("reach the backend: %w", err)}
		}
		defer a.giveBack()
		removed, err = a.tidy(ctx)
		return err
	})
	return removed, err
}

// isAway recognises an owner that does not answer.
func isAway(err error) bool {
	return errors.Is(err, sdk.ErrNotFound) || errors.Is(err, sdk.ErrConnection)
}
