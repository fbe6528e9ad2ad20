package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/config"
)

// TestGenerate makes demonstrations in directories as clones may have.
func TestGenerate(t *testing.T) {
	temp, err := os.MkdirTemp("/tmp", "d") //nolint:usetesting // sockets' paths must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	t.Setenv("TMPDIR", temp)
	for name, c := range map[string]struct {
		dir   string
		apart bool // the state is not beside the stores
	}{
		"plain": {"demo", false},
		"odd":   {`my "clone" of ${wring} %{x} \ñ`, false},
		"long":  {filepath.Join(strings.Repeat("x", 100), "demo"), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(temp, c.dir)
			var said strings.Builder
			for range 2 { // the second replaces the first
				said.Reset()
				if err := generate(t.Context(), dir, 1<<20, &said); err != nil {
					t.Fatal(err)
				}
				loaded, err := config.Load(t.Context(), filepath.Join(dir, "wring.hcl"), nil)
				if err != nil {
					t.Fatal(err)
				}
				if apart := loaded.DataDir != filepath.Join(dir, "state"); apart != c.apart {
					t.Errorf("the state is in %s", loaded.DataDir)
				}
				if told := strings.Contains(said.String(), loaded.DataDir); told != c.apart {
					t.Errorf("with its state in %s it says %q", loaded.DataDir, said.String())
				}
				for _, store := range loaded.Stores {
					if _, err := os.Stat(store.Path); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	// Of the two that were long, the second has taken the first away.
	if found, err := filepath.Glob(filepath.Join(temp, statePrefix+"*")); err != nil || len(found) != 1 {
		t.Errorf("they leave %v, %v", found, err)
	}
}
