// Command demo makes the databases and the configuration that the
// demonstration compacts: a bbolt file and a Pebble directory, each about as
// large as asked for and half garbage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

func main() {
	dir := flag.String("dir", "demo", "where to put everything; what the last demonstration left there is replaced")
	size := flag.Int64("size", 100<<20, "size of each database in bytes, about")
	flag.Parse()
	if err := generate(context.Background(), *dir, *size); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

var configuration = template.Must(template.New("wring.hcl").Parse(`# Made by the demonstration. Every setting that is not here has its default.
data_dir = "{{.}}/state"

store "sessions" {
  plugin = "bolt"
  path   = "{{.}}/sessions.db"
}

store "events" {
  plugin = "pebble"
  path   = "{{.}}/events"
}
`))

func generate(ctx context.Context, dir string, size int64) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	bolt, pebble := filepath.Join(dir, "sessions.db"), filepath.Join(dir, "events")
	for _, old := range []string{bolt, pebble, filepath.Join(dir, "state")} {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("remove the last demonstration: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	// What remains live is less than half of a file: pages are half full after
	// random inserts, and the file keeps the size of its greatest hour.
	if err := bolttest.Generate(bolt, bolttest.Spec{Seed: 1, LiveBytes: size / 5, GarbageRatio: 0.5}); err != nil {
		return fmt.Errorf("make a bbolt file: %w", err)
	}
	if err := pebbletest.Generate(pebble, pebbletest.Spec{Seed: 1, LiveBytes: size}); err != nil {
		return fmt.Errorf("make a Pebble store: %w", err)
	}
	return writeConfig(filepath.Join(dir, "wring.hcl"), dir)
}

func writeConfig(path, dir string) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := configuration.Execute(file, dir); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return file.Close()
}
