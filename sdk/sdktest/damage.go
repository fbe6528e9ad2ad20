package sdktest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/sdk"
)

// noStoreHere are the kinds of error that fit a path where no sound store is.
var noStoreHere = []error{sdk.ErrNotFound, sdk.ErrCorrupt, sdk.ErrUnsupported}

// testDamaged: whatever lies at the path, the answer is a typed error, and the
// files stay as they are for whoever will repair them.
func testDamaged(t *testing.T, s *subject) {
	s.damaged(t, "missing", []error{sdk.ErrNotFound}, func(*testing.T, store) {})
	s.damaged(t, "empty", noStoreHere, func(t *testing.T, st store) {
		if s.Dir {
			mustDo(t, os.Mkdir(st.path, 0o700))
			return
		}
		mustDo(t, os.WriteFile(st.path, nil, 0o600))
	})
	s.damaged(t, "text", noStoreHere, func(t *testing.T, st store) {
		mustDo(t, os.WriteFile(st.path, []byte(strings.Repeat("all work and no play\n", 3000)), 0o600))
	})
	s.damaged(t, "wrong_kind", noStoreHere, func(t *testing.T, st store) {
		if s.Dir {
			mustDo(t, os.WriteFile(st.path, make([]byte, 64<<10), 0o600))
			return
		}
		mustDo(t, os.Mkdir(st.path, 0o700))
	})
	s.damaged(t, "garbage", noStoreHere, func(t *testing.T, st store) {
		mustDo(t, s.Make(st.path, Spec{Shape: Dense, Bytes: s.Bytes, Seed: s.Seed}))
		s.overwrite(t, st)
	})
	s.damaged(t, "truncated", noStoreHere, func(t *testing.T, st store) {
		mustDo(t, s.Make(st.path, Spec{Shape: Dense, Bytes: s.Bytes, Seed: s.Seed}))
		cut := s.Truncate
		if cut == nil {
			cut = cutInHalf
		}
		mustDo(t, cut(st.path))
	})
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *subject) damaged(t *testing.T, name string, kinds []error, damage func(*testing.T, store)) {
	t.Helper()
	s.part(t, name, func(t *testing.T) {
		st := s.noStore(t)
		damage(t, st)
		before := takeSnapshot(t, st.dir)
		for _, depth := range depths {
			f, err := s.measure(t, st, depth)
			if name == "truncated" && depth != sdk.DepthExact && err == nil {
				// What is cut off may be out of sight of a short look.
				checkFragmentation(t, "truncated", f, sizeOf(t, st), s.Dir)
				continue
			}
			wantKind(t, "Fragmentation, "+string(depth)+",", err, kinds...)
			before.wantUntouched(t, st.dir, "after it was measured")
		}
		_, _, err := s.compact(t.Context(), t, s.backend, sdk.CompactRequest{Store: st.ref()}, nil)
		wantKind(t, "Compact", err, kinds...)
		if err != nil && !strings.Contains(err.Error(), filepath.Base(st.path)) && !strings.Contains(err.Error(), st.ref().Name) {
			t.Errorf("the error %q does not say which store", err)
		}
		before.wantUnchanged(t, st.dir, "after compaction was refused")
		removed, err := s.sweep(t, s.backend, st)
		if len(removed) > 0 {
			t.Errorf("there was something to sweep after compaction was refused: %q", removed)
		}
		if err != nil {
			wantKind(t, "Sweep", err, kinds...)
		}
	})
}

// overwrite puts random bytes in the place of all content.
func (s *subject) overwrite(t *testing.T, st store) {
	t.Helper()
	r := s.random()
	mustDo(t, filepath.WalkDir(st.path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		noise := make([]byte, info.Size())
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		return os.WriteFile(path, noise, 0o600)
	}))
}
