package sdktest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

// testCompact: in every mode compaction loses nothing, and in the default one
// it gives back a good part; its figures are those of the file system.
func testCompact(t *testing.T, s *subject) {
	for i, mode := range s.about.Capabilities.Modes {
		s.part(t, mode, func(t *testing.T) {
			st := s.newStore(t, Fragmented)
			perm := s.unusualMode()
			mustDo(t, os.Chmod(st.path, perm))
			content, before := s.digest(t, st), sizeOf(t, st)
			due, obstacle := s.foretold(t, st, mode)
			res, _, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref(), Mode: mode}, nil)
			if obstacle != nil && !errors.Is(err, obstacle.Kind) {
				t.Errorf("the measurement announces an obstacle (%v: %s), and Compact returns error %v; want that kind",
					obstacle.Kind, obstacle.Message, err)
			}
			if err != nil {
				t.Fatalf("Compact: %v", err)
			}
			after := sizeOf(t, st)
			info, err := os.Stat(st.path)
			mustDo(t, err)
			if info.Mode().Perm() != perm {
				t.Errorf("the store's mode was %s, now it is %s", perm, info.Mode().Perm())
			}
			st.wantNoLeftovers(t, "after compaction")
			s.wantContent(t, st, content, "after compaction")
			s.checkResult(t, res, before, after)
			if res.Mode != due {
				t.Errorf("mode %q was asked for and %q is due, the result says %q", mode, due, res.Mode)
			}
			reclaimed := before.AllocatedBytes - after.AllocatedBytes
			if i == 0 && float64(reclaimed) < minimumYield*float64(before.AllocatedBytes) {
				t.Errorf("compaction gave back %d of %d bytes; of a store that is about half dead space at least %.0f%% are due",
					reclaimed, before.AllocatedBytes, 100*minimumYield)
			}
			if i == 0 && res.NoOp {
				t.Error("the result calls the compaction of a fragmented store a no_op")
			}
		})
	}
}

// unusualMode is one that no umask makes of itself.
func (s *subject) unusualMode() fs.FileMode {
	if s.Dir {
		return 0o710
	}
	return 0o604
}

// digestForm is a name and a value: "xxh64:0f3a…".
var digestForm = regexp.MustCompile(`^[a-z0-9_-]+:[0-9A-Za-z+/=_-]+$`)

// checkResult holds a result against itself and against the file system.
func (s *subject) checkResult(t *testing.T, res sdk.CompactResult, before, after sdk.Size) {
	t.Helper()
	for _, c := range []struct {
		when      string
		said, was sdk.Size
	}{{"before", res.Before, before}, {"after", res.After, after}} {
		if !s.Dir && c.said.TotalBytes != c.was.TotalBytes || !near(c.said.TotalBytes, c.was.TotalBytes, 0.05) {
			t.Errorf("%s: the result says %d bytes in total, the file system %d", c.when, c.said.TotalBytes, c.was.TotalBytes)
		}
		if !near(c.said.AllocatedBytes, c.was.AllocatedBytes, 0.10) {
			t.Errorf("%s: the result says %d bytes allocated, the file system %d", c.when, c.said.AllocatedBytes, c.was.AllocatedBytes)
		}
	}
	if diff := res.Before.AllocatedBytes - res.After.AllocatedBytes; res.ReclaimedBytes != diff {
		t.Errorf("the result says %d bytes reclaimed; before less after is %d", res.ReclaimedBytes, diff)
	}
	// Both travel in whole milliseconds.
	if res.Pause < 0 || res.Duration < 0 || res.Pause > res.Duration+time.Millisecond {
		t.Errorf("writers were held up for %s of %s", res.Pause, res.Duration)
	}
	if strings.ContainsAny(res.Note, "\n\r") {
		t.Errorf("the note has several lines: %q", res.Note)
	}
	v := res.Verification
	switch {
	case v == nil && s.about.Capabilities.Verifies && !res.NoOp:
		t.Error("the backend says that it verifies, but the result has no verification")
	case v == nil:
	case v.DigestBefore != v.DigestAfter || v.ItemsBefore != v.ItemsAfter:
		t.Errorf("verification found a difference, which is no error: %+v", *v)
	case !digestForm.MatchString(v.DigestBefore):
		t.Errorf("the digest %q has not the form name:value", v.DigestBefore)
	case v.ItemsBefore < 0:
		t.Errorf("%d items", v.ItemsBefore)
	}
}

