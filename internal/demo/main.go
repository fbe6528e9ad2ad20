// Command demo makes the databases and the configuration that the
// demonstration compacts: a bbolt file and a Pebble directory, each about as
// large as asked for and half garbage.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

func main() {
	dir := flag.String("dir", "demo", "where to put everything; what the last demonstration left there is replaced")
	size := flag.Int64("size", 100<<20, "size of each database in bytes, about")
	flag.Parse()
	if err := generate(context.Background(), *dir, *size, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const configuration = `# Made by the demonstration. Every setting that is not here has its default.
data_dir = %s

store "sessions" {
  plugin = "bolt"
  path   = %s
}

store "events" {
  plugin = "pebble"
  path   = %s
}
`

func generate(ctx context.Context, dir string, size int64, say io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	file := filepath.Join(dir, "wring.hcl")
	bolt, pebble, state := filepath.Join(dir, "sessions.db"), filepath.Join(dir, "events"), filepath.Join(dir, "state")
	old := []string{bolt, pebble, state}
	if last := elsewhere(ctx, file); last != "" {
		old = append(old, last)
	}
	for _, path := range old {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the last demonstration: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	// First, because it may find that nothing can come of the rest.
	if err := writeConfig(ctx, file, state, bolt, pebble, say); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	// What remains live is less than half of a file: pages are half full after
	// random inserts, and the file keeps the size of its greatest hour.
	if err := bolttest.Generate(bolt, bolttest.Spec{Seed: 1, LiveBytes: size / 5, GarbageRatio: 0.5}); err != nil {
		return fmt.Errorf("make a bbolt file: %w", err)
	}
	if err := pebbletest.Generate(pebble, pebbletest.Spec{Seed: 1, LiveBytes: size}); err != nil {
		return fmt.Errorf("make a Pebble store: %w", err)
	}
	return nil
}

// writeConfig puts the host's state into a temporary directory where the path of
// the usual one leaves no room for the names of sockets.
func writeConfig(ctx context.Context, file, state, bolt, pebble string, say io.Writer) error {
	write := func(state string) ([]byte, error) {
		text := fmt.Appendf(nil, configuration, quoted(state), quoted(bolt), quoted(pebble))
		_, err := config.Parse(ctx, text, file, nil)
		return text, err
	}
	text, err := write(state)
	if err != nil {
		short, tempErr := os.MkdirTemp("", statePrefix)
		if tempErr != nil {
			return tempErr
		}
		if text, err = write(short); err != nil {
			_ = os.Remove(short)
			return err
		}
		fmt.Fprintf(say, "The path of %s is too long for the sockets in it: the host keeps its state in %s.\n", state, short)
	}
	return os.WriteFile(file, text, 0o600)
}

const statePrefix = "wring-demo-"

// elsewhere is the temporary directory that the last demonstration kept its
// state in, or "".
func elsewhere(ctx context.Context, file string) string {
	last, err := config.Load(ctx, file, nil)
	if err != nil || filepath.Dir(last.DataDir) != filepath.Clean(os.TempDir()) ||
		!strings.HasPrefix(filepath.Base(last.DataDir), statePrefix) {
		return ""
	}
	return last.DataDir
}

// quoted writes a path as the configuration reads it, whatever is in it.
func quoted(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "${", "$${", "%{", "%%{").Replace(path) + `"`
}
