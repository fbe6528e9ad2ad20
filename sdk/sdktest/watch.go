package sdktest

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wringdb/wring/sdk"
)

// watch notes what a backend does wrong underneath its Guard, which would turn
// a panic into an error and put shrinking progress right.
type watch struct {
	mu       sync.Mutex
	problems []string
}

func (w *watch) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if problem := fmt.Sprintf(format, args...); !slices.Contains(w.problems, problem) {
		w.problems = append(w.problems, problem)
	}
}

// wantNothing fails the test for what has been noted since the last time.
func (w *watch) wantNothing(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, problem := range w.problems {
		t.Error(problem)
	}
	w.problems = nil
}

// notePanic is to be deferred round each call; the Guard sees the panic too.
func (w *watch) notePanic(call string) {
	if r := recover(); r != nil {
		w.note("%s panics: %v\n%s", call, r, debug.Stack())
		panic(r)
	}
}

// watched puts a watch before a backend and keeps its optional abilities.
func watched(b sdk.Backend, w *watch) sdk.Backend {
	base := watchedBackend{b, w}
	sweeper, sweeps := b.(sdk.Sweeper)
	lister, lists := b.(sdk.StoreLister)
	switch {
	case sweeps && lists:
		return struct {
			watchedBackend
			watchedSweeper
			sdk.StoreLister
		}{base, watchedSweeper{sweeper, w}, lister}
	case sweeps:
		return struct {
			watchedBackend
			watchedSweeper
		}{base, watchedSweeper{sweeper, w}}
	case lists:
		return struct {
			watchedBackend
			sdk.StoreLister
		}{base, lister}
	}
	return base
}

type watchedBackend struct {
	backend sdk.Backend
	watch   *watch
}

func (b watchedBackend) Describe(ctx context.Context) (sdk.Description, error) {
	defer b.watch.notePanic("Describe")
	return b.backend.Describe(ctx)
}

func (b watchedBackend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	defer b.watch.notePanic("Fragmentation")
	return b.backend.Fragmentation(ctx, req)
}

func (b watchedBackend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	defer b.watch.notePanic("Compact")
	var (
		mu       sync.Mutex
		previous *sdk.Progress
		returned atomic.Bool
	)
	defer returned.Store(true)
	return b.backend.Compact(ctx, req, func(p sdk.Progress) {
		if returned.Load() {
			b.watch.note("Compact reports progress (%s %d of %d) after it has returned", p.Phase, p.Done, p.Total)
			return
		}
		mu.Lock()
		if mistake := progressMistake(previous, p); mistake != "" {
			b.watch.note("Compact reports wrong progress: %s", mistake)
		}
		previous = &p
		mu.Unlock()
		report(p)
	})
}

type watchedSweeper struct {
	sweeper sdk.Sweeper
	watch   *watch
}

func (b watchedSweeper) Sweep(ctx context.Context, store sdk.Store) ([]string, error) {
	defer b.watch.notePanic("Sweep")
	return b.sweeper.Sweep(ctx, store)
}

// progressMistake says what is wrong with a progress after another (nil for
// the first), or "".
func progressMistake(previous *sdk.Progress, p sdk.Progress) string {
	switch {
	case !isWord(p.Phase):
		return fmt.Sprintf("the phase %q is no word in snake_case", p.Phase)
	case p.Unit == "":
		return fmt.Sprintf("%s has no unit", p.Phase)
	case p.Done < 0 || p.Total < 0:
		return fmt.Sprintf("%s is at %d of %d %s", p.Phase, p.Done, p.Total, p.Unit)
	case p.Total > 0 && p.Done > p.Total:
		return fmt.Sprintf("%s is at %d of only %d %s", p.Phase, p.Done, p.Total, p.Unit)
	case previous == nil:
		return ""
	case p.BytesRead < previous.BytesRead:
		return fmt.Sprintf("bytes read shrink from %d to %d in %s", previous.BytesRead, p.BytesRead, p.Phase)
	case p.BytesWritten < previous.BytesWritten:
		return fmt.Sprintf("bytes written shrink from %d to %d in %s", previous.BytesWritten, p.BytesWritten, p.Phase)
	case p.Phase != previous.Phase:
		return ""
	case p.Done < previous.Done:
		return fmt.Sprintf("%s goes back from %d to %d %s", p.Phase, previous.Done, p.Done, p.Unit)
	case p.Total < previous.Total:
		return fmt.Sprintf("the total of %s shrinks from %d to %d %s", p.Phase, previous.Total, p.Total, p.Unit)
	case p.Unit != previous.Unit:
		return fmt.Sprintf("%s changes its unit from %s to %s", p.Phase, previous.Unit, p.Unit)
	}
	return ""
}

var (
	_ sdk.Backend = watchedBackend{}
	_ sdk.Sweeper = watchedSweeper{}
)