// testCompactEmpty: a store with nothing in it stays a store.
func testCompactEmpty(t *testing.T, s *subject) {
	s.compactAndCompare(t, Empty)
}

// testCompactDense: a store with nothing to give back loses nothing and does
// not grow.
func testCompactDense(t *testing.T, s *subject) {
	before, after := s.compactAndCompare(t, Dense)
	if grown := after.AllocatedBytes - before.AllocatedBytes; grown > before.AllocatedBytes/20+slack {
		t.Errorf("compaction made a dense store of %d bytes grow by %d", before.AllocatedBytes, grown)
	}
}

func (s *subject) compactAndCompare(t *testing.T, shape Shape) (before, after sdk.Size) {
	t.Helper()
	st := s.newStore(t, shape)
	content, before := s.digest(t, st), sizeOf(t, st)
	res, _ := s.mustCompact(t, st)
	after = sizeOf(t, st)
	st.wantNoLeftovers(t, "after compaction")
	s.wantContent(t, st, content, "after compaction")
	s.checkResult(t, res, before, after)
	return before, after
}

// testCompactSymlink: a store that is reached by a symbolic link is compacted
// where it is, and the link stays a link.
func testCompactSymlink(t *testing.T, s *subject) {
	st, link := s.newStore(t, Fragmented), s.noStore(t)
	mustDo(t, os.Symlink(st.path, link.path))
	content, before := s.digest(t, st), sizeOf(t, st)
	res, _ := s.mustCompact(t, link)
	s.checkResult(t, res, before, sizeOf(t, st))
	if target, err := os.Readlink(link.path); err != nil || target != st.path {
		t.Errorf("the link to the store is one no more: it leads to %q (%v)", target, err)
	}
	s.wantContent(t, st, content, "after compaction by a link")
	for _, place := range []store{st, link} {
		place.wantNoLeftovers(t, "after compaction by a link")
	}
}

// testCompactAgain: a second compaction has next to nothing left to do.
func testCompactAgain(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	content := s.digest(t, st)
	first, _ := s.mustCompact(t, st)
	before := sizeOf(t, st)
	second, _ := s.mustCompact(t, st)
	s.checkResult(t, second, before, sizeOf(t, st))
	s.wantContent(t, st, content, "after the second compaction")
	if abs(second.ReclaimedBytes) > first.After.AllocatedBytes/20+slack {
		t.Errorf("the second compaction of a store of %d bytes changed its size by %d", first.After.AllocatedBytes, -second.ReclaimedBytes)
	}
	if a, b := first.Verification, second.Verification; a != nil && b != nil && a.DigestAfter != b.DigestBefore {
		t.Errorf("the same content has two digests: %s, then %s", a.DigestAfter, b.DigestBefore)
	}
}

// testProgress: it comes while work is done, and makes sense.
func testProgress(t *testing.T, s *subject) {
	st := s.newLongStore(t)
	limits := s.slowly()
	limits.BytesPerSecond *= 2 // a plugin's progress comes every 100 ms; give it some such times
	_, tr, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref(), Limits: limits}, nil)
	if err != nil {
		t.Fatalf("Compact: %v", err)
	}
	seen, partial, begun := tr.all(), 0, 0
	var previous *sdk.Progress
	for _, p := range seen {
		if mistake := progressMistake(previous, p); mistake != "" {
			t.Errorf("wrong progress: %s", mistake)
		}
		if inTheMiddle(p) {
			partial++
		}
		if unfinished(p) {
			begun++
		}
		previous = &p
	}
	// A plugin that knows no limit may be through before a second message.
	enough := partial >= 2 || s.half == subprocess && limits.BytesPerSecond == 0 && begun > 0
	if !enough {
		t.Errorf("of %d progress reports %d came in the middle of the work: the host would take the rest for a stall", len(seen), partial)
	}
}

