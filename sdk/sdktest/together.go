package sdktest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// testLocked: a store that another process holds is busy, at once and
// untouched, and is compacted once it is free.
func testLocked(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	content := s.digest(t, st)
	release := s.holdElsewhere(t, st)

	// In a directory the holder may work on by itself; its content is looked at
	// in the end.
	wantUntouched := func(string) {}
	if !s.Dir {
		before := takeSnapshot(t, st.dir)
		wantUntouched = func(after string) { t.Helper(); before.wantUntouched(t, st.dir, after) }
	}
	begin := time.Now()
	_, _, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref()}, nil)
	if took := time.Since(begin); took > promptly {
		t.Errorf("it took %s to see that the store is held; %s is the most", took, promptly)
	}
	wantKind(t, "compacting a store that another process holds", err, sdk.ErrBusy)
	if err != nil && !sdk.Retryable(err) {
		t.Errorf("the error %q is not retryable, though the holder may let go", err)
	}
	wantUntouched("after a compaction that found the store held")

	for _, depth := range depths {
		f, err := s.measure(t, st, depth)
		switch {
		case err == nil:
			checkFragmentation(t, Fragmented, f, sizeOf(t, st), s.Dir)
		case s.about.Capabilities.MeasuresWithoutLock:
			t.Errorf("the backend says that it measures without the lock, but Fragmentation, %s, returned %q", depth, err)
		default:
			wantKind(t, "measuring a store that another process holds", err, sdk.ErrBusy)
		}
	}
	wantUntouched("after a held store was measured")

	release()
	s.mustCompact(t, st)
	s.wantContent(t, st, content, "after the holder let go and the store was compacted")
}

// testMeasureWhileCompacting: a look during a compaction gets an answer and
// does no harm.
func testMeasureWhileCompacting(t *testing.T, s *subject) {
	st := s.newLongStore(t)
	content := s.digest(t, st)
	var (
		once  sync.Once
		looks sync.WaitGroup
		errs  = make(chan error, len(depths))
	)
	_, _, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref()}, func(sdk.Progress) {
		once.Do(func() {
			for _, depth := range depths {
				looks.Go(func() {
					_, err := s.backend.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: st.ref(), Depth: depth})
					errs <- err
				})
			}
		})
	})
	if err != nil {
		t.Fatalf("Compact while the store was measured: %v", err)
	}
	_, _ = within(t, s.Timeout, "Fragmentation during Compact", func() (struct{}, error) { looks.Wait(); return struct{}{}, nil })
	close(errs)
	for err := range errs {
		if err != nil {
			wantKind(t, "measuring during a compaction", err, sdk.ErrBusy)
		}
	}
	s.wantContent(t, st, content, "after it was measured during a compaction")
}

// testCompactTwiceAtOnce: of two compactions of one store, one wins and the
// other is told that the store is busy.
func testCompactTwiceAtOnce(t *testing.T, s *subject) {
	st := s.newLongStore(t)
	content := s.digest(t, st)
	rival := s.another(t)
	var (
		once   sync.Once
		second = make(chan error, 1)
	)
	limits := s.slowly()
	limits.BytesPerSecond *= 4 // the rival needs a moment only
	_, tr, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref(), Limits: limits}, func(p sdk.Progress) {
		if !unfinished(p) {
			return
		}
		once.Do(func() {
			attempt := func() {
				_, err := rival.Compact(t.Context(), sdk.CompactRequest{Store: st.ref()}, func(sdk.Progress) {})
				second <- err
			}
			if s.half == subprocess {
				go attempt() // the plugin does not wait for this function
				return
			}
			attempt() // while the first compaction waits for this function
		})
	})
	if err != nil {
		t.Fatalf("the first compaction: %v", err)
	}
	if !slices.ContainsFunc(tr.all(), unfinished) {
		t.Fatal("no progress before the end: there is no telling when to start the second compaction")
	}
	_, err = within(t, s.Timeout, "the second compaction", func() (struct{}, error) { return struct{}{}, <-second })
	wantKind(t, "a second compaction of the same store", err, sdk.ErrBusy)
	if err != nil && !sdk.Retryable(err) {
		t.Errorf("the error %q is not retryable, though the first compaction ends", err)
	}
	st.wantNoLeftovers(t, "after two compactions at once")
	s.wantContent(t, st, content, "after two compactions at once")
}

// testCompactSeveralStores: calls for different stores come at the same time.
func testCompactSeveralStores(t *testing.T, s *subject) {
	const several = 3
	var calls sync.WaitGroup
	stores, contents, errs := make([]store, several), make([]string, several), make([]error, several)
	for i := range stores {
		stores[i] = s.newStore(t, Fragmented)
		contents[i] = s.digest(t, stores[i])
	}
	for i, st := range stores {
		calls.Go(func() {
			_, errs[i] = s.backend.Compact(t.Context(), sdk.CompactRequest{Store: st.ref()}, func(sdk.Progress) {})
		})
	}
	_, _ = within(t, s.Timeout, "compacting several stores at once", func() (struct{}, error) { calls.Wait(); return struct{}{}, nil })
	for i, st := range stores {
		if errs[i] != nil {
			t.Errorf("store %d of %d at the same time: %v", i+1, several, errs[i])
		}
		s.wantContent(t, st, contents[i], "after several stores were compacted at the same time")
	}
}
