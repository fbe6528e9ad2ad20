package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/sdk"
)

// A directory that is wring's alone is closed to others; one that is not, such
// as /srv, would be closed to those whose it is.
func TestLockDataDir(t *testing.T) {
	for _, test := range []struct {
		name    string
		mode    os.FileMode // 0 for a directory that is not there
		files   []string
		refused bool
	}{
		{name: "missing"},
		{name: "empty", mode: 0o755},
		{name: "closed", mode: 0o700, files: []string{"theirs"}},
		{name: "without x", mode: 0o600, files: []string{"theirs"}},
		{name: "of a host", mode: 0o755, files: []string{lockName, "history.db.damaged-1", "notes"}},
		{name: "of a host before it had a lock", mode: 0o755, files: []string{"wring.sock", "history.db"}},
		{name: "with tokens that were made first", mode: 0o755, files: []string{"tokens.json", "tokens.lock", "tokens.json.123"}},
		{name: "of others", mode: 0o755, files: []string{"theirs", "wring.sock"}, refused: true},
		{name: "of all", mode: 0o1777, files: []string{"theirs"}, refused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if test.mode != 0 {
				err := os.Mkdir(dir, 0o700)
				for _, name := range test.files {
					err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
				}
				if err := errors.Join(err, os.Chmod(dir, test.mode.Perm())); err != nil {
					t.Fatal(err)
				}
			}
			lock, err := lockDataDir(dir)
			want := os.FileMode(0o700)
			if test.refused {
				want = test.mode.Perm()
				if !errors.Is(err, sdk.ErrPermission) || !strings.Contains(err.Error(), "theirs") || sdk.HintOf(err) == "" {
					t.Errorf("it is refused with %v", err)
				}
				if _, err := os.Stat(filepath.Join(dir, lockName)); err == nil {
					t.Error("a lock is left in it")
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
			}
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
				t.Errorf("it has mode %v, %v; want %v", info.Mode(), err, want)
			}
		})
	}
	if filepath.Base(api.SocketPath("x")) != socketName {
		t.Errorf("the socket is %s", api.SocketPath("x"))
	}
}