// testRateLimit: a backend that says so keeps to the limit, another refuses.
func testRateLimit(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	limit := s.Bytes // a second or two of work
	begin := time.Now()
	_, tr, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{
		Store: st.ref(), Limits: sdk.Limits{BytesPerSecond: limit},
	}, nil)
	elapsed := time.Since(begin)
	if !s.about.Capabilities.LimitsRate {
		wantKind(t, "a rate limit, which the backend cannot keep,", err, sdk.ErrUnsupported, sdk.ErrInvalidOption)
		return
	}
	if err != nil {
		t.Fatalf("Compact with a limit of %d bytes per second: %v", limit, err)
	}
	seen := tr.all()
	if len(seen) == 0 {
		t.Fatal("no progress, so no count of the bytes read and written")
	}
	last := seen[len(seen)-1]
	moved := last.BytesRead + last.BytesWritten
	if moved < limit/2 {
		t.Errorf("only %d bytes are counted as read or written for a store of about %d", moved, s.Bytes)
	}
	// A limiter may let half a second's worth through at once.
	if least := time.Duration(float64(moved)/float64(limit)*float64(time.Second)) - time.Second/2; elapsed < least {
		t.Errorf("%d bytes took %s at %d bytes per second; at least %s are due", moved, elapsed, limit, least)
	}
}

// testRateChange: a limit that is lifted in the middle holds nobody back.
func testRateChange(t *testing.T, s *subject) {
	if !s.about.Capabilities.LimitsRate {
		t.Skip("the backend limits no rate, as the case before has shown")
	}
	st := s.newStore(t, Fragmented)
	content := s.digest(t, st)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pace := sdk.NewPace(s.Bytes / 16) // many seconds of work
	var begun sync.Once
	_, _, err := s.compact(ctx, t, s.backend, sdk.CompactRequest{Store: st.ref(), Pace: pace}, func(sdk.Progress) {
		begun.Do(func() {
			time.AfterFunc(200*time.Millisecond, func() { pace.Set(0) })
			time.AfterFunc(promptly, cancel)
		})
	})
	switch {
	case sdk.IsCancelled(err):
		t.Errorf("Compact is not done %s after its limit was lifted: wait on CompactRequest.Pace, which may change", promptly-200*time.Millisecond)
	case err != nil:
		t.Fatalf("Compact with a limit that is lifted: %v", err)
	}
	if pace.Rate() != 0 {
		t.Errorf("Compact was done before its limit of %d bytes per second was lifted", pace.Rate())
	}
	s.wantContent(t, st, content, "after a compaction whose limit was changed")
}

// modeDue is the mode that a compaction has to use.
func (s *subject) modeDue(t *testing.T, st store, asked string) string {
	t.Helper()
	due, _ := s.foretold(t, st, asked)
	return due
}

// foretold is what a measurement says of a compaction: the mode that it has to
// use, which is the one that was asked for unless another is named, and what
// stands in its way, or nil.
func (s *subject) foretold(t *testing.T, st store, asked string) (mode string, obstacle *sdk.Error) {
	t.Helper()
	f, err := within(t, s.Timeout, "Fragmentation", func() (sdk.Fragmentation, error) {
		return s.backend.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: st.ref(), Mode: asked})
	})
	switch {
	case err != nil:
		t.Fatalf("Fragmentation for mode %q: %v", asked, err)
	case f.Mode != "" && !slices.Contains(s.about.Capabilities.Modes, f.Mode):
		t.Errorf("measured for mode %q it announces %q, which it does not describe", asked, f.Mode)
	case f.Mode != "":
		return f.Mode, f.Obstacle
	case asked == "":
		return s.about.Capabilities.Modes[0], f.Obstacle
	}
	return asked, f.Obstacle
}

