package sdktest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// testCancel: a compaction that is cancelled in the middle ends at once, the
// store is as before, and nothing lies about.
func testCancel(t *testing.T, s *subject) {
	st := s.newLongStore(t)
	content := s.digest(t, st)
	asked, err := s.cancelAt(t, st, s.slowly(), s.interruptible)
	took := time.Since(asked)
	switch {
	case asked.IsZero():
		t.Fatalf("no progress came from the middle of the compaction (it returned %v), so nobody could cancel it there; raise SlowBytes if it is merely quick", err)
	case err == nil:
		t.Errorf("Compact went on to its end after it was cancelled in the middle; look at ctx between pieces of work, and raise SlowBytes if it is merely quick")
	case !sdk.IsCancelled(err):
		t.Errorf("a cancelled Compact returned %q; want ErrCancelled or the context's error", err)
	case took > promptly:
		t.Errorf("a cancelled Compact took %s to return; %s is the most", took, promptly)
	}
	s.wantUnharmed(t, st, content, "after a cancelled compaction")
}

// testCancelEachPhase: wherever the cancel falls, the store is the old one or
// the new one, whole, and the answer says which.
func testCancelEachPhase(t *testing.T, s *subject) {
	_, tr := s.mustCompact(t, s.newStore(t, Fragmented))
	for _, phase := range tr.phases() {
		s.part(t, phase, func(t *testing.T) {
			st := s.newStore(t, Fragmented)
			content, before := s.digest(t, st), sizeOf(t, st)
			_, err := s.cancelAt(t, st, sdk.Limits{}, func(p sdk.Progress) bool { return p.Phase == phase })
			if err != nil && !sdk.IsCancelled(err) {
				t.Errorf("a Compact cancelled in phase %s returned %q; want ErrCancelled or the context's error", phase, err)
			}
			if done := sizeOf(t, st) != before; !s.Dir && err != nil && done {
				t.Errorf("a Compact cancelled in phase %s says so, but has changed the store's size", phase)
			}
			s.wantUnharmed(t, st, content, "after a compaction cancelled in phase "+phase)
		})
	}
}

// cancelAt compacts and cancels at the first progress that is so; asked is when.
func (s *subject) cancelAt(t *testing.T, st store, limits sdk.Limits, is func(sdk.Progress) bool) (asked time.Time, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	_, _, err = s.compact(ctx, t, s.backend, sdk.CompactRequest{Store: st.ref(), Limits: limits}, func(p sdk.Progress) {
		if is(p) {
			once.Do(func() { asked = time.Now(); cancel() })
		}
	})
	return asked, err
}

// wantUnharmed checks a store that an interrupted compaction has left: nothing
// lies about, nothing was left to sweep, the content is all there, and the
// store can be compacted.
func (s *subject) wantUnharmed(t *testing.T, st store, content, after string) {
	t.Helper()
	st.wantNoLeftovers(t, after)
	if removed := s.mustSweep(t, st); len(removed) > 0 {
		t.Errorf("%s, there was something to sweep: %q", after, removed)
	}
	s.wantContent(t, st, content, after)
	s.mustCompact(t, st)
	s.wantContent(t, st, content, after+" and another that was not")
}

// testKilled: a plugin killed in the middle of a compaction leaves the old
// store or the new one, whole; Sweep removes what else it left; then all goes
// on as usual.
func testKilled(t *testing.T, s *subject) {
	_, tr := s.mustCompact(t, s.newStore(t, Fragmented))
	phases := tr.phases()
	if len(phases) == 0 {
		t.Fatal("no progress: there is no telling when to kill the plugin")
	}

	s.part(t, "at_first", func(t *testing.T) {
		st := s.newLongStore(t)
		err := s.killAt(t, st, s.slowly(), s.interruptible)
		if err == nil {
			t.Fatal("the compaction was over before the plugin could be killed; raise SlowBytes")
		}
		if !errors.Is(err, sdk.ErrConnection) {
			t.Errorf("the call ended with %q; want ErrConnection, for its outcome is not known", err)
		}
	})
	// Later it may be over before the signal arrives. Then there is nothing but
	// a compacted store to find.
	s.part(t, "halfway", func(t *testing.T) {
		st := s.newLongStore(t)
		_ = s.killAt(t, st, s.slowly(), func(p sdk.Progress) bool { return inTheMiddle(p) && 2*p.Done >= p.Total })
	})
	for _, phase := range phases[1:] {
		s.part(t, "in_"+phase, func(t *testing.T) {
			st := s.newStore(t, Fragmented)
			_ = s.killAt(t, st, sdk.Limits{}, func(p sdk.Progress) bool { return p.Phase == phase })
		})
	}
}

// killAt compacts, kills the plugin at the first progress that is so, and has
// another clean up. It returns how the call ended.
func (s *subject) killAt(t *testing.T, st store, limits sdk.Limits, is func(sdk.Progress) bool) error {
	t.Helper()
	content := s.digest(t, st)
	process, _ := s.launch(t)
	strike := make(chan struct{})
	once := sync.OnceFunc(func() { close(strike) })
	ended := make(chan error, 1)
	go func() {
		_, err := process.Client().Compact(t.Context(), sdk.CompactRequest{Store: st.ref(), Limits: limits}, func(p sdk.Progress) {
			if is(p) {
				once()
			}
		})
		ended <- err
	}()

	var err error
	select {
	case err = <-ended:
		kill(t, process)
	case <-strike:
		kill(t, process)
		select {
		case err = <-ended:
		case <-time.After(promptly):
			t.Fatalf("the call has not ended %s after its plugin was killed", promptly)
		}
	case <-time.After(s.Timeout):
		t.Fatalf("Compact hangs: it has not returned after %s", s.Timeout)
	}

	s.wantContent(t, st, content, "after the plugin was killed")
	s.mustSweep(t, st)
	if left := st.leftovers(t); len(left) > 0 {
		t.Errorf("Sweep has left %q beside a store whose plugin was killed", left)
	}
	s.wantContent(t, st, content, "after the plugin was killed and Sweep")
	s.mustCompact(t, st)
	st.wantNoLeftovers(t, "after a kill and a second compaction")
	s.wantContent(t, st, content, "after a kill and a second compaction")
	return err
}

// testSweep: where no compaction has died there is nothing to sweep, and the
// files of others are not ours.
func testSweep(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	before := takeSnapshot(t, st.dir)
	if removed := s.mustSweep(t, st); len(removed) > 0 {
		t.Errorf("Sweep removed %q where nothing was left over", removed)
	}
	before.wantUnchanged(t, st.dir, "after Sweep with nothing to sweep")
}