// testModes: a mode that the backend has not described is refused, and the
// default is the first.
func testModes(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	before := takeSnapshot(t, st.dir)
	const unknown = "no_such_mode"
	_, _, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref(), Mode: unknown}, nil)
	wantKind(t, "an unknown mode", err, sdk.ErrInvalidOption)
	_, err = s.backend.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: st.ref(), Mode: unknown})
	wantKind(t, "measuring for an unknown mode", err, sdk.ErrInvalidOption)
	before.wantUnchanged(t, st.dir, "after a mode was refused")
	due := s.modeDue(t, st, "")

	res, _, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref()}, nil)
	if err != nil {
		t.Fatalf("Compact without a mode: %v", err)
	}
	if res.Mode != due {
		t.Errorf("no mode was asked for: the result says %q, %q is due", res.Mode, due)
	}
}

// testOptions: what the schema does not allow reaches no store, and every
// mistake is named.
func testOptions(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	before := takeSnapshot(t, st.dir)
	refused := func(what string, names []string, given map[string]any) {
		t.Helper()
		_, _, errCompact := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref(), Options: given}, nil)
		_, errMeasure := s.backend.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: st.ref(), Options: given})
		for call, err := range map[string]error{"Compact": errCompact, "Fragmentation": errMeasure} {
			wantKind(t, call+" with "+what, err, sdk.ErrInvalidOption)
			for _, name := range names {
				if err != nil && !strings.Contains(err.Error(), name) {
					t.Errorf("%s with %s: the error %q does not name %s", call, what, err, name)
				}
			}
		}
	}

	const unknown = "no_such_option"
	refused("an unknown option", []string{unknown}, map[string]any{unknown: "x"})
	all, names := map[string]any{unknown: "x"}, []string{unknown}
	for _, o := range s.about.Options {
		wrong := wrongType(o.Type)
		all[o.Name], names = wrong, append(names, o.Name)
		refused(o.Name+" of the wrong type", []string{o.Name}, map[string]any{o.Name: wrong})
		for what, value := range outOfBounds(o) {
			refused(o.Name+" "+what, []string{o.Name}, map[string]any{o.Name: value})
		}
	}
	refused("every option wrong", names, all)
	before.wantUnchanged(t, st.dir, "after options were refused")

	given := make(map[string]any)
	for _, o := range s.about.Options {
		if o.Default != nil {
			given[o.Name] = o.Default
		}
	}
	if _, err := s.backend.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: st.ref(), Options: given}); err != nil {
		t.Errorf("Fragmentation with every option at its default: %v", err)
	}
}

func wrongType(o sdk.OptionType) any {
	if o == sdk.TypeString {
		return 1.5
	}
	return "certainly not a " + string(o)
}

func outOfBounds(o sdk.Option) map[string]any {
	value := func(v float64) any {
		if o.Type == sdk.TypeDuration {
			return time.Duration(v * float64(time.Second)).String()
		}
		return v
	}
	wrong := make(map[string]any)
	if o.Min != nil && (o.Type != sdk.TypeSize || *o.Min >= 1) {
		wrong["below its bound"] = value(*o.Min - 1)
	}
	if o.Max != nil {
		wrong["above its bound"] = value(*o.Max + 1)
	}
	if len(o.OneOf) > 0 {
		wrong["not one of its values"] = "none of " + strings.Join(o.OneOf, " ")
	}
	return wrong
}

// testCancelBefore: a call that is cancelled before it begins does nothing.
func testCancelBefore(t *testing.T, s *subject) {
	st := s.newStore(t, Fragmented)
	before := takeSnapshot(t, st.dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.compact(ctx, t, s.backend, sdk.CompactRequest{Store: st.ref()}, nil)
	if !sdk.IsCancelled(err) {
		t.Errorf("Compact with a context that had ended: error %v; want ErrCancelled", err)
	}
	st.wantNoLeftovers(t, "after a compaction that never began")
	before.wantUnchanged(t, st.dir, "after a compaction that never began")
}
